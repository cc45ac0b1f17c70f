"""Make the learning rate schedule follow the progress in the curriculum instead of the steps.

Samples that dynamic sampling replaces shorten the run; the schedule still has to reach its end.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from .curriculum_feed import CurriculumFeed


class CurriculumProgress:
    """The progress of a run through its curriculum; `total` is the number of prompts per generation."""

    def __init__(self, feed: CurriculumFeed, total: int):
        self.feed = feed
        self.total = total
        self.before = self.after = 0  # the feed's cursor before and after the current generation

    @contextmanager
    def generation(self) -> Iterator[None]:
        """Record the feed's cursor before and after a generation is made."""
        self.before = self.feed.cursor
        yield
        self.after = self.feed.cursor

    def reset(self) -> None:
        """Set the progress to the feed's cursor: a resumed run starts between two generations."""
        self.before = self.after = self.feed.cursor

    def share(self, step: int, steps_per_rollout: int) -> float:
        """The share of the curriculum that is used up after `step` optimiser steps, for the current `step`."""
        inner = (step - 1) % steps_per_rollout + 1 if step else 0  # steps on the current generation
        used = self.before + (self.after - self.before) * inner / steps_per_rollout
        assert self.feed.length is not None  # without a limit the schedule counts steps
        filling_steps = self.feed.length // self.total * self.total
        return min(used / filling_steps, 1.0)

    def control(self, scheduler, num_training_steps: int, steps_per_rollout: int) -> None:
        """Make a schedule (a `LambdaLR`; others are unchanged) follow `share` instead of the step."""
        if hasattr(scheduler, "lr_lambdas"):
            scheduler.lr_lambdas = [
                lambda step, rate=rate: rate(num_training_steps * self.share(step, steps_per_rollout))
                for rate in scheduler.lr_lambdas
            ]
