"""Notice that a run unlearns to think, before the samples come that need it, and do what the settings say.

In the order from easy to hard the first third of the curriculum are samples that need no thought. Where thoughts are often
wrong there, or cost reward, GRPO removes thinking altogether, and the hard samples at the end find a model that no longer
tries (docs/when_thinking_pays.md). The sign is the think rate on held-out samples by level: that of the hard ones falls
while only easy ones are trained on.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from transformers import TrainerCallback

from ..data.samples import EASY_TO_HARD
from ..errors import InputError
from ..files import read_jsonl
from ..processes import say
from .curriculum_feed import CurriculumFeed

Reaction = Literal["warn", "stop", "shuffle"]
FEWEST = 20  # held-out samples of a level, for a judgement
LOWEST_RATE = 0.1  # of the start: a model that hardly thinks on a level has nothing to unlearn there
KEPT_SHARE = 0.5  # of the start's think rate: below it, thinking is being unlearnt
ERRORS = 2.5  # standard errors that the fall has to exceed


@dataclass(frozen=True)
class Unlearning:
    """A level on which held-out answers think much less than at the start; rates are shares of its samples."""

    level: str
    before: float
    now: float


def find_unlearning(before: dict[str, float], now: dict[str, float], counts: dict[str, int]) -> Unlearning | None:
    """The hardest level whose think rate fell below half of the start's by more than chance; None for none.

    `before` and `now` are think rates by level, `counts` the held-out samples of each level.
    """
    for level in reversed(EASY_TO_HARD):
        if level not in before or level not in now or counts.get(level, 0) < FEWEST or before[level] < LOWEST_RATE:
            continue
        variance = sum(rate * (1 - rate) for rate in (before[level], now[level])) / counts[level]
        fall = before[level] - now[level]
        if now[level] < KEPT_SHARE * before[level] and fall > ERRORS * math.sqrt(variance):
            return Unlearning(level, before[level], now[level])
    return None


class UnlearningWatch(TrainerCallback):
    """Compares every evaluation with that before the first step; warns, stops the run, or shuffles what is left."""

    def __init__(self, run_dir: Path, counts: dict[str, int], feed: CurriculumFeed, reaction: Reaction):
        self.metrics_file = Path(run_dir) / "metrics.jsonl"
        self.counts = counts
        self.feed = feed
        self.reaction = reaction
        self.at_start: dict[str, float] | None = None
        self.stopped: str | None = None
        self._was_said = False

    def on_train_begin(self, args, state, control, **kwargs):
        """A resumed run compares with the same evaluation as before."""
        if state.global_step and self.metrics_file.exists():
            rows = (row for _, row in read_jsonl(self.metrics_file) if row["step"] == 0)
            self.at_start = next((rates for rates in map(think_rates, rows) if rates), None)

    def on_evaluate(self, args, state, control, metrics=None, **kwargs):
        rates = think_rates(metrics or {})
        if state.global_step == 0:
            self.at_start = rates
        found = find_unlearning(self.at_start or {}, rates, self.counts)
        if found and not self._was_said and not self.feed.shuffled_from:
            self._was_said = True
            self._react(found, state.global_step, control)

    def _react(self, found: Unlearning, step: int, control) -> None:
        line = (
            f"step {step}: the model unlearns to think: {100 * found.now:.0f} % of its answers to held-out {found.level} "
            f"samples have a thought, {100 * found.before:.0f} % at the start"
        )
        if self.reaction == "shuffle":
            self.feed.shuffle_rest()
            say(f"warning: {line}; the rest of the curriculum is shuffled from sample {self.feed.cursor} on")
        elif self.reaction == "stop":
            self.stopped = f"{line}; a checkpoint was written; start again from the SFT model with order overlapping"
            control.should_training_stop = control.should_save = True
        else:
            say(
                f"warning: {line}; harder samples will hardly teach it again: order overlapping keeps some in every "
                "step, on_unlearning stop or shuffle reacts"
            )

    def on_train_end(self, args, state, control, **kwargs):
        if self.stopped:
            raise InputError(self.stopped)


def think_rates(metrics: dict[str, float]) -> dict[str, float]:
    """An evaluation's think rates by level."""
    names = {level: f"eval_think_rate/{level}" for level in EASY_TO_HARD}
    return {level: metrics[name] for level, name in names.items() if name in metrics}
