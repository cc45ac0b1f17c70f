"""A set of samples to answer, checked before any weights are loaded."""

from dataclasses import dataclass

from ..data.clip_check import measure_lengths
from ..data.encoder import OmniEncoder
from ..data.samples import AudioQASample
from .config import AnsweringConfig


@dataclass(frozen=True)
class Questions:
    """A named set of samples, with prompt lengths in tokens by id, and the errors of unreadable samples by id."""

    name: str
    sha256: str  # of the file that they were read from
    samples: list[AudioQASample]
    lengths: dict[str, int]
    unreadable: dict[str, str]

    @property
    def readable(self) -> list[AudioQASample]:
        return [sample for sample in self.samples if sample.id in self.lengths]


def check_questions(
    name: str,
    sha256: str,
    samples: list[AudioQASample],
    place: str,
    encoder: OmniEncoder,
    config: AnsweringConfig,
    allow_unreadable: bool,
    remedy: str,
) -> Questions:
    """Check every clip; raises `InputError` with `place`, the first unreadable samples and `remedy`, unless
    `allow_unreadable`."""
    decode_up_to = config.max_audio_seconds if config.check_audio else None
    lengths, unreadable = measure_lengths(samples, encoder.length, place, allow_unreadable, remedy, decode_up_to)
    return Questions(name, sha256, samples, lengths, unreadable)
