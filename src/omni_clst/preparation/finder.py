"""Clips by the names that rows give them: a path, a file name somewhere below the folder, or a name without suffix."""

import os
import re
from pathlib import Path

from .readers import AUDIO_SUFFIXES

_PADDED = re.compile(r"_0+(\d+)$")


class ClipFinder:
    """Looks names up below a folder, which is walked once and only if a row needs it."""

    def __init__(self, folder: Path | None):
        self.folder = folder
        self._by_name: dict[str, str | None] | None = None  # None: several files have the name

    def find(self, name: str) -> tuple[str | None, str]:
        """The path of a clip, or None and why."""
        if not name.strip():
            return None, "the row names none"
        if self.folder is None:
            return (os.path.abspath(name), "") if os.path.isfile(name) else (None, f"{name}: no such file")
        direct = os.path.normpath(self.folder / name)
        if os.path.isfile(direct):
            return direct, ""
        base = Path(name).name
        # AVQA's names carry ten digits of seconds; people's files have them with or without their zeros
        for candidate in (base, _PADDED.sub(r"_\1", base)):
            if candidate in self._index():
                path = self._index()[candidate]
                return path, "" if path else f"{name}: several files below {self.folder} have that name"
        return None, f"{name}: no such file below {self.folder}"

    def _index(self) -> dict[str, str | None]:
        """File names, and their stems, of the audio files below the folder."""
        if self._by_name is None:
            self._by_name = {}
            for folder, folders, files in os.walk(self.folder):
                folders[:] = sorted(name for name in folders if not name.startswith("."))
                for file in sorted(files):
                    stem, suffix = os.path.splitext(file)
                    if suffix.lower() in AUDIO_SUFFIXES:
                        for name in (file, stem):
                            taken = name in self._by_name
                            self._by_name[name] = None if taken else os.path.normpath(os.path.join(folder, file))
        return self._by_name
