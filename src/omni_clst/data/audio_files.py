"""Open an audio file through libsndfile or FFmpeg: its header, and its decoded frames block by block.

The length in a header is used only where it is reliable. With a count that the file's bytes cannot hold, a total that the
writer left open, an MP3 without an index, or an Ogg file of several streams, the length is counted by decoding.
"""

import io
import itertools
import os
import re
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soundfile
import soxr

from ..errors import InputError
from .audio_headers import Mp3Index, mp3_index, ogg_links

LFS_POINTER = b"version https://git-lfs"  # the first bytes of a file that Git LFS did not fetch
_BLOCK_VALUES = 131_072  # of all channels together
_BLOCK_STEP = 1_024  # frames; a block is a multiple of it
_MP3_SLACK_FRAMES = 2_304  # two MP3 frames: an encoder's delay and padding
_MIN_RATE, _MAX_RATE = 1_000, 1_000_000  # Hz
_BYTES_PER_VALUE = {
    "PCM_S8": 1, "PCM_U8": 1, "ULAW": 1, "ALAW": 1, "PCM_16": 2, "PCM_24": 3, "PCM_32": 4, "FLOAT": 4, "DOUBLE": 8,
}  # fmt: skip
_MAX_FRAMES_PER_BYTE = 8_192  # of compressed sound: 65,535 frames of silence take a FLAC 8 bytes
# FFmpeg's names of the formats whose headers state a duration; of the others it guesses one from the bit rate.
_FORMATS_WITH_DURATION = {"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "asf", "avi"}
# A writer that streams cannot know the length and leaves a size of this order in the header: it states no length.
_STREAMING_BYTES = 2**31 - 2**16
# A line of libsndfile's log where a header states more bytes of sound than the file has (WAV and RF64, AIFF, W64).
_SIZE_MISMATCH = re.compile(r"^\s*(?:data|SSND|riff|Riff size) : (\d+) \(should be (\d+)\)", re.MULTILINE)


class ClipError(InputError):
    """A clip that cannot be used; `kind` is missing, unreadable, too short or not finite."""

    def __init__(self, message: str, kind: str = "unreadable"):
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True)
class Header:
    """A file's header: `frames` is how many the file can hold, None where only decoding finds their number.

    `promised_frames` is how many the header states, None where it states none; with `estimated`, `frames` may be off by
    some hundredths of a second.
    """

    format: str
    channels: int
    sampling_rate: int
    frames: int | None
    promised_frames: int | None
    estimated: bool


@contextmanager
def open_clip(path: str | Path) -> Iterator[tuple[Header, Iterator[np.ndarray]]]:
    """Open a file with the first library that can read it; yields its header and its float32 blocks (frames, channels).

    libsndfile first: its values equal those of librosa and qwen-omni-utils, and it is as fast (0.16 s for 38 real clips;
    PyAV takes 0.39 s and is off by 3e-6 on MP3), without their 1 to 3 s of import and first call. FFmpeg (PyAV) reads the
    rest, such as AAC and the audio of videos, for which librosa would need the ffmpeg program, and MP3s that continue
    after the last frame that libsndfile counts. Raises `ClipError`.
    """
    with ExitStack() as stack:
        descriptor, size = _open_descriptor(path)
        try:
            file = stack.enter_context(_SequentialFile(descriptor, closefd=True))
        except soundfile.LibsndfileError:  # libsndfile has closed the descriptor
            file = None
        index = mp3_index(path) if file is not None and file.format == "MP3" else None
        if file is None or not file.frames or not file.channels or _continues_past_count(path, file, index):
            yield _open_with_ffmpeg(stack, path, size, file.frames if index else None)
            return
        header = _soundfile_header(path, file, size, index)
        links = ogg_links(path) if file.format == "OGG" else []
        if len(links) > 1:
            header = replace(header, frames=None, promised_frames=None, estimated=False)
            yield header, _chained_blocks(path, links, header.sampling_rate)
        else:
            yield header, _soundfile_blocks(file)


