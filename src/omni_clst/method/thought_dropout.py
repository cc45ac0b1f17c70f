"""Guided thought dropout (arXiv 2509.12275, section 3.1): what the base answers right loses its reference thought.

Pure functions from samples and pass rates to training samples; to change the idea, change `drops_thought`.
"""

import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from ..data.samples import AudioQASample
from ..errors import InputError


def drops_thought(pass_rate: float, drop_from: float) -> bool:
    """The rule: a sample that the base answers right at least `drop_from` of the time can do without thinking."""
    return pass_rate >= drop_from


def drop_thoughts(
    samples: list[AudioQASample], pass_rates: dict[str, float], mode: str, drop_from: float, seed: int
) -> list[AudioQASample]:
    """Return the samples with the thoughts that `mode` drops emptied; `extra` notes `base_pass_rate` and `base_correct`.

    `guided` follows `drops_thought`; `random` drops as many thoughts, drawn; `keep_all` and `drop_all` need no pass
    rates. A sample without a usable thought keeps the empty one in every mode. Raises `InputError` for a sample without
    an answer of the base.
    """
    missing = [sample.id for sample in samples if sample.id not in pass_rates]
    if missing and mode in ("guided", "random"):
        raise InputError(f"{len(missing)} of {len(samples)} samples have no answer: {', '.join(missing[:3])}")
    dropped = {s.id for s in samples if s.id in pass_rates and drops_thought(pass_rates[s.id], drop_from)}
    if mode == "random":
        ids = sorted(sample.id for sample in samples)
        dropped = set(random.Random(seed).sample(ids, len(dropped)))
    elif mode == "keep_all":
        dropped = set()
    elif mode == "drop_all":
        dropped = {sample.id for sample in samples}
    return [_with_thought(sample, sample.id not in dropped, pass_rates.get(sample.id)) for sample in samples]


def _with_thought(sample: AudioQASample, keeps: bool, pass_rate: float | None) -> AudioQASample:
    extra = dict(sample.extra)
    if pass_rate is not None:
        extra |= {"base_pass_rate": pass_rate, "base_correct": int(pass_rate == 1.0)}
    return replace(sample, think=(sample.think or "").strip() if keeps else "", extra=extra)


def split_by_clip(
    samples: list[AudioQASample], valid_share: float, seed: int
) -> tuple[list[AudioQASample], list[AudioQASample]]:
    """Train and valid samples, in the given order; all questions about a clip fall on one side."""
    clips = sorted({sample.audio_path for sample in samples})
    random.Random(seed).shuffle(clips)
    held_out = set(clips[: round(valid_share * len(clips))])
    train = [sample for sample in samples if sample.audio_path not in held_out]
    return train, [sample for sample in samples if sample.audio_path in held_out]


def describe(samples: Iterable[AudioQASample], before: Iterable[AudioQASample]) -> str:
    """How many thoughts were kept, dropped, and never there."""
    had = {sample.id: bool((sample.think or "").strip()) for sample in before}
    counts = Counter("kept" if s.think else "dropped" if had[s.id] else "never there" for s in samples)
    total = sum(counts.values())
    words = [f"{counts[name]} {name} ({100 * counts[name] / total:.0f} %)" for name in ("kept", "dropped")]
    return f"{total} samples, thoughts: " + ", ".join([*words, f"{counts['never there']} never there"])
