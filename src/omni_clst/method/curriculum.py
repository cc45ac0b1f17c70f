"""Make the error-aware curriculum (arXiv 2509.12275, section 3.3): samples are ordered by which models fail on them.

`make_curriculum` calls one pure function per step: the level of a sample (`levels.level_of`, or the user's rule), which
samples are left out (`why_left_out`), how many of each level are drawn (`share_out`), and their order in the file
(`put_in_order`). The order in which a training run visits the file is set in `order.py`.
"""

import math
import random
from collections import Counter, defaultdict
from dataclasses import dataclass

from ..data.samples import EASY_TO_HARD, AudioQASample
from ..errors import InputError
from .config import CurriculumConfig
from .levels import LevelRule, grade, make_level_rule, problems_of_mix
from .silence import left_out_by_silence

FILL_ORDER = (*EASY_TO_HARD[1:], EASY_TO_HARD[0])  # the levels that take the places which another level cannot fill


@dataclass(frozen=True)
class Curriculum:
    """The chosen samples in the order of the training file, and all others: `graded` has every sample once."""

    graded: list[AudioQASample]  # all, with level, `base_pass_rate` and `sft_pass_rate`
    left_out: dict[str, str]  # sample id -> reason
    held_out: list[AudioQASample]  # for evaluation, easy to hard
    available: list[AudioQASample]  # to draw from: not left out, and not about the clip of a held-out sample
    chosen: list[AudioQASample]
    level_rule: LevelRule


def make_curriculum(
    samples: list[AudioQASample],
    base_pass_rates: dict[str, float],
    sft_pass_rates: dict[str, float],
    config: CurriculumConfig,
) -> Curriculum:
    """Grade, leave out, hold out, draw and order; the result depends on the seed, not on the order of `samples`."""
    rule = make_level_rule(config.level_rule)
    graded = grade(samples, base_pass_rates, sft_pass_rates, config.right_from, rule)
    limits = (config.min_sft_pass_rate, config.max_sft_pass_rate, config.silence_limits)
    reasons = {sample.id: why_left_out(sample, *limits) for sample in graded}
    usable = [sample for sample in graded if reasons[sample.id] is None]
    held_out, available = hold_out(usable, config.valid_size, config.size, config.mix, config.seed)
    chosen = draw_samples(available, config.size, config.mix, config.seed)
    return Curriculum(
        graded,
        {sample_id: reason for sample_id, reason in reasons.items() if reason is not None},
        put_in_order(held_out, config.seed),
        available,
        put_in_order(chosen, config.seed),
        rule,
    )


def why_left_out(
    sample: AudioQASample, min_sft_pass_rate: float, max_sft_pass_rate: float, silence_limits: tuple[float, float]
) -> str | None:
    """The reason for leaving a graded sample out of training, None if it stays.

    GRPO learns from differences in reward within a group. Where the SFT model was sampled k > 1 times, a sample that it
    always or never answers right will mostly give groups without differences, and limits such as [0.1, 0.9] leave it
    out. With one greedy answer the pass rate says little about that: the default limits, [0, 1], leave nothing out.
    Samples that are solvable without audio (`silence.py`) teach nothing about audio.
    """
    if not sample.answer:
        return "no answer to compare with"
    if reason := left_out_by_silence(sample, silence_limits):
        return reason
    if sample.extra["sft_pass_rate"] < min_sft_pass_rate:
        return f"SFT pass rate below {min_sft_pass_rate:g}"
    if sample.extra["sft_pass_rate"] > max_sft_pass_rate:
        return f"SFT pass rate above {max_sft_pass_rate:g}"
    return None


def quotas(mix: dict[str, float], size: int) -> dict[str, int]:
    """Places by level: `size` in the shares of `mix`, rounded by largest remainder (equal ones: easy first)."""
    if problems := problems_of_mix(mix):
        raise InputError("; ".join(problems))
    exact = {level: size * mix.get(level, 0.0) / sum(mix.values()) for level in EASY_TO_HARD}
    places = {level: math.floor(exact[level]) for level in EASY_TO_HARD}
    by_remainder = sorted(EASY_TO_HARD, key=lambda level: places[level] - exact[level])
    for level in by_remainder[: size - sum(places.values())]:
        places[level] += 1
    return places


def share_out(available: dict[str, int], mix: dict[str, float], size: int) -> dict[str, int]:
    """The number of samples to take from each level: `size` in total, or all available ones.

    Places that a level cannot fill go to the others: first to medium, then to hard, then to easy. A level without a share
    in the mix gets none.
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
    """`valid_size` samples for evaluation, and the samples about other clips.

    The held-out samples have the same mix as both files together, so that a scarce level is in both. Clips are drawn at
    random; of each, the samples whose level still has free places are held out, and its other samples are not used.
    """
    if not valid_size:
        return [], samples
    both = share_out(Counter(sample.level for sample in samples), mix, size + valid_size)
    if sum(both.values()) <= valid_size:
        raise InputError(f"valid_size {valid_size} leaves nothing to train on: there are {sum(both.values())} samples")
    places = quotas(both, valid_size)  # never more than in `both`, which has more than valid_size samples
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


def draw_samples(samples: list[AudioQASample], size: int, mix: dict[str, float], seed: int) -> list[AudioQASample]:
    """`size` samples by `share_out`, drawn level by level; a larger draw contains a smaller one."""
    taken = share_out(Counter(sample.level for sample in samples), mix, size)
    if not any(taken.values()):
        raise InputError(f"nothing to draw: none of {len(samples)} samples has a level of the mix {mix}; change mix")
    chosen = []
    for level in EASY_TO_HARD:
        of_level = sorted((sample for sample in samples if sample.level == level), key=lambda sample: sample.id)
        chosen += _shuffled(of_level, f"draw {level} {seed}")[: taken[level]]
    return chosen


def put_in_order(samples: list[AudioQASample], seed: int) -> list[AudioQASample]:
    """Easy, medium, hard; within a level by falling mean of the two pass rates, equal ones in a seeded random order.

    With one answer per model, all medium and all hard samples are equal; of the easy ones, those that the SFT model
    answers wrong come last.
    """
    mixed = _shuffled(sorted(samples, key=lambda sample: sample.id), f"order {seed}")
    return sorted(mixed, key=lambda sample: (EASY_TO_HARD.index(sample.level), -mean_pass_rate(sample)))


def mean_pass_rate(sample: AudioQASample) -> float:
    """The mean of both models' pass rates, rounded so that equal means compare as equal (0.1 + 0.2 is not 0.3)."""
    return round((sample.extra["base_pass_rate"] + sample.extra["sft_pass_rate"]) / 2, 9)


def _shuffled(items: list, seed: str) -> list:
    """A shuffled copy; with a text as seed the order is the same in every process, whatever PYTHONHASHSEED."""
    return random.Random(seed).sample(items, len(items))