class _SequentialFile(soundfile.SoundFile):
    """A file read front to back: soundfile seeks after every read, and an MP3 decoder that seeks loses its state."""

    def seekable(self) -> bool:
        return False


def _open_descriptor(path: str | Path) -> tuple[int, int]:
    """A file's descriptor and size. Given a name, libsndfile would read any bytes called .vox or .au as audio."""
    try:
        status = os.stat(path)
        if stat.S_ISREG(status.st_mode) and status.st_size:
            return os.open(path, os.O_RDONLY), status.st_size
    except OSError as error:
        raise ClipError(f"{path}: {error.strerror}", "missing") from None
    except ValueError as error:  # a path that holds a zero character
        raise ClipError(f"{str(path)!r}: {error}", "missing") from None
    if stat.S_ISREG(status.st_mode):
        raise ClipError(f"{path}: is empty (0 bytes)")
    kind = "Is a directory" if stat.S_ISDIR(status.st_mode) else "is no regular file"
    raise ClipError(f"{path}: {kind}", "missing")


def _require_rate(path: str | Path, rate: int) -> int:
    if not _MIN_RATE <= rate <= _MAX_RATE:
        raise ClipError(f"{path}: sampling rate {rate} Hz is not between {_MIN_RATE} and {_MAX_RATE} Hz")
    return rate


def _continues_past_count(path: str | Path, file: soundfile.SoundFile, index: Mp3Index | None) -> bool:
    """True for an MP3 that is longer than libsndfile's frame count, at which libsndfile stops reading.

    libsndfile knows the length of a variable bit rate only from an index (Xing, Info, VBRI), which is wrong after files
    were joined or cut.
    """
    if file.format != "MP3" or (index is not None and index.fits):
        return False
    import av

    try:
        with _ffmpeg_container(path) as container:
            stream = container.streams.audio[0]
            seconds = float(sum(packet.duration or 0 for packet in container.demux(stream)) * stream.time_base)
    except (av.FFmpegError, IndexError):
        return False
    return seconds * file.samplerate - file.frames > _MP3_SLACK_FRAMES


def _soundfile_header(path: str | Path, file: soundfile.SoundFile, size: int, index: Mp3Index | None) -> Header:
    bytes_per_value = None if file.format == "FLAC" else _BYTES_PER_VALUE.get(file.subtype)
    room = size // (bytes_per_value * file.channels) if bytes_per_value else size * _MAX_FRAMES_PER_BYTE
    is_mp3 = file.format == "MP3"
    states_length = 0 < file.frames <= room and (not is_mp3 or index is not None)
    must_decode = not states_length or (is_mp3 and index is not None and not index.fits)
    return Header(
        format=f"{file.format} {file.subtype}",
        channels=file.channels,
        sampling_rate=_require_rate(path, file.samplerate),
        frames=None if must_decode else file.frames,
        promised_frames=_promised_frames(file) if states_length else None,
        estimated=is_mp3 and not must_decode,
    )


def _promised_frames(file: soundfile.SoundFile) -> int:
    """Frames that the header states; libsndfile's own count is limited to what the file has bytes for."""
    mismatch = _SIZE_MISMATCH.search(file.extra_info)
    if mismatch is None:
        return file.frames
    promised_bytes, actual_bytes = int(mismatch[1]), int(mismatch[2])
    if promised_bytes >= _STREAMING_BYTES or promised_bytes <= actual_bytes:
        return file.frames
    return round(file.frames * promised_bytes / actual_bytes)


