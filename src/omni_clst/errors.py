"""The one exception for input that a user can mend, and the one place that prints it."""

import atexit
import os
import re
import sys
from collections.abc import Callable

# how torch tells that one of its data workers died
_LOST_WORKER = re.compile(r"DataLoader worker.*?((?:is )?killed by signal: \w+|exited unexpectedly)", re.DOTALL)


class InputError(ValueError):
    """Bad input from outside: its message names file, line and value, and is all the user needs to see."""

    def __init__(self, message: str):
        # torch makes a data worker's error anew, with the worker's traceback before the message
        own = type(self)
        super().__init__(message.rpartition(f"{own.__module__}.{own.__qualname__}: ")[2].rstrip("\n"))


def run_main(main: Callable[[list[str]], None]) -> None:
    """Run an entry point; an `InputError` ends it with one line on stderr and exit status 2."""
    sys.stdout.reconfigure(encoding="utf-8")  # whatever the locale: choices and group names come in any script
    status = 0
    try:
        main(sys.argv[1:])
    except InputError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        status = 2
    except BrokenPipeError:  # whoever read the output has gone, as in `... --help | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    except RuntimeError as error:
        lost = _LOST_WORKER.search(str(error))
        if lost is None:
            raise
        remedy = "often for want of memory: lower dataloader_num_workers (num_workers where a model answers)"
        print(f"error: a process that decodes audio was lost ({lost[1]}), {remedy}", file=sys.stderr, flush=True)
        status = 2
    torch = sys.modules.get("torch")
    if torch and torch.distributed.is_available() and torch.distributed.is_initialized():
        _end_distributed_process(status)
    if status:
        raise SystemExit(status)


def _end_distributed_process(status: int) -> None:
    """End without tearing the interpreter down.

    Gloo's threads (`pt_gloo_runloop`) outlive `destroy_process_group` where DeepSpeed holds on to the group. One that is
    late lets go of its last tensor and asks for the interpreter's lock; during the teardown it is unwound there, through
    a destructor that must not be, and the process of a finished run aborts.
    """
    atexit._run_exitfuncs()  # vLLM's ends groups of its own, which takes the whole one
    distributed = sys.modules["torch"].distributed
    if distributed.is_initialized():
        distributed.destroy_process_group()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
