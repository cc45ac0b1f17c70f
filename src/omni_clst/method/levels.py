"""Grade samples into easy, medium and hard by the base's and the SFT model's answers (arXiv 2509.12275, section 3.3)."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from ..data.samples import EASY_TO_HARD, AudioQASample
from ..errors import InputError
from .own_rules import OwnRule, load_rule

LevelRule = Callable[[AudioQASample, float, float, float], str]
PARAMETERS = ("sample", "base_pass_rate", "sft_pass_rate", "right_from")


def level_of(sample: AudioQASample, base_pass_rate: float, sft_pass_rate: float, right_from: float) -> str:
    """Easy if the base is right, medium if only the SFT model is, hard if neither; right: pass rate >= `right_from`."""
    if base_pass_rate >= right_from:
        return "easy"
    return "medium" if sft_pass_rate >= right_from else "hard"


@dataclass(frozen=True)
class OwnLevelRule:
    """A level rule from a user's file; raises `InputError` for a value that is no level."""

    rule: OwnRule

    def __call__(self, sample: AudioQASample, base_pass_rate: float, sft_pass_rate: float, right_from: float) -> str:
        level = self.rule(sample, base_pass_rate, sft_pass_rate, right_from)
        if not isinstance(level, str) or level not in EASY_TO_HARD:
            levels = ", ".join(EASY_TO_HARD)
            raise InputError(f"{self.rule} returned {level!r} for the sample {sample.id!r}: a level is one of {levels}")
        return level


def make_level_rule(setting: str | None) -> LevelRule:
    """The rule of the setting `level_rule`: the published one, or a function in a file of the user's own."""
    return level_of if setting is None else OwnLevelRule(load_rule(setting, PARAMETERS))


def grade(
    samples: list[AudioQASample],
    base_pass_rates: dict[str, float],
    sft_pass_rates: dict[str, float],
    right_from: float,
    rule: LevelRule = level_of,
) -> list[AudioQASample]:
    """The samples with their level, and both pass rates in `extra`; raises `InputError` for unanswered samples."""
    problems = []
    for model, rates in (("base", base_pass_rates), ("SFT model", sft_pass_rates)):
        missing = [sample.id for sample in samples if sample.id not in rates]
        if missing:
            first = ", ".join(missing[:3])
            problems.append(f"{len(missing)} of {len(samples)} samples have no answer of the {model}: {first}")
    if problems:
        raise InputError("; ".join(problems))
    graded = []
    for sample in samples:
        base, sft = base_pass_rates[sample.id], sft_pass_rates[sample.id]
        extra = sample.extra | {"base_pass_rate": base, "sft_pass_rate": sft}
        graded.append(replace(sample, level=rule(sample, base, sft, right_from), extra=extra))
    return graded


def problems_of_mix(mix: dict[str, float]) -> list[str]:
    """The problems of the shares of the levels, in words; they need not sum to 1."""
    problems = [f"mix: {level!r} is not one of {', '.join(EASY_TO_HARD)}" for level in mix if level not in EASY_TO_HARD]
    problems += [f"mix: {level} {share} is not a share" for level, share in mix.items() if not 0 <= share < math.inf]
    return problems or ([] if any(mix.values()) else ["mix: no level has a share"])
