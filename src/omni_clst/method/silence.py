"""Find samples that are solvable without audio: a model answers them right when given silence instead of the clip.

Pure functions from samples and pass rates on silence; to change the idea, change `is_solvable_without_audio`.
"""

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


def is_solvable_without_audio(sample: AudioQASample, max_silence_pass_rate: float) -> bool:
    """True above the limit; with a limit of 1 always False, and no pass rate is needed."""
    return max_silence_pass_rate < 1 and sample.extra["silence_pass_rate"] > max_silence_pass_rate


def reason_of_silence(max_silence_pass_rate: float) -> str:
    """The reason for leaving such samples out, in words."""
    return f"solvable without audio: silence pass rate above {max_silence_pass_rate:g}"


def leave_out_solvable_without_audio(samples: list[AudioQASample], max_silence_pass_rate: float) -> list[AudioQASample]:
    """The samples that are not solvable without audio; raises `InputError` if none remains."""
    kept = [sample for sample in samples if not is_solvable_without_audio(sample, max_silence_pass_rate)]
    if samples and not kept:
        raise InputError(f"nothing to train on: all {len(samples)} samples are {reason_of_silence(max_silence_pass_rate)}")
    return kept
