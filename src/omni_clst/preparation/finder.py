"""Find clips by the names in rows: a path, a file name anywhere below a folder, or a name without suffix."""

import os
import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from .folders import AUDIO_SUFFIXES, CLIP_SUFFIXES, VIDEO_SUFFIXES, files_below

_PADDED = re.compile(r"_0+(\d+)$")
_SUFFIX_RANK = {suffix: rank for rank, suffix in enumerate(CLIP_SUFFIXES)}


class ClipFinder:
    """Looks up names in folders; the first folder is walked, once and only if a row needs it.

    `leave_out` is a folder that is not walked: the preparation's output.
    """

    def __init__(self, folders: Iterable[Path], leave_out: Path | None = None):
        self.folders, self.leave_out = list(folders), leave_out
        self._index: dict[str, list[str]] | None = None

    def find(self, names: Iterable[str]) -> tuple[str | None, str]:
        """(path, "") of the clip with one of these names, or (None, reason); existing paths come first."""
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
            if files := self._files_of(name):
                if len(files) == 1:
                    return files[0], ""
                return None, f"{name}: several files below {self.folders[0]} have that name ({', '.join(files[:2])})"
        return None, f"{names[0]}: no such file below {self.folders[0]}"

    def _files_of(self, name: str) -> list[str]:
        """Files of that name; else files of its stem, of each folder the one with the preferred suffix."""
        if self._index is None:
            self._index = self._walk()
        base = PurePosixPath(name).name
        if exact := self._index.get(base):
            return exact
        stem, suffix = os.path.splitext(base)
        stem = stem if suffix.lower() in CLIP_SUFFIXES else base
        # AVQA's names end in ten digits of seconds; downloaded files have them with or without leading zeros
        files = self._index.get(_stem_key(stem)) or self._index.get(_stem_key(_PADDED.sub(r"_\1", stem))) or []
        audio_files = [path for path in files if _suffix(path) in AUDIO_SUFFIXES]
        return _one_per_folder(audio_files or [path for path in files if _suffix(path) in VIDEO_SUFFIXES])

    def _walk(self) -> dict[str, list[str]]:
        """Clips below the first folder by their names, and by their stems."""
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
    return f"{stem}/"  # cannot be a file's name


def _one_per_folder(paths: list[str]) -> list[str]:
    """Of the files of one stem in a folder the one with the preferred suffix."""
    best: dict[str, str] = {}
    for path in sorted(paths, key=lambda path: _SUFFIX_RANK[_suffix(path)]):
        best.setdefault(os.path.dirname(path), path)
    return list(best.values())
