"""The error-aware curriculum (arXiv 2509.12275, section 3.3): samples are ordered by which models fail on them.

`make_curriculum` is the whole idea, one step a line, and each step is a pure function that can be exchanged: how hard a
sample is (`levels.level_of`), which ones teach nothing (`why_left_out`), how many of each level are drawn (`share_out`),
in which order they stand (`put_in_order`). In which order a training run then visits the file: `order.py`.
"""

import math
import random
from collections import Counter, defaultdict
from dataclasses import dataclass

from ..data.samples import AudioQASample
from ..errors import InputError
from .config import CurriculumConfig
from .levels import EASY_TO_HARD, grade, problems_of_mix
from .silence import is_solvable_without_audio, reason_of_silence

FILL_ORDER = ("medium", "hard", "easy")  # who takes the places that another level leaves open


@dataclass(frozen=True)
class Curriculum:
    """The training file, `chosen` in its order, and what else became of the samples: each stands in `graded` once."""

    graded: list[AudioQASample]  # all, with level, `base_pass_rate` and `sft_pass_rate`
    left_out: dict[str, str]  # sample id -> reason
    held_out: list[AudioQASample]  # for evaluation, easy to hard
    available: list[AudioQASample]  # left to draw from: neither left out nor on a clip that is held out
    chosen: list[AudioQASample]


def make_curriculum(
    samples: list[AudioQASample],
    base_pass_rates: dict[str, float],
    sft_pass_rates: dict[str, float],
    config: CurriculumConfig,
) -> Curriculum:
    """Grade, leave out, hold out, draw and order; what comes out depends on the seed and not on the samples' order."""
    graded = grade(samples, base_pass_rates, sft_pass_rates, config.right_from)
    limits = (config.min_sft_pass_rate, config.max_sft_pass_rate, config.max_silence_pass_rate)
    reasons = {sample.id: why_left_out(sample, *limits) for sample in graded}
    usable = [sample for sample in graded if reasons[sample.id] is None]
    held_out, available = hold_out(usable, config.valid_size, config.size, config.mix, config.seed)
    chosen = draw(available, config.size, config.mix, config.seed)
    return Curriculum(
        graded,
        {sample_id: reason for sample_id, reason in reasons.items() if reason is not None},
        put_in_order(held_out, config.seed),
        available,
        put_in_order(chosen, config.seed),
    )


def why_left_out(
    sample: AudioQASample, min_sft_pass_rate: float, max_sft_pass_rate: float, max_silence_pass_rate: float
) -> str | None:
    """Why a graded sample cannot teach, None if it can.

    GRPO learns from the differences in reward within a group. Where the SFT model was sampled k > 1 times, a sample that
    it always or never gets right will mostly give groups without one, and a window such as [0.1, 0.9] leaves it out. One
    greedy answer says little about that: the default window, [0, 1], leaves nothing out. What is
    solvable without audio teaches nothing about audio: `silence.py`.
    """
    if not sample.answer:
        return "no answer to compare with"
    if is_solvable_without_audio(sample, max_silence_pass_rate):
        return reason_of_silence(max_silence_pass_rate)
    if sample.extra["sft_pass_rate"] < min_sft_pass_rate:
        return f"SFT pass rate below {min_sft_pass_rate:g}"
    if sample.extra["sft_pass_rate"] > max_sft_pass_rate:
        return f"SFT pass rate above {max_sft_pass_rate:g}"
    return None


def quotas(mix: dict[str, float], size: int) -> dict[str, int]:
    """Places by level: `size` in the shares of `mix`, in whole numbers by largest remainder (equal ones: easy first)."""
    if problems := problems_of_mix(mix):
        raise InputError("; ".join(problems))
    exact = {level: size * mix.get(level, 0.0) / sum(mix.values()) for level in EASY_TO_HARD}
    places = {level: math.floor(exact[level]) for level in EASY_TO_HARD}
    by_remainder = sorted(EASY_TO_HARD, key=lambda level: places[level] - exact[level])
    for level in by_remainder[: size - sum(places.values())]:
        places[level] += 1
    return places


def share_out(available: dict[str, int], mix: dict[str, float], size: int) -> dict[str, int]:
    """How many samples of each level are taken: `size` in all, or all there are.

    A level with too few gives its open places to the others: to medium as far as it goes, then to hard, then to easy. A
    level without a share in the mix takes none.
    """
    places = quotas(mix, size)
    taken = {level: min(places[level], available.get(level, 0)) for level in EASY_TO_HARD}
    for level in FILL_ORDER:
        if mix.get(level):
            taken[level] += min(size - sum(taken.values()), available.get(level, 0) - taken[level])
    return taken


def hold_out(
    samples: list[AudioQASample], valid_size: int, size: int, mix: dict[str, float], seed: int
) -> tuple[list[AudioQASample], list[AudioQASample]]:
    """`valid_size` samples for evaluation, and those whose clips are not among theirs.

    The held-out samples have the mix of both files together, so that a scarce level is found in both. Clips are drawn; of
    each, the samples go whose level still has open places, and the rest of the clip's samples go nowhere.
    """
    if not valid_size:
        return [], samples
    both = share_out(Counter(sample.level for sample in samples), mix, size + valid_size)
    if sum(both.values()) <= valid_size:
        raise InputError(f"valid_size {valid_size} leaves nothing to train on: {sum(both.values())} samples are there")
    places = quotas(both, valid_size)  # never more than `both` has: it holds more than valid_size samples
    by_clip = defaultdict(list)
    for sample in sorted(samples, key=lambda sample: sample.id):
        by_clip[sample.audio_path].append(sample)
    held_out = []
    for clip in _shuffled(list(by_clip), f"hold out {seed}"):
        for sample in by_clip[clip]:
            if places[sample.level]:
                places[sample.level] -= 1
                held_out.append(sample)
    clips = {sample.audio_path for sample in held_out}
    return held_out, [sample for sample in samples if sample.audio_path not in clips]


def draw(samples: list[AudioQASample], size: int, mix: dict[str, float], seed: int) -> list[AudioQASample]:
    """`size` samples by `share_out`, drawn level by level; a larger draw holds the smaller one."""
    taken = share_out(Counter(sample.level for sample in samples), mix, size)
    if not any(taken.values()):
        raise InputError(f"nothing to draw: {len(samples)} samples are left, none of a level in the mix {mix}")
    chosen = []
    for level in EASY_TO_HARD:
        of_level = sorted((sample for sample in samples if sample.level == level), key=lambda sample: sample.id)
        chosen += _shuffled(of_level, f"draw {level} {seed}")[: taken[level]]
    return chosen


def put_in_order(samples: list[AudioQASample], seed: int) -> list[AudioQASample]:
    """Easy, medium, hard; inside a level by falling mean of the two pass rates, equal ones in a seeded random order.

    With one answer a model, all medium and all hard ones are equal; of easy ones, those that SFT unlearnt come last.
    """
    mixed = _shuffled(sorted(samples, key=lambda sample: sample.id), f"order {seed}")
    return sorted(mixed, key=lambda sample: (EASY_TO_HARD.index(sample.level), -mean_pass_rate(sample)))


def mean_pass_rate(sample: AudioQASample) -> float:
    """The mean of both models' pass rates, rounded so that equal ones are equal: 0.1 + 0.2 is not 0.3."""
    return round((sample.extra["base_pass_rate"] + sample.extra["sft_pass_rate"]) / 2, 9)


def _shuffled(items: list, seed: str) -> list:
    """A shuffled copy; a text as seed gives the same order in every process, whatever PYTHONHASHSEED."""
    return random.Random(seed).sample(items, len(items))
