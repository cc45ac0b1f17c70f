"""How a base takes clips: the longest one, its mel features, its audio tokens."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from .audio import audio_token_count, mel_frame_count
from .mel import clip_features


@dataclass(frozen=True)
class ClipFormat:
    """How a base takes clips; the defaults are Qwen2.5-Omni's.

    The base's own processor cuts a clip at `max_seconds` without a word, so no more of one is accepted here. `frames_of`
    is the number of mel frames of so many samples, `tokens_of` that of audio tokens of so many mel frames. `features` are
    those of a waveform, by a feature extractor: (mel_bins, columns), the clip's frames and padding where the base needs it.
    """

    base: str = "Qwen2.5-Omni"
    max_seconds: float = 300.0
    tokens_per_second: float = 25.0
    frames_of: Callable[[int], int] = mel_frame_count
    tokens_of: Callable[[int], int] = audio_token_count
    features: Callable[..., np.ndarray] = clip_features

    def tokens_of_samples(self, samples: int) -> int:
        """Audio tokens of a clip of so many samples at 16 kHz."""
        return self.tokens_of(self.frames_of(samples))

    def require_taken(self, max_audio_seconds: float) -> None:
        """Raise `InputError` for a setting that would let clips through which the base's processor cuts."""
        if max_audio_seconds > self.max_seconds:
            raise InputError(
                f"max_audio_seconds {max_audio_seconds:g}: {self.base} takes clips of at most {self.max_seconds:g} s; "
                f"set max_audio_seconds {self.max_seconds:g}, and longer ones are cropped there and counted"
            )
