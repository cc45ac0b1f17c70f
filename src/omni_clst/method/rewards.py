"""The rewards of a completion: pure functions of the sample and of the parsed completion, each between 0 and 1.

The published recipe is 2 x accuracy + 1 x format (arXiv 2509.12275, section 3.3). The setting `rewards` names rewards and
their weights: functions in `REWARDS`, or in a file of the user's own (docs/your_own_rules.md). They are logged unweighted.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from numbers import Real

from ..data.matching import strict_correct
from ..data.response import is_answer_alone, parse_response
from ..data.samples import AudioQASample
from ..errors import InputError
from ..fields import FunctionInFile
from .own_rules import OwnRule, load_rule, names_in_logs


@dataclass(frozen=True)
class ParsedCompletion:
    """What a reward sees of a completion: its text, and what `parse_response` finds in it."""

    text: str
    tokens: int  # generated, with the end token
    finished: bool  # False where it was cut off at max_completion_length
    think: str | None  # None without a thought, "" for an empty one
    answer: str | None  # None without exactly one answer
    well_formed: bool  # exactly one thought, then exactly one answer, and nothing else


Reward = Callable[[AudioQASample, ParsedCompletion], float]
PARAMETERS = ("sample", "completion")


def parse_completion(text: str, tokens: int, finished: bool) -> ParsedCompletion:
    """A completion with its thought and answer."""
    response = parse_response(text)
    return ParsedCompletion(text, tokens, finished, response.think, response.answer, response.well_formed)


def accuracy(sample: AudioQASample, completion: ParsedCompletion) -> float:
    """1 if the completion gives exactly one answer and it is the right choice, by the strict rule of scoring."""
    return float(strict_correct(completion.answer, sample.answer, sample.choices))


def exact_accuracy(sample: AudioQASample, completion: ParsedCompletion) -> float:
    """As published: 1 if the text in the answer tags equals the right choice exactly."""
    return float(completion.answer == sample.answer)


def format(sample: AudioQASample, completion: ParsedCompletion) -> float:
    """1 for exactly one thought, then exactly one answer, and nothing else."""
    return float(completion.well_formed)


def answer_format(sample: AudioQASample, completion: ParsedCompletion) -> float:
    """1 for exactly one answer in its tags and nothing else, for a prompt that asks for no thought."""
    return float(is_answer_alone(completion.text))


def length(sample: AudioQASample, completion: ParsedCompletion, max_thought_words: int) -> float:
    """1 for a thought of up to `max_thought_words`, falling linearly to 0 at twice as many; also an unfinished thought."""
    words = len((completion.think or "").split())
    return min(max(2.0 - words / max_thought_words, 0.0), 1.0)


def brevity(sample: AudioQASample, completion: ParsedCompletion, max_thought_words: int) -> float:
    """1 for no words of thought, falling linearly to 0 at `max_thought_words`: a small weight is a cost of tokens."""
    return max(1.0 - len((completion.think or "").split()) / max_thought_words, 0.0)


def selective_thought(sample: AudioQASample, completion: ParsedCompletion) -> float:
    """1 for a right answer with an empty thought.

    With a weight well below that of accuracy it prefers the empty thought only where both are right.
    """
    return float(accuracy(sample, completion) == 1.0 and completion.think == "")


REWARDS: dict[str, Callable[..., float]] = {
    "accuracy": accuracy,
    "exact_accuracy": exact_accuracy,
    "format": format,
    "answer_format": answer_format,
    "length": length,
    "brevity": brevity,
    "selective_thought": selective_thought,
}


OF_A_THOUGHT = {"format", "selective_thought"}  # 0 for every completion without one
OF_NO_THOUGHT = {"answer_format"}


def make_rewards(names: Iterable[str], max_thought_words: int) -> dict[str, Reward]:
    """The rewards that the setting names, in its order, by their names in logs; `max_thought_words` is that of `length` and
    `brevity`.
    """
    functions = REWARDS | {rule.__name__: partial(rule, max_thought_words=max_thought_words) for rule in (length, brevity)}
    names = list(names)
    own = {name: OwnReward(load_rule(name, PARAMETERS)) for name in names if FunctionInFile.is_file(name)}
    return {
        logged: own.get(name) or functions[name] for logged, name in zip(names_in_logs(names, REWARDS), names, strict=True)
    }


def score_completion(sample: AudioQASample, completion: ParsedCompletion, rewards: dict[str, Reward]) -> dict[str, float]:
    """Every reward by name, unweighted."""
    return {name: reward(sample, completion) for name, reward in rewards.items()}


@dataclass(frozen=True)
class OwnReward:
    """A reward from a user's file; raises `InputError` for a value that is not a finite number."""

    rule: OwnRule

    def __call__(self, sample: AudioQASample, completion: ParsedCompletion) -> float:
        value = self.rule(sample, completion)
        if not isinstance(value, Real) or not math.isfinite(value):
            raise InputError(
                f"{self.rule} returned {value!r} for the sample {sample.id!r}: a reward is a finite float, int or bool"
            )
        return float(value)


def files_of_rewards(rewards: dict[str, Reward]) -> dict[str, str]:
    """The SHA-256 of every file of the user's that has one of the rewards."""
    return {reward.rule.file: reward.rule.sha256 for reward in rewards.values() if isinstance(reward, OwnReward)}
