"""Log the progress of answering every few seconds."""

import time

from ..processes import say

PROGRESS_SECONDS = 5.0


class Progress:
    """Prints samples a second and the time left, on rank 0."""

    def __init__(self, total: int):
        self.total = total
        self.done = 0
        self.start = self.last = time.monotonic()

    def advance(self, count: int) -> None:
        self.done += count
        now = time.monotonic()
        if now - self.last >= PROGRESS_SECONDS or (self.done == self.total and now - self.start > PROGRESS_SECONDS):
            rate = self.done / (now - self.start)
            left = (self.total - self.done) / rate
            say(f"  {self.done}/{self.total} samples, {rate:.1f} a second, {left:.0f} s left")
            self.last = now
