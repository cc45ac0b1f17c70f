"""Signals at moments of a run, or at any call of a Python function in it."""

import os
import signal
import sys
import time
from pathlib import Path

from hooks import AT_END, hook, is_last_rank


@hook
def notify(name: str, moment: str, count: int, whom: str) -> None:
    """Send a signal at a moment's call number `count`, and go on only once this process was noticed of it.

    `moment` is rollout, update or saving; `whom` self, group, launcher or last_rank.
    """
    from transformers import Trainer

    from omni_clst.model.engine import HFEngine
    from omni_clst.preemption import NOTICE

    owner, method = {
        "rollout": (HFEngine, "_generate_copies"),
        "update": (Trainer, "training_step"),
        "saving": (Trainer, "_save_optimizer_and_scheduler"),
    }[moment]
    function, calls, number = getattr(owner, method), [0], signal.Signals[name]
    if whom == "group":
        os.setsid()  # not the one of the tests

    def notifying(*arguments, **keywords):
        calls[0] += 1
        sends = is_last_rank() if whom == "last_rank" else int(os.environ.get("RANK", "0")) == 0
        if calls[0] == count and sends:
            send = os.killpg if whom == "group" else os.kill
            send(os.getppid() if whom == "launcher" else os.getpid(), number)
            while not NOTICE.is_given:
                time.sleep(0.01)
        return function(*arguments, **keywords)

    setattr(owner, method, notifying)


@hook
def every_signal_counts() -> None:
    """Without the two seconds in which a second signal is taken for the launcher's copy of the first."""
    from omni_clst import preemption

    preemption.SAME_NOTICE_SECONDS = -1.0


def at_every_call(act) -> None:
    """Call `act` with the number of every call of a Python function in the main thread, from the start of the training."""
    from omni_clst.training.watch import Watch

    enter, calls = Watch.__enter__, [0]

    def profile(frame, event, _):
        if event == "call":
            calls[0] += 1
            act(calls[0])

    def entered(self):
        enter(self)
        sys.setprofile(profile)

    Watch.__enter__ = entered


@hook
def count_calls(file: Path) -> None:
    """Write the number of calls of this process (see `at_every_call`) to FILE.RANK at its end."""
    import atexit

    last = [0]
    at_every_call(lambda number: last.__setitem__(0, number))

    def write() -> None:
        Path(f"{file}.{os.environ.get('RANK', '0')}").write_text(str(last[0]))

    atexit.register(write)  # of several processes
    AT_END.append(write)  # a fork runs no such functions


@hook
def signal_at_call(name: str, count: int, rank: int) -> None:
    """Send a signal to one process of the launch at a call of it (see `at_every_call`)."""
    if int(os.environ.get("RANK", "0")) == rank:
        at_every_call(lambda number: os.kill(os.getpid(), signal.Signals[name]) if number == count else None)
