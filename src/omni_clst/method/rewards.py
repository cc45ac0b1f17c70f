"""The rewards of a completion: pure functions of the sample and of the completion's text, each between 0 and 1.

The published recipe is 2 x accuracy + 1 x format (arXiv 2509.12275, section 3.3). The setting `rewards` names rewards and
their weights; a function added to `REWARDS` can be named there. Rewards are logged unweighted.
"""

from collections.abc import Callable

from ..data.matching import strict_correct
from ..data.response import parse_response
from ..data.samples import AudioQASample

LONGEST_THOUGHT_WORDS = 100  # the limit in the selective prompt


def accuracy(sample: AudioQASample, text: str) -> float:
    """1 if the completion gives exactly one answer and it is the right choice, by the strict rule of scoring."""
    return float(strict_correct(parse_response(text).answer, sample.answer, sample.choices))


def exact_accuracy(sample: AudioQASample, text: str) -> float:
    """As published: 1 if the text in the answer tags equals the right choice exactly."""
    return float(parse_response(text).answer == sample.answer)


def format(sample: AudioQASample, text: str) -> float:
    """1 for exactly one thought, then exactly one answer, and nothing else."""
    return float(parse_response(text).well_formed)


def length(sample: AudioQASample, text: str) -> float:
    """1 for a thought of up to 100 words, falling linearly to 0 at 200; an unfinished thought counts as it is."""
    words = len((parse_response(text).think or "").split())
    return min(max(2.0 - words / LONGEST_THOUGHT_WORDS, 0.0), 1.0)


def selective_thought(sample: AudioQASample, text: str) -> float:
    """1 for a right answer with an empty thought.

    With a weight well below that of accuracy it prefers the empty thought only where both are right.
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
    """The named rewards, unweighted, in the order of `names`."""
    return {name: REWARDS[name](sample, text) for name in names}
