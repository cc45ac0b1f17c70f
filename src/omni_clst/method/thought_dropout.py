"""Guided thought dropout (arXiv 2509.12275, section 3.1): drop the reference thoughts of samples the base answers right.

Pure functions from samples and pass rates to training samples; to change the idea, change `drops_thought`.
"""

import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from ..data.samples import AudioQASample
from ..errors import InputError


def drops_thought(pass_rate: float, drop_from: float) -> bool:
    """True for a sample that the base answers right at a pass rate of at least `drop_from`."""
    return pass_rate >= drop_from


def drop_thoughts(
    samples: list[AudioQASample], pass_rates: dict[str, float], mode: str, drop_from: float, seed: int
) -> list[AudioQASample]:
    """The samples with dropped thoughts set to `""`, and `base_pass_rate` and `base_correct` in `extra`.

    `guided` follows `drops_thought`; `random` drops as many thoughts, chosen at random; `keep_all` and `drop_all` need no
    pass rates. The thought of a sample that has none is `""` in every mode. Raises `InputError` for a sample that the
    base did not answer.
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
    """Train and valid samples, in the given order; all questions about a clip are in the same part."""
    clips = sorted({sample.audio_path for sample in samples})
    random.Random(seed).shuffle(clips)
    held_out = set(clips[: round(valid_share * len(clips))])
    train = [sample for sample in samples if sample.audio_path not in held_out]
    return train, [sample for sample in samples if sample.audio_path in held_out]


def describe(samples: Iterable[AudioQASample], before: Iterable[AudioQASample]) -> str:
    """The numbers of samples whose thought was kept, was dropped, and that never had one."""
    had_thought = {sample.id: bool((sample.think or "").strip()) for sample in before}
    counts = Counter("kept" if s.think else "dropped" if had_thought[s.id] else "without" for s in samples)
    total = sum(counts.values())
    words = [f"{counts[name]} {name} ({100 * counts[name] / total:.0f} %)" for name in ("kept", "dropped")]
    return f"{total} samples, thoughts: " + ", ".join([*words, f"{counts['without']} had none"])
