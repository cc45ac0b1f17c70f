"""Run a function over clips in worker processes."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor

from tqdm import tqdm

RESULTS_PER_YIELD = 64


def make_pool(num_workers: int) -> ProcessPoolExecutor:
    """Worker processes that end with this one, however it ends."""
    return ProcessPoolExecutor(num_workers, initializer=_end_with_parent, initargs=(os.getpid(),))


def _end_with_parent(parent: int) -> None:
    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def run_in_workers(function: Callable, jobs: list[tuple], label: str, num_workers: int) -> Iterator[list]:
    """Yield results in the jobs' order, in lists, so that the caller can save them; `label` names the progress bar."""
    if not jobs:
        return
    bar = tqdm(total=len(jobs), desc=label, unit="file", delay=5)
    with make_pool(num_workers) as pool, bar:
        results = []
        for result in pool.map(function, *zip(*jobs, strict=True), chunksize=8):
            bar.update()
            results.append(result)
            if len(results) == RESULTS_PER_YIELD:
                yield results
                results = []
        if results:
            yield results
