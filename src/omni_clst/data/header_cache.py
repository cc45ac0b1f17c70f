"""Keep the headers of a file's clips beside it, so that every clip is opened once, by whichever process comes first.

`train.jsonl` gets `.train.jsonl.headers` with a line for every clip: its header, and the size and time of change that the
file had. A clip with another size or time is read again. Lines are only appended: a start that was killed goes on.
"""

import fcntl
import json
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import astuple
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from ..files import append_jsonl, remove_incomplete_line
from ..processes import process_rank
from .audio import AudioInfo, ClipError, read_header, trust_headers

FEWEST_CLIPS = 1_000  # fewer are read in a second or two
_AT_ONCE = 2_000  # clips between two writings
_THREADS = 32  # also on few cores: on a slow disk they wait
_VERSION = 1  # of what a line says; others are not used

Stamp = tuple[int, int]  # a file's size, and its time of change in ns
Result = TypeVar("Result")


def know_headers(samples_file: Path | str, clips: set[str]) -> None:
    """Make `probe_audio` know these clips' headers, without opening those that are kept beside `samples_file`.

    Clips that cannot be read are left to `probe_audio`. Where nothing can be written beside the file, nothing is kept.
    """
    if len(clips) < FEWEST_CLIPS:
        return
    file = Path(samples_file).with_name(f".{Path(samples_file).name}.headers")
    stamps = {clip: stamp for clip, stamp in _in_threads(_stamp, sorted(clips), "clips looked up") if stamp}
    known = _kept_headers(file, stamps)
    if len(known) < len(stamps):
        with _alone_with(file) as may_write:  # another process may have read them meanwhile
            if may_write:
                remove_incomplete_line(file)  # of a killed process
            known = _kept_headers(file, stamps)
            missing = [clip for clip in stamps if clip not in known]
            for some in _in_parts(_in_threads(_header, missing, "headers read")):
                known |= some
                if may_write:
                    append_jsonl(file, (_row(file.parent, info, stamps[clip]) for clip, info in some.items()))
    trust_headers(known)


def _kept_headers(file: Path, stamps: dict[str, Stamp]) -> dict[str, AudioInfo]:
    """The headers of the clips that have not changed since; the last line about a clip counts."""
    known: dict[str, AudioInfo] = {}
    clip_of = {_name(file.parent, clip): clip for clip in stamps}
    for row in _rows(file):
        clip = clip_of.get(row["clip"])
        if clip is not None and row["version"] == _VERSION:
            known.pop(clip, None)
            if stamps[clip] == (row["bytes"], row["changed"]):
                form, *numbers = row["header"]
                known[clip] = AudioInfo(clip, sys.intern(form), *numbers)
    return known


def _row(folder: Path, info: AudioInfo, stamp: Stamp) -> dict:
    size, changed = stamp
    header = astuple(info)[1:]
    return {"clip": _name(folder, info.path), "bytes": size, "changed": changed, "header": header, "version": _VERSION}


def _name(folder: Path, clip: str) -> str:
    """The clip as seen from the folder, which may be moved with it."""
    return clip.removeprefix(f"{folder.absolute()}{os.sep}")


def _rows(file: Path) -> Iterator[dict]:
    """The complete lines of the file; none without one."""
    try:
        lines = open(file, encoding="utf-8", errors="replace")  # noqa: SIM115
    except OSError:
        return
    with lines:
        for line in lines:
            try:
                yield json.loads(line)
            except json.JSONDecodeError:
                continue


@contextmanager
def _alone_with(file: Path) -> Iterator[bool]:
    """Wait until no other process reads headers for this file; True if they may be written there."""
    try:
        locked = open(file, "ab")  # noqa: SIM115
    except OSError:
        yield False
        return
    with locked:
        try:
            fcntl.flock(locked, fcntl.LOCK_EX)  # not lockf, which a second opening of the file in this process would end
        except OSError:
            yield False  # a shared file system without locks: two processes could mix their lines
            return
        yield True


def _stamp(clip: str) -> Stamp | None:
    try:
        status = os.stat(clip)
    except (OSError, ValueError):
        return None
    return status.st_size, status.st_mtime_ns


def _header(clip: str) -> AudioInfo | None:
    try:
        return read_header(clip)
    except ClipError:
        return None


def _in_threads(call: Callable[[str], Result], clips: list[str], label: str) -> Iterator[tuple[str, Result]]:
    """Every clip with its result, in their order; in threads, since a slow disk answers several at once."""
    with (
        ThreadPoolExecutor(_THREADS) as pool,
        tqdm(total=len(clips), desc=label, unit="", disable=process_rank() != 0, delay=5) as bar,
    ):
        for first in range(0, len(clips), _AT_ONCE):
            some = clips[first : first + _AT_ONCE]
            yield from zip(some, pool.map(call, some), strict=True)
            bar.update(len(some))


def _in_parts(results: Iterator[tuple[str, AudioInfo | None]]) -> Iterator[dict[str, AudioInfo]]:
    part: dict[str, AudioInfo] = {}
    for clip, info in results:
        if info is not None:
            part[clip] = info
        if len(part) == _AT_ONCE:
            yield part
            part = {}
    yield part
