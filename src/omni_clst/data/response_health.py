"""Signs that a model's completions are not what training and scoring expect, with the number and the remedy of each.

A run whose prompt, base or limits are wrong goes on without an error, and every answer is wrong. These signs are said while
it runs.
"""

from collections import Counter
from dataclasses import dataclass, field

from .matching import strict_choice
from .response import answer_of, parse_response
from .samples import AudioQASample

ENOUGH = 32  # completions before anything is said
SHARES = {  # sign -> the share of completions from which on it is said
    "have no answer in their tags": 0.5,
    "answer with none of the choices": 0.5,
    "are cut off": 0.2,
    "are empty": 0.1,
}
REMEDIES = {
    "have no answer in their tags": "the model may not know the form, or the limit of new tokens may be too low: --dry_run "
    "shows the prompt, --prompt sets another",
    "answer with none of the choices": "the prompt may not ask for a choice word for word: --dry_run shows it, "
    "--prompt sets another",
    "are cut off": "raise {limit}",
    "are empty": "is the checkpoint whole, and the engine sound? --engine hf is the reference",
}


def sign_of(sample: AudioQASample, text: str, finished: bool, asks_for_tags: bool) -> str | None:
    """What is wrong with a completion's form, as a key of `SHARES`; None for one that answers with a choice."""
    if not text.strip():
        return "are empty"
    if not finished:
        return "are cut off"
    if asks_for_tags and parse_response(text).answer is None:
        return "have no answer in their tags"
    answer = answer_of(text, asks_for_tags)
    return "answer with none of the choices" if sample.choices and strict_choice(answer, sample.choices) is None else None


@dataclass
class ResponseHealth:
    """Counts signs over completions; `limit` is the setting for the number of new tokens, `window` the number of
    completions after which counting starts anew."""

    limit: str
    window: int | None = None
    counts: Counter[str | None] = field(default_factory=Counter)
    said: set[str] = field(default_factory=set)

    def add(self, sign: str | None) -> None:
        """Count one completion."""
        if self.window is not None and self.counts.total() >= self.window:
            self.counts.clear()
        self.counts[sign] += 1

    def new_warnings(self) -> list[str]:
        """What is to be said now and was not said before."""
        total = self.counts.total()
        if total < ENOUGH:
            return []
        signs = [sign for sign, share in SHARES.items() if self.counts[sign] >= share * total and sign not in self.said]
        self.said.update(signs)
        return [
            f"warning: {self.counts[sign]} of {total} completions {sign}: {REMEDIES[sign].format(limit=self.limit)}"
            for sign in signs
        ]
