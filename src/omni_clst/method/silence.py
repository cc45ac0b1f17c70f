"""Select samples by whether they are solvable without audio: a model answers them right from silence.

Pure functions from samples and pass rates on silence; to change the idea, change `left_out_by_silence`.
"""

from collections import Counter
from dataclasses import replace

from ..data.samples import AudioQASample
from ..errors import InputError


def note_silence(samples: list[AudioQASample], pass_rates: dict[str, float]) -> list[AudioQASample]:
    """The samples with `silence_pass_rate` in `extra`; raises `InputError` for unanswered samples."""
    missing = [sample.id for sample in samples if sample.id not in pass_rates]
    if missing:
        first = ", ".join(missing[:3])
        raise InputError(f"{len(missing)} of {len(samples)} samples have no answer on silence: {first}")
    return [replace(sample, extra=sample.extra | {"silence_pass_rate": pass_rates[sample.id]}) for sample in samples]


def left_out_by_silence(sample: AudioQASample, limits: tuple[float, float]) -> str | None:
    """The reason for leaving a sample out by its pass rate on silence, None if it stays; (0, 1) needs no pass rate.

    Below the upper limit remain the samples that need the clip, above the lower one those that are solvable without it.
    """
    lowest, highest = limits
    if limits == (0.0, 1.0):
        return None
    if sample.extra["silence_pass_rate"] > highest:
        return f"solvable without audio: silence pass rate above {highest:g}"
    if sample.extra["silence_pass_rate"] < lowest:
        return f"not solvable without audio: silence pass rate below {lowest:g}"
    return None


def select_by_silence(
    samples: list[AudioQASample], limits: tuple[float, float]
) -> tuple[list[AudioQASample], Counter[str]]:
    """The samples within the limits, and how many were left out by reason; raises `InputError` if none remains."""
    reasons = {sample.id: left_out_by_silence(sample, limits) for sample in samples}
    kept = [sample for sample in samples if reasons[sample.id] is None]
    counts = Counter(reason for reason in reasons.values() if reason is not None)
    if samples and not kept:
        raise InputError(f"nothing to train on: of {len(samples)} samples {in_words(counts)}")
    return kept, counts


def in_words(counts: Counter[str]) -> str:
    """Numbers by reason, as `12 left out (solvable without audio: silence pass rate above 0.5)`."""
    return ", ".join(f"{count} left out ({reason})" for reason, count in counts.items())
