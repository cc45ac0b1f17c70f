"""Any audio file to mono 16 kHz float32; what its header says; how many tokens the clip takes in the model.

Lengths are counted in frames (one value per channel, at the file's rate), samples (mono, at 16 kHz), mel frames (100 a
second) and audio tokens (25 a second).
"""

import math
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soundfile
import soxr

from .errors import InputError

SAMPLING_RATE = 16_000  # Hz, what the model hears
HOP_LENGTH = 160  # samples per mel frame
MIN_SAMPLES = 2 * HOP_LENGTH + 1  # the fewest that the audio tower turns into a token: 3 mel frames
SILENCE_PEAK = 1e-4  # -80 dB of full scale
SILENCE_RMS = 1e-3  # -60 dB: what a quiet moment stays below

_BLOCK_FRAMES = 65_536
_MOMENT_FRAMES = 1_024
# A writer that streams cannot know the length and leaves such a size in the header: it promises nothing.
_STREAMING_BYTES = 2**31 - 2**16
# libsndfile's log where a header names more bytes of sound than the file has (WAV and RF64, AIFF, W64).
_SIZE_MISMATCH = re.compile(r"^\s*(?:data|SSND|riff|Riff size) : (\d+) \(should be (\d+)\)", re.MULTILINE)


class ClipError(InputError):
    """A clip that cannot be heard; `kind` is missing, unreadable, too short or not finite."""

    def __init__(self, message: str, kind: str = "unreadable"):
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True)
class AudioInfo:
    """What a file's header says, without decoding.

    `frames` are those that the file can hold, `promised_frames` those that its header names: more of them means a
    truncated file. `estimated` tells that `frames` may be off by some hundredths of a second (MP3, and all formats that
    FFmpeg reads); else it is exact, a damaged FLAC or Ogg stream aside, which only decoding finds (`inspect_audio`).
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

    def audio_tokens(self, max_audio_seconds: float | None = None) -> int:
        """Audio placeholder tokens that the clip takes, cropped at `max_audio_seconds`; raises `ClipError` for none."""
        _require_token(self, int(min(self.frames, self.frame_limit(max_audio_seconds))))
        return audio_token_count(mel_frame_count(self.samples(max_audio_seconds)))

    def frame_limit(self, max_audio_seconds: float | None) -> float:
        """Frames that `max_audio_seconds` leaves of a file of any length (infinite for None)."""
        return math.inf if max_audio_seconds is None else int(max_audio_seconds * self.sampling_rate)


@dataclass(frozen=True)
class AudioInspection:
    """A clip as decoded: `info` with the frames that were there, the mono peak, the share of its moments (1,024 frames)
    below -60 dB, and what is odd about it."""

    info: AudioInfo
    peak: float
    silence_share: float
    problems: tuple[str, ...]


def load_audio(path: str | Path, max_audio_seconds: float | None = None) -> np.ndarray:
    """Decode a clip as the released model's pipeline does (librosa: mean of the channels, then soxr HQ).

    Returns float32 of shape (samples,) at 16 kHz. A clip longer than `max_audio_seconds` is cropped before resampling:
    its beginning is kept, the rest is not read. A truncated file gives what is there. Raises `ClipError` with path and
    reason for a file that is missing, empty, not decodable, without samples, too short for one audio token (20 ms), or
    holding values that are not finite.
    """
    with _open_clip(path) as (info, blocks):
        waveform = np.concatenate(list(_mono_blocks(info, blocks, info.frame_limit(max_audio_seconds))))
    return _resample(waveform, info.sampling_rate)


def probe_audio(path: str | Path) -> AudioInfo:
    """Read a file's header; raises `ClipError` for a file that is missing, empty or not audio.

    Decodes only where a header leaves the length open (a stream without duration).
    """
    with _open_clip(path) as (info, blocks):
        return info if info.frames else replace(info, frames=sum(len(block) for block in blocks))


def inspect_audio(path: str | Path, listen: Callable[[np.ndarray], None] | None = None) -> AudioInspection:
    """Decode a whole file in constant memory and tell what is odd about it (truncated, silent).

    `listen` is given every mono block (frames,) at the file's own rate, one after the other. Raises `ClipError` for every
    file that `load_audio` would refuse.
    """
    frames, silent, peak = 0, 0, 0.0
    with _open_clip(path) as (info, blocks):
        for block in _mono_blocks(info, blocks, math.inf):
            frames += len(block)
            silent += _silent_frames(block)
            peak = max(peak, float(np.abs(block).max()))
            if listen is not None:
                listen(block)
    problems = []
    promised = max(info.promised_frames, info.frames)
    # An estimated length is no promise: believe it only where a whole second is missing.
    if promised - frames > (info.sampling_rate if info.estimated else 0):
        rate = info.sampling_rate
        problems.append(f"truncated: the header promises {promised / rate:.2f} s, {frames / rate:.2f} s are there")
    if peak < SILENCE_PEAK:
        problems.append("silent")
    return AudioInspection(replace(info, frames=frames, estimated=False), peak, silent / frames, tuple(problems))


def _silent_frames(block: np.ndarray) -> int:
    """Frames of a block that lie in moments below -60 dB."""
    whole = len(block) // _MOMENT_FRAMES * _MOMENT_FRAMES
    power = np.square(block[:whole]).reshape(-1, _MOMENT_FRAMES).mean(axis=1)
    silent = int((power < SILENCE_RMS**2).sum()) * _MOMENT_FRAMES
    rest = block[whole:]
    return silent + (len(rest) if len(rest) and np.square(rest).mean() < SILENCE_RMS**2 else 0)


def mel_frame_count(samples: int) -> int:
    """Valid mel frames of `samples` at 16 kHz, as the feature extractor's attention mask counts them."""
    return math.ceil(samples / HOP_LENGTH)


