"""Run an entry point in several processes as torchrun does, and print why they ended once.

Takes the arguments of torchrun. The first process that ended with an error is reported: an `InputError` as one line, an
unexpected error with its traceback and the process's rank. The exit status is that of the process. `script/common.sh` calls
this; torchrun itself works too, and prints a page for every failure.

A process that is stopped is ended after `STOPPED_SECONDS`. Training processes write where they are to files beside those
of their errors (`training/watch.py`): the error of a lost process says it.

SIGTERM and SIGUSR1 go on to the processes, which are waited for as long as they need to save a checkpoint; torchrun would
kill them after 30 seconds. A second signal kills them at once.

    python src/launch.py --standalone --nproc_per_node 2 src/sft.py --config configs/sft_lora.yaml
"""

import logging
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from omni_clst.errors import EXPECTED_STATUS, LOST_STATUS, PLACE_SUFFIX, REPORTS_TO_LAUNCHER
from omni_clst.preemption import NOTICES, PREEMPTED_STATUS, Notice, Preempted

STOPPED_SECONDS = 30.0  # by SIGSTOP, or frozen: the others would wait for it until ddp_timeout
_LOOK_SECONDS = 1.0


def main(argv: list[str]) -> int:
    workers = Workers()
    workers.forward_notices()
    from torch.distributed.elastic.agent.server import local_elastic_agent
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import parse_args, run

    arguments = parse_args(argv)
    arguments.signals_to_handle = "SIGINT,SIGHUP,SIGQUIT"  # the others are ours
    local_elastic_agent.start_processes = workers.started_by(local_elastic_agent.start_processes)
    logging.getLogger("torch.distributed.elastic.multiprocessing.api").setLevel(logging.CRITICAL)  # names each failure
    os.environ[REPORTS_TO_LAUNCHER] = "1"
    try:
        run(arguments)
    except ChildFailedError as failed:
        causes = {rank: failure for rank, failure in failed.failures.items() if failure.pid not in workers.killed}
        rank, failure = min(causes.items(), key=lambda item: (_kind_of(item[1]), item[1].timestamp))
        stream = sys.stdout if failure.exitcode == PREEMPTED_STATUS else sys.stderr
        print(describe(rank, failure, workers), file=stream, flush=True)
        return failure.exitcode if failure.exitcode > 0 else 128 - failure.exitcode  # signals as a shell counts them
    except SignalException as ended:
        return 128 + ended.sigval
    return 0


class Workers:
    """The processes of this node: what they are told about a preemption, and how they are ended."""

    def __init__(self):
        self.killed: set[int] = set()  # those that ran when another one failed
        self.stopped: dict[int, float] = {}  # since when, by process
        self.hung: set[int] = set()  # those that were stopped for too long
        self.places: dict[int, str] = {}  # by rank, at the end
        self._notice = Notice()
        self._context = None  # torch's, once they are started
        self._looked = 0.0

    def forward_notices(self) -> None:
        for number in NOTICES:
            signal.signal(number, self._forward)

    def started_by(self, start_processes):
        """`start_processes` of torch's agent, for processes that end our way."""

        def start(*arguments, **keywords):
            self._context = start_processes(*arguments, **keywords)
            self._close, self._wait = self._context.close, self._context.wait
            self._context.close, self._context.wait = self._end, self._watch
            return self._context

        return start

    def _forward(self, number: int, frame) -> None:
        """To the processes alone: in their groups are data workers, which have to go on."""
        was_given = self._notice.is_given
        if self._notice.note():
            raise _signal_exception(number)
        if was_given:
            return
        if self._context is None:
            print(Preempted().line, flush=True)
            raise Preempted
        for process in self._running():
            with suppress(ProcessLookupError):
                os.kill(process, number)

    def _running(self) -> list[int]:
        processes = [handler.proc for handler in self._context.subprocess_handlers.values()]
        return [process.pid for process in processes if process.poll() is None]

    def _watch(self, *arguments, **keywords):
        """torch's look at the processes, about ten times a second; and ours at those that are stopped."""
        now = time.monotonic()
        if now - self._looked > 5 * _LOOK_SECONDS:  # this process was stopped too
            self.stopped.clear()
        if now - self._looked > _LOOK_SECONDS:
            self._looked = now
            self._end_stopped(now)
        return self._wait(*arguments, **keywords)

    def _end_stopped(self, now: float) -> None:
        running = self._running()
        self.stopped = {process: self.stopped.get(process, now) for process in running if is_stopped(process)}
        for process, since in self.stopped.items():
            if now - since > STOPPED_SECONDS:
                self.hung.add(process)
                os.kill(process, signal.SIGKILL)

    def _end(self, death_sig: signal.Signals | None = None, timeout: int = 30) -> None:
        """End what still runs: at once, but for processes that are ending after a preemption, which close their logs."""
        self.places = dict(self._read_places())
        statuses = [handler.proc.poll() for handler in self._context.subprocess_handlers.values()]
        if PREEMPTED_STATUS in statuses:
            self._close(signal.SIGTERM, timeout)
            return
        self.killed.update(self._running())
        self._close(signal.SIGKILL, timeout)

    def _read_places(self) -> Iterator[tuple[int, str]]:
        for local_rank, file in self._context.error_files.items():
            with suppress(OSError):
                rank = int(self._context.envs[local_rank]["RANK"])
                yield rank, Path(file + PLACE_SUFFIX).read_text(encoding="utf-8")


def is_stopped(process: int) -> bool:
    """True for a process that is stopped, on a system that has /proc."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    except OSError:
        return False


def _signal_exception(number: int) -> Exception:
    from torch.distributed.elastic.multiprocessing.api import SignalException

    return SignalException("ended by a second signal", signal.Signals(number))


HINTS = {"SIGKILL": "often for lack of memory", "SIGABRT": "often NCCL, after ddp_timeout without another process"}


def describe(rank: int, failure, workers: Workers) -> str:
    """The error of a process, as it reported it or as its exit status tells, with its place where that is known."""
    if failure.error_file_data["message"] != "<NONE>":
        report = failure.message
        if failure.exitcode == LOST_STATUS:
            return "; ".join([report, *_places_of_others(rank, workers)])
        is_whole = failure.exitcode in (EXPECTED_STATUS, PREEMPTED_STATUS)
        return report if is_whole else f"error: rank {rank} failed:\n{report}"
    place = f", in {workers.places[rank]}" if rank in workers.places else ""
    process = f"error: rank {rank} (process {failure.pid})"
    if failure.pid in workers.hung:
        return f"{process} hangs: it was stopped (SIGSTOP) for {STOPPED_SECONDS:g} s{place}"
    if failure.exitcode < 0:
        name = signal.Signals(-failure.exitcode).name
        others = _places_of_others(rank, workers) if name == "SIGABRT" else []
        return "; ".join([f"{process} was ended by {name}{place}" + (f": {HINTS[name]}" if name in HINTS else ""), *others])
    return f"{process} ended with exit status {failure.exitcode}{place}"


def _places_of_others(rank: int, workers: Workers) -> list[str]:
    return [f"rank {other} was in {place}" for other, place in sorted(workers.places.items()) if other != rank]


def _kind_of(failure) -> int:
    """Causes before consequences: a process that loses another one crashes."""
    if failure.exitcode == PREEMPTED_STATUS:
        return 3
    if failure.exitcode in (-signal.SIGTERM, -signal.SIGUSR1):  # noticed before it listened
        return 4
    if failure.exitcode == LOST_STATUS:
        return 5
    if failure.exitcode == EXPECTED_STATUS:
        return 0
    return 1 if failure.exitcode == -signal.SIGKILL else 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
