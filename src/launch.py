"""Run an entry point in several processes as torchrun does, and print why they ended once.

Takes the arguments of torchrun. The first process that ended with an error is reported: an `InputError` as one line, an
unexpected error with its traceback and the process's rank. The exit status is that of the process. `script/common.sh` calls
this; torchrun itself works too, and prints a page for every failure.

    python src/launch.py --standalone --nproc_per_node 2 src/sft.py --config configs/sft_lora.yaml
"""

import logging
import os
import signal
import sys

from omni_clst.errors import EXPECTED_STATUS, REPORTS_TO_LAUNCHER


def main(argv: list[str]) -> int:
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import parse_args, run

    logging.getLogger("torch.distributed.elastic.multiprocessing.api").setLevel(logging.CRITICAL)  # names each failure
    os.environ[REPORTS_TO_LAUNCHER] = "1"
    try:
        run(parse_args(argv))
    except ChildFailedError as failed:
        rank, failure = min(failed.failures.items(), key=lambda item: (_kind_of(item[1]), item[1].timestamp))
        print(describe(rank, failure), file=sys.stderr, flush=True)
        return failure.exitcode if failure.exitcode > 0 else 128 - failure.exitcode  # signals as a shell counts them
    except SignalException as ended:
        return 128 + ended.sigval
    return 0


def describe(rank: int, failure) -> str:
    """The error of a process, as it reported it or as its exit status tells."""
    if failure.error_file_data["message"] != "<NONE>":
        report = failure.message
        return report if failure.exitcode == EXPECTED_STATUS else f"error: rank {rank} failed:\n{report}"
    if failure.exitcode < 0:
        name = signal.Signals(-failure.exitcode).name
        hint = ": often for lack of memory" if name == "SIGKILL" else ""
        return f"error: rank {rank} (process {failure.pid}) was ended by {name}{hint}"
    return f"error: rank {rank} (process {failure.pid}) ended with exit status {failure.exitcode}"


def _kind_of(failure) -> int:
    """Causes before consequences: a process that loses another one crashes, and those left are ended by SIGTERM."""
    if failure.exitcode == -signal.SIGTERM:
        return 3
    if failure.exitcode == EXPECTED_STATUS:
        return 0
    return 1 if failure.exitcode == -signal.SIGKILL else 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
