"""Log the progress of answering every few seconds."""

import time

from ..data.time_left import TimeLeft
from ..processes import say

PROGRESS_SECONDS = 5.0


class Progress:
    """Prints samples per second and the remaining time, on rank 0."""

    def __init__(self, total: int):
        self.total = total
        self.done = 0
        self.start = self.last = time.monotonic()
        self.left = TimeLeft(total)

    def advance(self, count: int) -> None:
        self.done += count
        now = time.monotonic()
        if now - self.last >= PROGRESS_SECONDS or (self.done == self.total and now - self.start > PROGRESS_SECONDS):
            rate = f"{self.done / (now - self.start):.1f} per second"
            left = self.left.in_words(self.done)
            say(f"  {self.done}/{self.total} samples, {', '.join(filter(None, (rate, left)))}")
            self.last = now