def audio_token_count(mel_frames: int) -> int:
    """Audio placeholder tokens of a clip with so many mel frames, 25 a second.

    The rule of `Qwen2_5OmniProcessor`: a convolution and a pooling, each of stride 2.
    """
    after_convolution = (mel_frames - 1) // 2 + 1
    return (after_convolution - 2) // 2 + 1


class _SequentialFile(soundfile.SoundFile):
    """A file read front to back: soundfile seeks after every read, and an MP3 decoder that seeks loses its state."""

    def seekable(self) -> bool:
        return False


@contextmanager
def _open_clip(path: str | Path) -> Iterator[tuple[AudioInfo, Iterator[np.ndarray]]]:
    """Open a file with the first reader that takes it; yields its header and its blocks (frames, channels) of float32.

    libsndfile first: to the sample what librosa and qwen-omni-utils return and as fast (0.16 s for 38 real clips; PyAV
    takes 0.39 s and is off by 3e-6 on MP3), without their 1 to 3 s of import and first call. FFmpeg (PyAV) takes the
    rest, such as AAC and the sound of videos, for which librosa would need the ffmpeg program.
    """
    _require_file(path)
    with ExitStack() as stack:
        try:
            file = stack.enter_context(_SequentialFile(path))
        except (soundfile.LibsndfileError, TypeError):  # TypeError: a file named .raw, which has no header
            file = None
        if file is not None and file.frames:
            yield _soundfile_info(path, file), _soundfile_blocks(file)
        else:
            container = _open_with_ffmpeg(stack, path)
            yield _ffmpeg_info(path, container), _ffmpeg_blocks(container)


def _require_file(path: str | Path) -> None:
    try:
        with open(path, "rb") as file:
            if not file.read(1):
                raise ClipError(f"{path}: is empty (0 bytes)")
    except OSError as error:
        raise ClipError(f"{path}: {error.strerror}", "missing") from None


def _soundfile_info(path: str | Path, file: soundfile.SoundFile) -> AudioInfo:
    return AudioInfo(
        path=str(path),
        format=f"{file.format} {file.subtype}",
        channels=file.channels,
        sampling_rate=file.samplerate,
        frames=file.frames,
        promised_frames=_promised_frames(file),
        estimated=file.format == "MP3",
    )


def _promised_frames(file: soundfile.SoundFile) -> int:
    """Frames that the header names; libsndfile itself counts no more than the file has room for."""
    mismatch = _SIZE_MISMATCH.search(file.extra_info)
    if mismatch is None:
        return file.frames
    promised_bytes, actual_bytes = int(mismatch[1]), int(mismatch[2])
    if promised_bytes >= _STREAMING_BYTES or promised_bytes <= actual_bytes:
        return file.frames
    return round(file.frames * promised_bytes / actual_bytes)


def _soundfile_blocks(file: soundfile.SoundFile) -> Iterator[np.ndarray]:
    frames, damaged = 0, False
    while not damaged:
        block = np.empty((_BLOCK_FRAMES, file.channels), np.float32)
        try:
            decoded = len(file.read(out=block))
        except soundfile.LibsndfileError:
            damaged, decoded = True, max(0, file.tell() - frames)  # what was decoded before the damage stands
        if not decoded:
            return
        yield block[:decoded]
        frames += decoded


def _open_with_ffmpeg(stack: ExitStack, path: str | Path):
    import av  # only the files that libsndfile does not take pay for it

    try:
        container = stack.enter_context(av.open(str(path)))
        playable = container.streams.audio and container.streams.audio[0].rate
        reason = None if playable else "no audio stream"
    except av.FFmpegError as error:
        reason = error.strerror
    if reason is not None:
        raise ClipError(f"{path}: not decodable as audio ({reason})")
    return container


def _ffmpeg_info(path: str | Path, container) -> AudioInfo:
    stream = container.streams.audio[0]
    if stream.duration is not None:
        seconds = float(stream.duration * stream.time_base)
    else:
        seconds = (container.duration or 0) / 1e6  # microseconds
    frames = round(seconds * stream.rate)
    return AudioInfo(str(path), stream.codec_context.name, stream.channels, stream.rate, frames, frames, estimated=True)


def _ffmpeg_blocks(container) -> Iterator[np.ndarray]:
    import av

    # The rate of the header, so that a stream whose frames have another (HE-AAC) keeps its length in seconds.
    to_float = av.AudioResampler(format="fltp", rate=container.streams.audio[0].rate)
    try:
        for frame in container.decode(audio=0):
            for block in to_float.resample(frame):
                yield block.to_ndarray().T
    except av.FFmpegError:
        return  # damaged from here on: what came before stands


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
    if not frames:
        raise ClipError(f"{info.path}: holds no audio samples", "too short")
    samples = _resampled_length(frames, info.sampling_rate)
    if samples < MIN_SAMPLES:
        reason = f"{samples} samples at 16 kHz are too short, one audio token takes {MIN_SAMPLES}"
        raise ClipError(f"{info.path}: {reason}", "too short")


def _resampled_length(frames: int, sampling_rate: int) -> int:
    """Samples at 16 kHz of so many frames, rounded up as librosa does."""
    return -(-frames * SAMPLING_RATE // sampling_rate)


def _resample(waveform: np.ndarray, sampling_rate: int) -> np.ndarray:
    if sampling_rate == SAMPLING_RATE:
        return waveform
    resampled = soxr.resample(waveform, sampling_rate, SAMPLING_RATE, quality="HQ")
    # soxr rounds the length to the nearest, librosa (and so the released pipeline) up, with a zero.
    samples = _resampled_length(len(waveform), sampling_rate)
    return np.pad(resampled[:samples], (0, max(0, samples - len(resampled))))
