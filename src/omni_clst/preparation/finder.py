"""Clips by the names that rows give them: a path, a file name somewhere below the folder, or a name without suffix."""

import os
import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from .folders import AUDIO_SUFFIXES, CLIP_SUFFIXES, VIDEO_SUFFIXES, files_below

_PADDED = re.compile(r"_0+(\d+)$")
_CHOSEN_FIRST = {suffix: place for place, suffix in enumerate(CLIP_SUFFIXES)}


class ClipFinder:
    """Looks names up in folders; the first of them is walked, once and only if a row needs it.

    `leave_out` is a folder that is not looked into: what a preparation itself has written.
    """

    def __init__(self, folders: Iterable[Path], leave_out: Path | None = None):
        self.folders, self.leave_out = list(folders), leave_out
        self._index: dict[str, list[str]] | None = None

    def find(self, names: Iterable[str]) -> tuple[str | None, str]:
        """The path of a clip that goes by one of these names, or None and why; a path that is one comes first."""
        names = [name.replace("\\", "/") for name in names if name.strip()]
        if not names:
            return None, "the row names none"
        for name in names:
            for folder in self.folders or [Path.cwd()]:
                path = os.path.normpath(folder / name)
                if os.path.isfile(path):
                    return path, ""
        if not self.folders:
            return None, f"{names[0]}: no such file"
        for name in names:
            if found := self._files_of(name):
                if len(found) == 1:
                    return found[0], ""
                return None, f"{name}: several files below {self.folders[0]} have that name ({', '.join(found[:2])})"
        return None, f"{names[0]}: no such file below {self.folders[0]}"

    def _files_of(self, name: str) -> list[str]:
        """Files that a name may mean: of that name; else of its stem, the best suffix of each folder."""
        if self._index is None:
            self._index = self._walk()
        base = PurePosixPath(name).name
        if exact := self._index.get(base):
            return exact
        stem, suffix = os.path.splitext(base)
        stem = stem if suffix.lower() in CLIP_SUFFIXES else base
        # AVQA's names carry ten digits of seconds; people's files have them with or without their zeros
        found = self._index.get(_stem_key(stem)) or self._index.get(_stem_key(_PADDED.sub(r"_\1", stem))) or []
        sound = [path for path in found if _suffix(path) in AUDIO_SUFFIXES]
        return _one_a_folder(sound or [path for path in found if _suffix(path) in VIDEO_SUFFIXES])

    def _walk(self) -> dict[str, list[str]]:
        """Clips below the folder by their names, and by their stems."""
        index: dict[str, list[str]] = defaultdict(list)
        for path in files_below(self.folders[0], self.leave_out):
            if _suffix(path) in CLIP_SUFFIXES:
                name = os.path.basename(path)
                index[name].append(path)
                index[_stem_key(os.path.splitext(name)[0])].append(path)
        return index


def _suffix(path: str) -> str:
    return os.path.splitext(path)[1].lower()


def _stem_key(stem: str) -> str:
    return f"{stem}/"  # no file's name


def _one_a_folder(paths: list[str]) -> list[str]:
    """Of one stem's files in a folder the one whose suffix is chosen first."""
    best: dict[str, str] = {}
    for path in sorted(paths, key=lambda path: _CHOSEN_FIRST[_suffix(path)]):
        best.setdefault(os.path.dirname(path), path)
    return list(best.values())
