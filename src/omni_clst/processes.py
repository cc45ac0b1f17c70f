"""The processes of a torchrun launch: rank and count, printing on rank 0, barriers."""

import os
import signal
import threading
from datetime import timedelta
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait

from .preemption import NOTICES


def process_rank() -> int:
    """This process's rank among all processes of the launch; 0 for a single one."""
    return int(os.environ.get("RANK", "0"))


def process_count() -> int:
    """The number of processes of the launch; 1 without torchrun."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def quiet_libraries() -> None:
    """Silence transformers' messages about its defaults and its progress bars."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def say(text: str) -> None:
    """Print a line on rank 0 only."""
    if process_rank() == 0:
        print(text, flush=True)


def join_processes(timeout: timedelta = timedelta(days=2)) -> None:
    """Initialise torch.distributed on CPUs; does nothing for a single process.

    `timeout` ends a process that waits longer for the others; two days, since the slowest shard of answers may take hours
    longer.
    """
    import torch.distributed as dist

    if process_count() > 1 and not dist.is_initialized():
        dist.init_process_group("gloo", timeout=timeout)


def wait_for_all() -> None:
    """A barrier over the launch's processes; does nothing without torch.distributed."""
    import torch.distributed as dist

    if dist.is_initialized():
        dist.barrier()


def any_process(flag: bool, device) -> bool:
    """True on all processes if `flag` is on one of them; all have to call it, with tensors of their `device`."""
    import torch
    import torch.distributed as dist

    if not dist.is_initialized():
        return flag
    shared = torch.tensor(int(flag), device=device)
    dist.all_reduce(shared, dist.ReduceOp.MAX)
    return bool(shared.item())


def start_data_worker(*_) -> None:
    """Begin a data worker: it ends when the process that it works for says so or has ended, and on no other signal.

    A notice of preemption that goes to the whole process group is its parent's. A fork of a fork server has that server as
    its parent, and would go on for ever after a SIGKILL of the run.
    """
    parent = parent_process()
    if parent is None:
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, NOTICES)
    for waits, argument in ((_end_with, parent.sentinel), (_obey, parent.pid)):
        threading.Thread(target=waits, args=(argument,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)


def _obey(parent: int) -> None:
    while signal.sigwaitinfo(NOTICES).si_pid != parent:
        pass
    os._exit(0)


def fresh_forks(module: str):
    """A way to start processes that are forks of a fresh one, which has imported `module` and started no threads."""
    context = get_context("forkserver")
    context.set_forkserver_preload([module])
    return context
