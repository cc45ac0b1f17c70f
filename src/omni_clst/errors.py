"""`InputError`, for problems that a user can fix, and `run_main`, which prints it."""

import atexit
import errno
import io
import json
import os
import re
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import TextIO

from .preemption import NOTICE, PREEMPTED_STATUS, Preempted

ENDING_SECONDS = 10.0  # of a preempted process, for the others to end too
EXPECTED_STATUS = 2  # exit status after an `InputError`
LOST_STATUS = 74  # EX_IOERR of sysexits.h: another process of the run was lost, which says why itself
PLACE_SUFFIX = ".place"  # of the file, beside that of a process's error, in which it writes where it is
REPORTS_TO_LAUNCHER = "OMNI_CLST_REPORTS_TO_LAUNCHER"  # set in processes whose errors launch.py prints

# torch's messages when one of its data workers died
_LOST_WORKER = re.compile(r"DataLoader worker.*?((?:is )?killed by signal: \w+|exited unexpectedly)", re.DOTALL)


class InputError(ValueError):
    """Invalid input: the message has file, line and value, and is printed without a traceback."""

    def __init__(self, message: str):
        # torch re-raises a data worker's error with the worker's traceback in front of the message
        cls = type(self)
        super().__init__(message.rpartition(f"{cls.__module__}.{cls.__qualname__}: ")[2].rstrip("\n"))


class LostProcess(RuntimeError):
    """Another process of the launch ended or did not come: printed in one line, and only where that one printed none."""


def run_main(main: Callable[[list[str]], None], resumes: bool = False) -> None:
    """Run an entry point; an `InputError` ends it with one line on stderr and exit status 2.

    One that `resumes` ends with one line and `PREEMPTED_STATUS` on a notice of preemption.

    A process of launch.py leaves its error to that, which prints the first one of all processes.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")  # for any locale: choices and group names may be in any script
    status = 0
    try:
        if resumes:
            NOTICE.listen()
        main(sys.argv[1:])
    except Preempted as preempted:
        NOTICE.ignore()
        _report(preempted.line, sys.stdout)
        status = preempted.code
    except InputError as error:
        _report(f"error: {error}")
        status = EXPECTED_STATUS
    except LostProcess as lost:
        _report(f"error: {lost}")
        status = LOST_STATUS
    except BrokenPipeError:  # the reader of the output has ended, as in `... --help | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    except Exception as error:
        line = _line_of(error)
        if line is None:
            if REPORTS_TO_LAUNCHER not in os.environ:
                raise
            _report(traceback.format_exc().rstrip("\n"))
            status = 1
        else:
            _report("error: " + "; ".join([line, *getattr(error, "__notes__", [])]))
            status = EXPECTED_STATUS
    torch = sys.modules.get("torch")
    if torch and torch.distributed.is_available() and torch.distributed.is_initialized():
        _end_distributed_process(status)
    if status:
        raise SystemExit(status)


def _line_of(error: Exception) -> str | None:
    """One line for an error that is not of the code: a data worker that died, a disk that is full; None for others."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
        return f"{error.filename or 'a file'}: cannot be written ({error.strerror}); make room, then start again"
    lost = _LOST_WORKER.search(str(error)) if isinstance(error, RuntimeError) else None
    if lost is None:
        return None
    remedy = "often for lack of memory: lower dataloader_num_workers (num_workers for answer.py and infer.py)"
    return f"a process that decodes audio died ({lost[1]}), {remedy}"


def _report(text: str, stream: TextIO | None = None) -> None:
    """Print a line, on stderr if not elsewhere, or write it to the file from which launch.py learns why a process ended."""
    if REPORTS_TO_LAUNCHER in os.environ:
        with suppress(OSError), open(os.environ["TORCHELASTIC_ERROR_FILE"], "w", encoding="utf-8") as file:
            json.dump({"message": text, "timestamp": int(time.time())}, file)
            return
    print(text, file=stream or sys.stderr, flush=True)  # also where the disk of temporary files is full


def _end_distributed_process(status: int) -> None:
    """End the process without the interpreter's teardown.

    Gloo's threads (`pt_gloo_runloop`) outlive `destroy_process_group` where DeepSpeed still references the group. A thread
    that frees its last tensor during the teardown waits for the interpreter's lock, is terminated there inside a destructor
    that must not throw, and the process of a finished run aborts.

    NCCL ends a group in all its processes together. After an error the others are in the middle of something, so the group
    is left as it is: a process that waited for them would hold back its error until ddp_timeout.
    """
    distributed = sys.modules["torch"].distributed
    if status == PREEMPTED_STATUS:
        threading.Timer(ENDING_SECONDS, os._exit, [status]).start()
    elif status:
        distributed.destroy_process_group = lambda *_: None  # vLLM's exit function calls it too
    atexit._run_exitfuncs()  # vLLM's ends groups of its own, which takes the whole one
    if distributed.is_initialized():
        distributed.destroy_process_group()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
