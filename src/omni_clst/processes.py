"""The processes of a launch: which one this is, one voice for all, and waiting for each other."""

import os
from datetime import timedelta
from multiprocessing import get_context


def process_rank() -> int:
    """This process's rank among all processes of the launch; 0 for a single one."""
    return int(os.environ.get("RANK", "0"))


def process_count() -> int:
    """How many processes the launch has."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def quiet_libraries() -> None:
    """Keep what transformers says of its own defaults off the screen; what matters of it is checked where it is used."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def say(text: str) -> None:
    """Print one line, on rank 0 alone."""
    if process_rank() == 0:
        print(text, flush=True)


def join_processes() -> None:
    """Let the launch's processes wait for each other; does nothing for a single one."""
    import torch.distributed as dist

    if process_count() > 1 and not dist.is_initialized():
        dist.init_process_group("gloo", timeout=timedelta(days=2))  # the slowest shard may take hours longer


def wait_for_all() -> None:
    """A barrier over the launch's processes."""
    import torch.distributed as dist

    if dist.is_initialized():
        dist.barrier()


def fresh_forks(module: str):
    """A way to start processes that are forks of a fresh one, which has imported `module` and started no threads."""
    context = get_context("forkserver")
    context.set_forkserver_preload([module])
    return context
