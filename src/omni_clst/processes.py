"""The processes of a torchrun launch: rank and count, printing on rank 0, barriers."""

import os
from datetime import timedelta
from multiprocessing import get_context


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


def join_processes() -> None:
    """Initialise torch.distributed, for barriers; does nothing for a single process."""
    import torch.distributed as dist

    if process_count() > 1 and not dist.is_initialized():
        dist.init_process_group("gloo", timeout=timedelta(days=2))  # the slowest shard may take hours longer


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


def fresh_forks(module: str):
    """A way to start processes that are forks of a fresh one, which has imported `module` and started no threads."""
    context = get_context("forkserver")
    context.set_forkserver_preload([module])
    return context
