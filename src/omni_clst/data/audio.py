"""Decode any audio file to mono 16 kHz float32, read its header, count the audio tokens that it takes in the model.

Lengths are counted in frames (one value per channel, at the file's rate), samples (mono, at 16 kHz), mel frames (100 a
second) and audio tokens (of Qwen2.5-Omni 25 a second; other bases have rules of their own, see `clip_format.py`).
"""

import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soxr

from .audio_files import ClipError, Header, open_clip

SAMPLING_RATE = 16_000  # Hz, of the model's input
HOP_LENGTH = 160  # samples per mel frame
MEL_FRAMES_PER_SECOND = SAMPLING_RATE // HOP_LENGTH
MIN_SAMPLES = 2 * HOP_LENGTH + 1  # the fewest that the audio tower turns into a token: 3 mel frames
SILENCE_PEAK = 1e-4  # -80 dB of full scale
SILENCE_RMS = 1e-3  # -60 dB: a window below it counts as silent

_SILENCE_WINDOW_FRAMES = 1_024


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """A file's length and format from its header, without decoding.

    `frames` is how many the file can hold, `promised_frames` how many its header states: more of them means a truncated
    file. With `estimated`, `frames` may be off by some hundredths of a second (MP3, and the formats that FFmpeg reads);
    otherwise it is exact, except for a damaged FLAC or Ogg stream, which only decoding finds (`inspect_audio`).
    """

    path: str
    format: str
    channels: int
    sampling_rate: int
    frames: int
    promised_frames: int
    estimated: bool

    @property
    def seconds(self) -> float:
        """Length of the clip in seconds."""
        return self.frames / self.sampling_rate

    def samples(self, max_audio_seconds: float | None = None) -> int:
        """Length of what `load_audio` returns with the same setting."""
        return _resampled_length(min(self.frames, self.frame_limit(max_audio_seconds)), self.sampling_rate)

    def audio_tokens(
        self, max_audio_seconds: float | None = None, tokens_of_samples: Callable[[int], int] | None = None
    ) -> int:
        """Audio placeholder tokens that the clip takes, cropped at `max_audio_seconds`; raises `ClipError` for none.

        `tokens_of_samples` is a base's rule; without one it is Qwen2.5-Omni's.
        """
        _require_token(self, int(min(self.frames, self.frame_limit(max_audio_seconds))))
        samples = self.samples(max_audio_seconds)
        return tokens_of_samples(samples) if tokens_of_samples else audio_token_count(mel_frame_count(samples))

    def frame_limit(self, max_audio_seconds: float | None) -> float:
        """Frames that `max_audio_seconds` leaves of a file of any length (infinite for None)."""
        return math.inf if max_audio_seconds is None else int(max_audio_seconds * self.sampling_rate)


_PROBED: dict[str, tuple[tuple[int, int], AudioInfo]] = {}  # by path: size and time of change with the header
_TRUSTED: dict[str, AudioInfo] = {}


@dataclass(frozen=True)
class AudioInspection:
    """A decoded clip: `info` with the decoded length, the mono peak, the share of windows (1,024 frames) below -60 dB,
    and its problems in words (truncated, silent)."""

    info: AudioInfo
    peak: float
    silence_share: float
    problems: tuple[str, ...]


def load_audio(path: str | Path, max_audio_seconds: float | None = None) -> np.ndarray:
    """Decode a clip as the released model's pipeline does (librosa: mean of the channels, then soxr HQ).

    Returns float32 of shape (samples,) at 16 kHz. A clip longer than `max_audio_seconds` is cropped before resampling:
    its beginning is kept, the rest is not read. A truncated file is decoded as far as it goes. Raises `ClipError` with
    path and reason for a file that is missing, empty, not decodable, without samples, too short for one audio token
    (20 ms), or that has values which are not finite.
    """
    with open_clip(path) as (header, blocks):
        info = _info_of(path, header)
        waveform = np.concatenate(list(_mono_blocks(info, blocks, info.frame_limit(max_audio_seconds))))
    return _resample(waveform, info.sampling_rate)


def probe_audio(path: str | Path) -> AudioInfo:
    """A file's header, see `read_header`; a file that did not change is opened once per process."""
    path = str(path)
    if trusted := _TRUSTED.get(path):
        return trusted
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return read_header(path)  # raises with the reason
    stamp = (status.st_size, status.st_mtime_ns)
    if path not in _PROBED or _PROBED[path][0] != stamp:
        _PROBED[path] = stamp, read_header(path)
    return _PROBED[path][1]


def trust_headers(infos: dict[str, AudioInfo]) -> None:
    """Let `probe_audio` return these headers by path, without a look at the files."""
    _TRUSTED.update(infos)


def forget_headers() -> None:
    """Free the memory of all headers that are known, once a run has started."""
    _TRUSTED.clear()
    _PROBED.clear()


def read_header(path: str | Path) -> AudioInfo:
    """Read a file's header; raises `ClipError` for a file that is missing, empty or not audio.

    Decodes only where the header does not state the length (see `audio_files`).
    """
    with open_clip(path) as (header, blocks):
        info = _info_of(path, header)
        if header.frames is not None:
            return info
        frames = sum(len(block) for block in blocks)
        return replace(info, frames=frames, promised_frames=max(frames, info.promised_frames))


