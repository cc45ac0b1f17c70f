"""Functions that write odd audio files to `path`: every container, wrong headers, files that are not audio."""

import io
import os
import struct
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from foreign_sets import waveform

RATE = 16_000
SECONDS = 2.0
Maker = Callable[[Path], None]


# Whole files


def sound(number: int = 1, seconds: float = SECONDS, rate: int = RATE) -> np.ndarray:
    return waveform(number, seconds, rate)


def written(number: int = 1, seconds: float = SECONDS, rate: int = RATE, channels: int = 1, **how) -> bytes:
    """A file of libsndfile's."""
    buffer = io.BytesIO()
    samples = sound(number, seconds, rate)
    soundfile.write(buffer, samples if channels == 1 else np.stack([samples] * channels, 1), rate, **how)
    return buffer.getvalue()


def libsndfile(**how) -> Maker:
    return lambda path: path.write_bytes(written(**how))


def samples(values: np.ndarray, **how) -> Maker:
    return lambda path: soundfile.write(path, values, RATE, **({"format": "WAV", "subtype": "FLOAT"} | how))


def muxed(path: Path, container: str, codecs: tuple[str, ...], rate: int = 48_000, picture=False, **options) -> None:
    """A file of FFmpeg's titled Cafe, with sound tracks of these codecs, and a video where `picture` says so."""
    if missing := set(codecs) - set(av.codecs_available):
        pytest.skip(f"this PyAV has no {', '.join(missing)}")
    with av.open(str(path), "w", format=container, container_options=options) as out:
        out.metadata["title"] = "Cafe"
        video = None
        if picture:
            video = out.add_stream("mpeg4", rate=5)
            video.width = video.height = 64
            video.pix_fmt = "yuv420p"
        tracks = [out.add_stream(codec, rate=rate, layout="mono", bit_rate=128_000) for codec in codecs]
        for number in range(10 if picture else 0):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 20 * number, np.uint8), format="rgb24")
            out.mux(video.encode(frame))
        out.mux(video.encode() if picture else [])
        whole = sound(rate=rate)
        for track in tracks:
            convert = av.AudioResampler(format=track.format.name, layout="mono", rate=rate)
            frame = av.AudioFrame.from_ndarray(whole[None], format="fltp", layout="mono")
            frame.sample_rate = rate
            fifo = av.AudioFifo()
            for part in convert.resample(frame):
                fifo.write(part)
            while (part := fifo.read(track.codec_context.frame_size or 1_024, partial=True)) is not None:
                out.mux(track.encode(part))
            out.mux(track.encode(None))


def ffmpeg(container: str, *codecs: str, **how) -> Maker:
    return lambda path: muxed(path, container, codecs, **how)


def several(*contents: bytes) -> Maker:
    """Files joined as `cat` does."""
    return lambda path: path.write_bytes(b"".join(contents))


def cut(maker: Maker, share: float) -> Maker:
    """The first part of a file."""

    def make(path: Path) -> None:
        maker(path)
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * share)])

    return make


def changed(maker: Maker, *changes: tuple[bytes, int, bytes]) -> Maker:
    """A file with other bytes: each change is (a mark, how far behind its begin, what is put there)."""

    def make(path: Path) -> None:
        maker(path)
        content = bytearray(path.read_bytes())
        for mark, behind, new in changes:
            at = content.find(mark)
            assert at >= 0, f"no {mark!r} in {path}"
            content[at + behind : at + behind + len(new)] = new
        path.write_bytes(content)

    return make


def bytes_of(content: bytes | str) -> Maker:
    return lambda path: path.write_bytes(content if isinstance(content, bytes) else content.encode())


# Headers that lie


def flac_of_unknown_length() -> bytes:
    """As `ffmpeg -f flac -` writes it: no total (the low 36 bits) in STREAMINFO."""
    content = bytearray(written(format="FLAC"))
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    return bytes(content)


