"""What a completion earns: pure functions of the sample and of what was written, each between 0 and 1.

The published recipe is 2 x accuracy + 1 x format (arXiv 2509.12275, section 3.3). A setting names the rewards and their
weights; a function added to `REWARDS` can be named there. Everything is logged as it is here, before the weights.
"""

from collections.abc import Callable

from ..data.matching import strict_correct
from ..data.response import parse_response
from ..data.samples import AudioQASample

LONGEST_THOUGHT_WORDS = 100  # what the selective prompt asks for


def accuracy(sample: AudioQASample, text: str) -> float:
    """1 if the completion gives exactly one answer and it is the right choice, by the rule that scores are made with."""
    return float(strict_correct(parse_response(text).answer, sample.answer, sample.choices))


def exact_accuracy(sample: AudioQASample, text: str) -> float:
    """As published: 1 if what stands in the answer tags is the right choice, letter for letter."""
    return float(parse_response(text).answer == sample.answer)


def format(sample: AudioQASample, text: str) -> float:
    """1 for exactly one thought, then exactly one answer, and nothing else; a second answer is hedging and earns 0."""
    return float(parse_response(text).well_formed)


def length(sample: AudioQASample, text: str) -> float:
    """1 for a thought of up to 100 words, falling to 0 at 200; an unfinished thought counts as it stands."""
    words = len((parse_response(text).think or "").split())
    return min(max(2.0 - words / LONGEST_THOUGHT_WORDS, 0.0), 1.0)


def selective_thought(sample: AudioQASample, text: str) -> float:
    """1 for a right answer with an empty thought: what did not have to be thought about.

    Weighed well below accuracy it breaks the tie between thinking and not thinking where both are right.
    """
    return float(accuracy(sample, text) == 1.0 and parse_response(text).think == "")


REWARDS: dict[str, Callable[[AudioQASample, str], float]] = {
    "accuracy": accuracy,
    "exact_accuracy": exact_accuracy,
    "format": format,
    "length": length,
    "selective_thought": selective_thought,
}


def score_completion(sample: AudioQASample, text: str, names: list[str]) -> dict[str, float]:
    """The rewards of these names, unweighted, in this order."""
    return {name: REWARDS[name](sample, text) for name in names}