def _info_of(path: str | Path, header: Header) -> AudioInfo:
    """A header as `AudioInfo`; 0 frames where only decoding finds their number."""
    return AudioInfo(
        path=str(path),
        format=header.format,
        channels=header.channels,
        sampling_rate=header.sampling_rate,
        frames=header.frames or 0,
        promised_frames=header.promised_frames or header.frames or 0,
        estimated=header.estimated,
    )


def inspect_audio(path: str | Path, on_block: Callable[[np.ndarray, int], None] | None = None) -> AudioInspection:
    """Decode a whole file in constant memory and find its problems (truncated, silent).

    `on_block` is called with every mono block (frames,) and the file's sampling rate. Raises `ClipError` for every file
    that `load_audio` refuses.
    """
    frames, silent, peak = 0, 0, 0.0
    with open_clip(path) as (header, blocks):
        info = _info_of(path, header)
        for block in _mono_blocks(info, blocks, math.inf):
            frames += len(block)
            silent += _silent_frames(block)
            peak = max(peak, float(np.abs(block).max()))
            if on_block is not None:
                on_block(block, info.sampling_rate)
    problems = _length_problems(info, frames)
    if peak < SILENCE_PEAK:
        problems.append("silent")
    exact = replace(info, frames=frames, promised_frames=max(frames, info.promised_frames), estimated=False)
    return AudioInspection(exact, peak, silent / frames, tuple(problems))


def _length_problems(info: AudioInfo, frames: int) -> list[str]:
    """How the decoded length differs from the one that the header states, if it states one."""
    promised, rate = info.promised_frames, info.sampling_rate
    # The count in a compressed stream's header may be off a little: report only differences of a whole second.
    slack = 0 if info.frames and not info.estimated else rate
    if promised - frames > slack:
        return [f"truncated: the header promises {promised / rate:.2f} s, {frames / rate:.2f} s are there"]
    if promised and frames - promised > slack:
        return [f"longer than its header states: {promised / rate:.2f} s, {frames / rate:.2f} s are there"]
    return []


def _silent_frames(block: np.ndarray) -> int:
    """Frames of a block that lie in windows below -60 dB."""
    whole = len(block) // _SILENCE_WINDOW_FRAMES * _SILENCE_WINDOW_FRAMES
    power = np.square(block[:whole]).reshape(-1, _SILENCE_WINDOW_FRAMES).mean(axis=1)
    silent = int((power < SILENCE_RMS**2).sum()) * _SILENCE_WINDOW_FRAMES
    rest = block[whole:]
    return silent + (len(rest) if len(rest) and np.square(rest).mean() < SILENCE_RMS**2 else 0)


def mel_frame_count(samples: int) -> int:
    """Valid mel frames of `samples` at 16 kHz, as the feature extractor's attention mask counts them."""
    return math.ceil(samples / HOP_LENGTH)


def audio_token_count(mel_frames: int) -> int:
    """Audio placeholder tokens of a clip with this many mel frames, 25 a second.

    The rule of `Qwen2_5OmniProcessor`: a convolution and a pooling, each of stride 2.
    """
    after_convolution = (mel_frames - 1) // 2 + 1
    return (after_convolution - 2) // 2 + 1


def _mono_blocks(info: AudioInfo, blocks: Iterator[np.ndarray], limit: float) -> Iterator[np.ndarray]:
    """Yield mono float32 blocks (frames,) of the first `limit` frames; raises `ClipError` for unusable content."""
    frames = not_finite = 0
    for block in blocks:
        if frames + len(block) > limit:
            block = block[: int(limit) - frames]
        frames += len(block)
        not_finite += block.size - np.count_nonzero(np.isfinite(block))
        if not not_finite:
            yield block[:, 0] if block.shape[1] == 1 else block.mean(axis=1)
        if frames >= limit:
            break
    if not_finite:
        raise ClipError(f"{info.path}: {not_finite} sample values are not finite (NaN or infinity)", "not finite")
    _require_token(info, frames)


def _require_token(info: AudioInfo, frames: int) -> None:
    """Raise `ClipError` for a clip that has too few frames for one audio token."""
    if not frames and info.promised_frames:
        seconds = info.promised_frames / info.sampling_rate
        raise ClipError(f"{info.path}: not decodable as audio (its header promises {seconds:.2f} s, none of it decodes)")
    if not frames:
        raise ClipError(f"{info.path}: holds no audio samples", "too short")
    samples = _resampled_length(frames, info.sampling_rate)
    if samples < MIN_SAMPLES:
        reason = f"{samples} samples at 16 kHz are too short, one audio token takes {MIN_SAMPLES}"
        raise ClipError(f"{info.path}: {reason}", "too short")


def _resampled_length(frames: int, sampling_rate: int) -> int:
    """Samples at 16 kHz of this many frames at `sampling_rate`, rounded up as librosa does."""
    return -(-frames * SAMPLING_RATE // sampling_rate)


def _resample(waveform: np.ndarray, sampling_rate: int) -> np.ndarray:
    if sampling_rate == SAMPLING_RATE:
        return waveform
    resampled = soxr.resample(waveform, sampling_rate, SAMPLING_RATE, quality="HQ")
    # soxr rounds the length to the nearest, librosa (and so the released pipeline) up, with a zero.
    samples = _resampled_length(len(waveform), sampling_rate)
    return np.pad(resampled[:samples], (0, max(0, samples - len(resampled))))
