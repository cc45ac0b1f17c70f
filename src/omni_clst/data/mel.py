"""Compute mel features as Qwen2.5-Omni takes them, with a batch padded to its longest clip instead of to 300 s."""

import numpy as np

from ..errors import InputError
from .audio import MIN_SAMPLES, SAMPLING_RATE


def log_mel(feature_extractor, waveforms: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Log-mel features of mono 16 kHz clips, equal to those of the stock extractor on every frame that is returned.

    `waveforms` are float32 of shape (samples,). Returns `input_features` float32 (clips, mel_bins, frames) and
    `feature_attention_mask` int64 (clips, frames), where frames is that of the longest clip. `feature_extractor` is a
    `WhisperFeatureExtractor`; unlike in a call to it, its `chunk_length` neither pads nor cuts a clip. Raises
    `InputError` for a clip too short for one audio token.
    """
    require_token(waveforms)
    hop = feature_extractor.hop_length
    longest = max(len(waveform) for waveform in waveforms)
    stock = feature_extractor(
        waveforms,
        sampling_rate=SAMPLING_RATE,
        padding="max_length",
        max_length=padded_length(feature_extractor, longest),
        return_attention_mask=True,
        return_tensors="np",
    )
    frames = -(-longest // hop)
    mask = stock["attention_mask"][:, :frames].astype(np.int64)
    return np.ascontiguousarray(stock["input_features"][:, :, :frames]), mask


def clip_features(feature_extractor, waveform: np.ndarray) -> np.ndarray:
    """The features (mel_bins, frames) of one clip by `log_mel`."""
    return log_mel(feature_extractor, [waveform])[0][0]


def require_token(waveforms: list[np.ndarray]) -> None:
    """Raise `InputError` for a clip too short for one audio token."""
    for index, waveform in enumerate(waveforms):
        if len(waveform) < MIN_SAMPLES:
            raise InputError(f"clip {index}: {len(waveform)} samples are too short, one audio token takes {MIN_SAMPLES}")


def padded_length(feature_extractor, samples: int) -> int:
    """The length in samples that a clip is padded to.

    There are n_fft zeros after it: then the STFT mirrors only zeros at the end, and the frames that still reach into the
    clip are all there for the extractor's dynamic range, which counts from the clip's loudest frame.
    """
    hop = feature_extractor.hop_length
    return -(-(samples + feature_extractor.n_fft) // hop) * hop
