"""Read from audio files what libsndfile does not report about their length: an MP3's index, the streams of an Ogg."""

import os
from dataclasses import dataclass
from pathlib import Path

_ID3_HEADER_BYTES = 10
_ID3V1_BYTES = 128
_INDEX_WITHIN_BYTES = 182  # from the start of the first frame
_INDEX_SLACK_BYTES = 4_096  # tags after the audio
_OGG_HEADER_BYTES = 27
_BEGIN_OF_STREAM = 2


@dataclass(frozen=True)
class Mp3Index:
    """The index in an MP3's first frame (Xing, Info, VBRI); it `fits` if it states the size that the file has.

    Otherwise it describes one part of joined files, or the file before it was cut.
    """

    fits: bool


def mp3_index(path: str | Path) -> Mp3Index | None:
    """The index of an MP3; None where it has none, so that its length can only be estimated."""
    with open(path, "rb") as file:
        start = 0
        while len(tag := file.read(_ID3_HEADER_BYTES)) == _ID3_HEADER_BYTES and tag.startswith(b"ID3"):
            size = sum(byte << shift for byte, shift in zip(tag[6:10], (21, 14, 7, 0), strict=True))
            start += _ID3_HEADER_BYTES + size
            file.seek(start)
        frame = tag + file.read(_INDEX_WITHIN_BYTES)
    audio_bytes = os.path.getsize(path) - start
    for mark, size_at in ((b"Xing", 12), (b"Info", 12), (b"VBRI", 10)):
        offset = frame.find(mark)
        if offset >= 0:
            has_both = mark == b"VBRI" or frame[offset + 7] & 3 == 3  # number of frames and of bytes are optional
            stated_bytes = int.from_bytes(frame[offset + size_at : offset + size_at + 4])
            return Mp3Index(has_both and -_ID3V1_BYTES <= audio_bytes - stated_bytes <= _INDEX_SLACK_BYTES)
    return None


def ogg_links(path: str | Path) -> list[int]:
    """The offsets in an Ogg file at which its consecutive streams begin; more than one is a chain (RFC 3533).

    Reads page headers only.
    """
    links: list[int] = []
    size, at, in_beginning = os.path.getsize(path), 0, False
    with open(path, "rb") as file:
        while at + _OGG_HEADER_BYTES <= size:
            file.seek(at)
            page = file.read(_OGG_HEADER_BYTES + 255)
            if not page.startswith(b"OggS"):
                at = _next_page(file, at)
                continue
            begins = bool(page[5] & _BEGIN_OF_STREAM)
            if begins and not in_beginning:  # several streams side by side begin together
                links.append(at)
            in_beginning = begins
            segments = page[26]
            at += _OGG_HEADER_BYTES + segments + sum(page[_OGG_HEADER_BYTES : _OGG_HEADER_BYTES + segments])
    return links


def _next_page(file, at: int) -> int:
    """The offset of the next page after `at`; beyond any file's end where there is none."""
    file.seek(at + 1)
    distance = file.read().find(b"OggS")
    return at + 1 + distance if distance >= 0 else 2**63
