"""List the files below a folder, each once and following links; the suffixes of audio and video files."""

import os
from collections.abc import Iterator
from pathlib import Path

# In order of preference among files of one stem: audio before video.
AUDIO_SUFFIXES = (
    ".wav", ".flac", ".wave", ".aiff", ".aif", ".aifc", ".w64", ".rf64", ".bwf", ".caf", ".au", ".snd", ".raw", ".voc",
    ".sph", ".mp3", ".mp2", ".mpga", ".ogg", ".oga", ".opus", ".spx", ".m4a", ".m4b", ".aac", ".adts", ".wma", ".mka",
    ".weba", ".amr", ".awb", ".3ga", ".ac3", ".eac3", ".dts", ".ape", ".wv", ".tta",
)  # fmt: skip
VIDEO_SUFFIXES = (
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".3gp", ".3g2", ".wmv", ".asf", ".flv", ".f4v", ".mpg", ".mpeg",
    ".ts", ".mts", ".m2ts", ".vob", ".ogv", ".ogx",
)  # fmt: skip
CLIP_SUFFIXES = (*AUDIO_SUFFIXES, *VIDEO_SUFFIXES)


def files_below(folder: Path | str, leave_out: Path | str | None = None) -> Iterator[str]:
    """Paths of all files below a folder, in the order of their names, without hidden ones and those below `leave_out`.

    A folder that several links lead to is entered once, so that a link to a parent folder makes no endless loop.
    """
    entered = set() if leave_out is None else {os.path.realpath(leave_out)}

    def walk(below: str) -> Iterator[str]:
        real = os.path.realpath(below)
        if real in entered or not os.path.isdir(below) or not os.access(below, os.R_OK | os.X_OK):
            return
        entered.add(real)
        names = sorted(name for name in os.listdir(below) if not name.startswith("."))
        paths = [os.path.join(below, name) for name in names]
        yield from (path for path in paths if os.path.isfile(path))
        for path in paths:
            yield from walk(path)

    yield from walk(os.path.normpath(folder))
