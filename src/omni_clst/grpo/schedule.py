"""The learning rate's schedule, by how much of the curriculum is used up instead of by steps.

What dynamic sampling passes over shortens the run; the learning rate still has to arrive where it would have without.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from .curriculum_feed import CurriculumFeed


class CurriculumProgress:
    """How far a run is through its curriculum; `total` is the number of prompts in a generation."""

    def __init__(self, feed: CurriculumFeed, total: int):
        self.feed = feed
        self.total = total
        self.before = self.behind = 0  # the feed's cursor around the generation that is learnt from

    @contextmanager
    def generation(self) -> Iterator[None]:
        """Around the making of a generation: what it takes from the feed."""
        self.before = self.feed.cursor
        yield
        self.behind = self.feed.cursor

    def start_here(self) -> None:
        """A resumed run stands between two generations."""
        self.before = self.behind = self.feed.cursor

    def share(self, step: int, steps_per_rollout: int) -> float:
        """The share of the curriculum that is used up after `step` optimiser steps, the present one."""
        inner = (step - 1) % steps_per_rollout + 1 if step else 0  # steps done with the present generation
        used = self.before + (self.behind - self.before) * inner / steps_per_rollout
        filling_steps = self.feed.length // self.total * self.total
        return min(used / filling_steps, 1.0)

    def lead(self, scheduler, num_training_steps: int, steps_per_rollout: int) -> None:
        """Let the rates of a schedule (a `LambdaLR`; others stay as they are) follow the share instead of the step."""
        if hasattr(scheduler, "lr_lambdas"):
            scheduler.lr_lambdas = [
                lambda step, rate=rate: rate(num_training_steps * self.share(step, steps_per_rollout))
                for rate in scheduler.lr_lambdas
            ]