def flac_with_a_hole() -> bytes:
    content = bytearray(written(format="FLAC"))
    middle = len(content) // 2
    content[middle : middle + 200] = bytes(200)
    return bytes(content)


def mp3(number: int = 1, index: bool = True, tag: bytes = b"") -> bytes:
    """A variable rate, with or without the index (Xing) in its first frame."""
    how = {"format": "MP3", "bitrate_mode": "VARIABLE", "compression_level": 0.3}
    content = written(number, 3.0, 44_100, **how)
    if not index:
        mark = max(content.find(b"Xing"), content.find(b"Info"))
        content = content[content.find(b"\xff\xfb", mark) :]
    return tag + content


def id3(size: int) -> bytes:
    """A tag with a picture of so many bytes in front of the sound."""
    return b"ID3\x03\0\0" + bytes((size >> shift) & 0x7F for shift in (21, 14, 7, 0)) + b"\xff" * size


def uneven_mp3(first: float, second: float) -> Maker:
    """Quiet and loud halves of 5 s at a variable rate without an index: the first frames say nothing of the rest."""

    def make(path: Path) -> None:
        rng = np.random.default_rng(0)
        wave = np.concatenate([level * rng.standard_normal(5 * 44_100) for level in (first, second)])
        buffer = io.BytesIO()
        soundfile.write(buffer, wave, 44_100, format="MP3", bitrate_mode="VARIABLE", compression_level=0.3)
        content = buffer.getvalue()
        mark = max(content.find(b"Xing"), content.find(b"Info"))
        path.write_bytes(content[content.find(b"\xff\xfb", mark) :])

    return make


def wav(data_size: int | None = None, rate: int = RATE, channels: int = 1, tag: int = 1, guid: bytes = b"") -> Maker:
    """A WAV whose header says what it likes."""
    pcm = (sound() * 32_767).astype("<i2").tobytes()
    size = len(pcm) if data_size is None else data_size
    format_ = struct.pack("<HHIIHH", tag, channels, rate, min(2 * rate, 2**32 - 1), 2, 16)
    format_ += struct.pack("<HHI", 22, 16, 4) + guid if guid else b""
    body = b"WAVEfmt " + struct.pack("<I", len(format_)) + format_ + b"data" + struct.pack("<I", size) + pcm
    return bytes_of(b"RIFF" + struct.pack("<I", len(body)) + body)


def track_without_decoder(maker: Maker, which: int) -> Maker:
    """An mp4 or mov one of whose AAC tracks carries a codec tag that nobody knows, as a phone's spatial sound does."""

    def make(path: Path) -> None:
        maker(path)
        content, at = bytearray(path.read_bytes()), -1
        for _ in range(which + 1):
            at = content.find(b"stsd", at + 1)
        tag, end = content.find(b"mp4a", at), content.find(b"stts", at)
        content[tag : tag + 4] = b"xpac"
        for word in (b"esds", b"mp4a", b"frma"):
            while 0 < (found := content.find(word, tag + 4)) < end:
                content[found : found + 4] = b"free"
        path.write_bytes(content)

    return make


def index_first(share: float) -> Maker:
    """An m4a whose index stands in front of the sound, of which only a share is there."""

    def make(path: Path) -> None:
        muxed(path, "mp4", ("aac",), movflags="faststart")
        content = path.read_bytes()
        begin = content.find(b"mdat") + 4
        path.write_bytes(content[: begin + int((len(content) - begin) * share)])

    return make


# What is no regular file


def folder(path: Path) -> None:
    path.mkdir()


def pipe(path: Path) -> None:
    os.mkfifo(path)


def link_to_sound(path: Path) -> None:
    target = path.with_name("elsewhere.wav")
    target.write_bytes(written(format="WAV"))
    path.symlink_to(target)


def link_to_nothing(path: Path) -> None:
    path.symlink_to(path.with_name("gone.wav"))


def nothing(path: Path) -> None:
    pass
