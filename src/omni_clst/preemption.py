"""End on a notice of preemption: SIGTERM, or SIGUSR1, which Slurm can send ahead of a time limit.

A process that is noticed ends with `PREEMPTED_STATUS` and one line. While it trains, the step under way is finished and
saved first (`training/preempted.py`). A second notice ends it at once by the signal itself.
"""

import os
import signal
import time

PREEMPTED_STATUS = 75  # EX_TEMPFAIL of sysexits.h: nothing is wrong, start again to go on
NOTICES = (signal.SIGTERM, signal.SIGUSR1)
SAME_NOTICE_SECONDS = 2.0  # a process group gets a signal that its launcher forwards as well: it counts once


class Preempted(SystemExit):
    """Ends the process with `PREEMPTED_STATUS`; no `except Exception` on the way takes it for an error."""

    def __init__(self, line: str = "preempted: start again to go on"):
        super().__init__(PREEMPTED_STATUS)
        self.line = line


class Notice:
    """The notices that this process got; `is_deferred` while it trains, which then looks at `is_given` itself."""

    def __init__(self):
        self.is_deferred = False
        self._first: float | None = None
        self._process: int | None = None

    @property
    def is_given(self) -> bool:
        return self._first is not None

    def listen(self) -> None:
        """Take both signals as notices from now on."""
        self._process = os.getpid()
        for number in NOTICES:
            signal.signal(number, self._take)

    def ignore(self) -> None:
        """Leave both signals without effect in a process that is ending already, or whose parent decides."""
        if self._process is not None:
            for number in NOTICES:
                signal.signal(number, signal.SIG_IGN)

    def note(self) -> bool:
        """Note a signal; True for a second one, which is not the first again."""
        now = time.monotonic()
        if self._first is None:
            self._first = now
            return False
        return now - self._first > SAME_NOTICE_SECONDS

    def _take(self, number: int, frame) -> None:
        if os.getpid() != self._process:  # a fork that inherited the handler
            return
        was_given = self.is_given
        if self.note():
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        elif not was_given and not self.is_deferred:
            raise Preempted


NOTICE = Notice()  # of this process: a signal handler has no other place for what it saw
