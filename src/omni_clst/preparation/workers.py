"""Worker processes for what is done to every clip."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor

from tqdm import tqdm

CLIPS_A_WRITE = 64


def make_pool(num_workers: int) -> ProcessPoolExecutor:
    """Worker processes that end with this one, however it ends."""
    return ProcessPoolExecutor(num_workers, initializer=_end_with_parent, initargs=(os.getpid(),))


def _end_with_parent(parent: int) -> None:
    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def run_in_workers(function: Callable, jobs: list[tuple], what: str, num_workers: int) -> Iterator[list]:
    """Results in the jobs' order, some at a time, so that the caller can write down what is done."""
    if not jobs:
        return
    bar = tqdm(total=len(jobs), desc=what, unit="file", delay=5)
    with make_pool(num_workers) as pool, bar:
        done = []
        for result in pool.map(function, *zip(*jobs, strict=True), chunksize=8):
            bar.update()
            done.append(result)
            if len(done) == CLIPS_A_WRITE:
                yield done
                done = []
        if done:
            yield done
