"""Watch over a training: where every process is, and the error of one that lost another.

In several processes each writes its place (step and line of code) to a file, which `src/launch.py` reads where one of them
ended, stopped or did not come.
"""

import os
import re
import sys
import threading
from contextlib import suppress
from pathlib import Path
from traceback import walk_stack, walk_tb
from types import FrameType

from ..errors import PLACE_SUFFIX, LostProcess
from ..processes import process_count, process_rank

PLACE_SECONDS = 2.0  # from one writing of the place to the next
_PACKAGES = re.compile(r".*/(?:site-packages|src)/(?=(?:omni_clst|transformers|trl|accelerate|deepspeed)/)")
_COLLECTIVES = re.compile(r"gloo|nccl|c10d|ProcessGroup|TCPStore", re.IGNORECASE)
_TIMED_OUT = re.compile(r"timed? ?out", re.IGNORECASE)
_CLOSED = re.compile(r"closed|reset by peer|refused|broken pipe|closure", re.IGNORECASE)


class Watch:
    """A context in which `trainer` trains."""

    def __init__(self, trainer):
        self.trainer = trainer
        report = os.environ.get("TORCHELASTIC_ERROR_FILE") if process_count() > 1 else None
        self.file = Path(report + PLACE_SUFFIX) if report else None
        self._ended = threading.Event()
        self._launcher = os.getppid()

    def __enter__(self) -> None:
        if self.file:
            threading.Thread(target=self._write_places, args=(self.file, threading.get_ident()), daemon=True).start()

    def __exit__(self, kind, error, traceback) -> None:
        self._ended.set()
        if self.file and error is None:
            self.file.unlink(missing_ok=True)
        if not isinstance(error, Exception) or process_count() == 1:
            return
        place = f"rank {process_rank()}, {self._place([frame for frame, _ in walk_tb(traceback)])}"
        lost = how_lost(error, self.trainer.args.ddp_timeout)
        if lost:
            raise LostProcess(f"{place}: {lost}") from error
        error.add_note(place)

    def _place(self, frames: list[FrameType]) -> str:
        return f"step {self.trainer.state.global_step + 1}, {line_of(frames)}"

    def _write_places(self, file: Path, thread: int) -> None:
        temporary = file.with_suffix(".part")
        while True:
            stack = [frame for frame, _ in walk_stack(sys._current_frames()[thread])]
            with suppress(OSError):  # a full disk of temporary files
                temporary.write_text(self._place(stack[::-1]), encoding="utf-8")
                os.replace(temporary, file)
            if self._ended.wait(PLACE_SECONDS):
                return
            if os.getppid() != self._launcher:  # it was killed: nobody else would end this process
                os._exit(1)


def line_of(frames: list[FrameType]) -> str:
    """The line of the innermost frame, which is the last, in the project or a library that trains for it."""
    frame = next((one for one in reversed(frames) if _PACKAGES.match(one.f_code.co_filename)), frames[-1])
    return f"{_PACKAGES.sub('', frame.f_code.co_filename)}:{frame.f_lineno} ({frame.f_code.co_name})"


def how_lost(error: Exception, ddp_timeout: int) -> str | None:
    """In which way a collective lost another process; None for any other error."""
    text = str(error)
    if not isinstance(error, RuntimeError) or not _COLLECTIVES.search(text):
        return None
    if _TIMED_OUT.search(text):
        return f"another process did not come within {ddp_timeout} s (ddp_timeout): it hangs, or a higher value is needed"
    return "the connection to another process was closed" if _CLOSED.search(text) else None
