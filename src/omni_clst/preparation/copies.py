"""Copies at 16 kHz, as FLAC, of clips that only FFmpeg reads and of those that stand inside data files."""

import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import soundfile

from ..data.audio import SAMPLING_RATE, ClipError, load_audio, probe_audio
from ..files import append_jsonl, atomic_path, read_appended
from .rules import RULE_OF_CLIP_ERROR


def write_flac(path: str, sha256: str, folder: Path) -> str:
    """The clip at 16 kHz, mono, 16 bits, named by what it was made from; returns the file's name."""
    name = f"{sha256[:16]}.flac"
    if not (folder / name).exists():
        with atomic_path(folder / name) as beside:
            soundfile.write(beside, load_audio(path), SAMPLING_RATE, format="FLAC", subtype="PCM_16")
    return name


class EmbeddedClips:
    """Clips that stand inside data files: each becomes a FLAC at 16 kHz, made by workers a few at a time.

    `known` says of every stored file, by its hash, what it was and what became of it.
    """

    def __init__(self, work: Path, folder: Path, pool: ProcessPoolExecutor):
        self.folder, self.scratch, self.pool = folder, work / "scratch", pool
        self.path = work / "embedded.jsonl"
        self.known = {row["sha256"]: row for row in read_appended(self.path)}

    def store(self, clips: dict[str, bytes]) -> None:
        """Make the FLACs of files, by their hash, that are not there yet."""
        jobs = [
            self.pool.submit(_store, sha256, content, str(self.folder), str(self.scratch))
            for sha256, content in clips.items()
            if not self._is_done(sha256)
        ]
        rows = [job.result() for job in jobs]
        if rows:
            append_jsonl(self.path, rows)
            self.known |= {row["sha256"]: row for row in rows}

    def _is_done(self, sha256: str) -> bool:
        """True for a file that was stored, or cannot be decoded."""
        row = self.known.get(sha256)
        return row is not None and (row["flac"] is None or (self.folder / row["flac"]).exists())


def _store(sha256: str, content: bytes, folder: str, scratch: str) -> dict:
    """Decode one embedded file; runs in a worker."""
    path = Path(scratch) / f"{sha256}.{os.getpid()}"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.write_bytes(content)
        was = probe_audio(path)
        name = write_flac(str(path), sha256, Path(folder))
        return {"sha256": sha256, "flac": name, "was": describe_format(was.format, was.sampling_rate, was.channels)}
    except ClipError as error:
        reason = str(error).removeprefix(f"{path}: ")
        return {"sha256": sha256, "flac": None, "rule": RULE_OF_CLIP_ERROR[error.kind], "reason": reason}
    finally:
        path.unlink(missing_ok=True)


def describe_format(format_: str, sampling_rate: int, channels: int) -> str:
    """As `WAV PCM_16, 44.1 kHz, 2 channels`."""
    return f"{format_}, {sampling_rate / 1000:g} kHz, {channels} channel{'s' if channels > 1 else ''}"
