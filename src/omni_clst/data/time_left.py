"""Say how long a command still takes, from the time that its parts took so far."""

import time

_UNITS = ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min"), (60, "min", 1, "s"))


class TimeLeft:
    """The remaining time of `total` parts, of which `first` were done before this start."""

    def __init__(self, total: float, first: float = 0):
        self.total = total
        self.first = first
        self.start = time.monotonic()

    def in_words(self, done: float) -> str:
        """`3 min 20 s left`; "" while nothing was done in this start, and at the end."""
        if not self.first < done < self.total:
            return ""
        passed = time.monotonic() - self.start
        return f"{duration(passed * (self.total - done) / (done - self.first))} left"


def duration(seconds: float) -> str:
    """Seconds in their two largest units: `42 s`, `3 min 20 s`, `5 h 2 min`, `2 d 4 h`."""
    seconds = round(seconds)
    for size, name, small, small_name in _UNITS:
        if seconds >= size:
            return f"{seconds // size} {name} {seconds % size // small} {small_name}"
    return f"{seconds} s"