def _soundfile_blocks(file: soundfile.SoundFile) -> Iterator[np.ndarray]:
    frames, damaged = 0, False
    block_frames = max(1, _BLOCK_VALUES // file.channels // _BLOCK_STEP) * _BLOCK_STEP
    while not damaged:
        block = np.empty((block_frames, file.channels), np.float32)
        try:
            decoded = len(file.read(out=block))
        except soundfile.LibsndfileError:
            damaged, decoded = True, max(0, file.tell() - frames)  # keep what was decoded before the damage
        if not decoded:
            return
        yield block[:decoded]
        frames += decoded


def _chained_blocks(path: str | Path, links: list[int], rate: int) -> Iterator[np.ndarray]:
    """The streams of a chained Ogg file (joined with `cat`, or of a radio) in their order, at the first one's rate."""
    with open(path, "rb") as file:
        for start, end in itertools.pairwise([*links, os.path.getsize(path)]):
            file.seek(start)
            try:
                link = _SequentialFile(io.BytesIO(file.read(end - start)))
            except soundfile.LibsndfileError:
                continue
            with link:
                blocks = _soundfile_blocks(link)
                if link.samplerate == rate:
                    yield from blocks
                elif decoded := list(blocks):
                    yield soxr.resample(np.concatenate(decoded), link.samplerate, rate)


def _open_with_ffmpeg(
    stack: ExitStack, path: str | Path, size: int, promised: int | None
) -> tuple[Header, Iterator[np.ndarray]]:
    import av  # slow to import: only for the files that libsndfile cannot read

    try:
        container = stack.enter_context(_ffmpeg_container(path))
        streams = container.streams.audio
        known = [s.index for s in streams if s.codec_context is not None and s.rate and s.channels]
        if len(known) > 1:
            known = [index for index in known if _decodes(path, index)]
        if known:
            stream = container.streams[known[0]]
            rate = _require_rate(path, stream.rate)
            return _ffmpeg_header(container, stream, size, promised), _ffmpeg_blocks(container, stream, rate)
        reason = "no decoder for its audio stream" if streams else "no audio stream"
    except av.FFmpegError as error:
        reason = error.strerror
    with open(path, "rb") as file:
        if file.read(len(LFS_POINTER)) == LFS_POINTER:
            reason = "a Git LFS pointer, not the file itself: `git lfs pull` fetches it"
    raise ClipError(f"{path}: not decodable as audio ({reason})")


def _ffmpeg_container(path: str | Path):
    import av

    return av.open(str(path), metadata_errors="ignore")  # tags in Latin-1


def _decodes(path: str | Path, index: int) -> bool:
    """True for a stream with at least one decodable frame; a phone's video may have one that FFmpeg cannot read."""
    with _ffmpeg_container(path) as container:
        return next(_decoded_frames(container, container.streams[index]), None) is not None


def _ffmpeg_header(container, stream, size: int, promised: int | None) -> Header:
    seconds = None
    if container.format.name in _FORMATS_WITH_DURATION and stream.duration is not None:
        seconds = float(stream.duration * stream.time_base)
    elif container.format.name in _FORMATS_WITH_DURATION and container.duration is not None:
        seconds = container.duration / 1e6  # microseconds
    frames = None if seconds is None else round(seconds * stream.rate)
    if frames is None or not 0 < frames <= size * _MAX_FRAMES_PER_BYTE:
        return Header(stream.codec_context.name, stream.channels, stream.rate, None, promised, False)
    return Header(stream.codec_context.name, stream.channels, stream.rate, frames, frames, True)


def _ffmpeg_blocks(container, stream, rate: int) -> Iterator[np.ndarray]:
    """Float32 blocks at the header's rate, so that a stream whose frames have another (HE-AAC) keeps its seconds."""
    import av

    kind, resampler = None, None
    for frame in _decoded_frames(container, stream):
        frame_kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        if resampler is None or frame_kind != kind:  # it may change within a stream
            yield from _blocks_of(resampler.resample(None) if resampler else [])
            kind, resampler = frame_kind, av.AudioResampler(format="fltp", rate=rate)
        try:
            yield from _blocks_of(resampler.resample(frame))
        except av.FFmpegError:  # an invalid frame, of a damaged packet
            resampler = None
    yield from _blocks_of(resampler.resample(None) if resampler else [])


def _blocks_of(frames: list) -> Iterator[np.ndarray]:
    for frame in frames:
        yield frame.to_ndarray().T


def _decoded_frames(container, stream) -> Iterator:
    """The decodable frames of a stream: damaged packets are skipped, a damaged container ends the stream."""
    import av

    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError:
            return
        if packet is None:
            return
        try:
            yield from packet.decode()
        except av.FFmpegError:
            continue
