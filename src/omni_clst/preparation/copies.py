"""Write 16 kHz FLAC copies of clips that only FFmpeg can read, and of clips that are embedded in data files."""

import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import soundfile

from ..data.audio import SAMPLING_RATE, ClipError, load_audio, probe_audio
from ..files import append_jsonl, atomic_path, read_appended
from .rules import RULE_OF_CLIP_ERROR


def write_flac(path: str, sha256: str, folder: Path) -> str:
    """Write the clip at 16 kHz, mono, 16 bits, named by the hash of its source; returns the file's name."""
    name = f"{sha256[:16]}.flac"
    if not (folder / name).exists():
        with atomic_path(folder / name) as temporary:
            soundfile.write(temporary, load_audio(path), SAMPLING_RATE, format="FLAC", subtype="PCM_16")
    return name


class EmbeddedClips:
    """Clips that are embedded in data files: each is written as a 16 kHz FLAC, by workers.

    `known` maps a clip's hash to its original format and its copy, or to the reason why it cannot be decoded.
    """

    def __init__(self, work: Path, folder: Path, pool: ProcessPoolExecutor):
        self.folder, self.scratch, self.pool = folder, work / "scratch", pool
        self.path = work / "embedded.jsonl"
        self.known = {row["sha256"]: row for row in read_appended(self.path)}

    def store(self, clips: dict[str, bytes]) -> None:
        """Write the copies of clips (hash -> content) that do not exist yet."""
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
        info = probe_audio(path)
        name = write_flac(str(path), sha256, Path(folder))
        return {"sha256": sha256, "flac": name, "was": describe_format(info.format, info.sampling_rate, info.channels)}
    except ClipError as error:
        reason = str(error).removeprefix(f"{path}: ")
        return {"sha256": sha256, "flac": None, "rule": RULE_OF_CLIP_ERROR[error.kind], "reason": reason}
    finally:
        path.unlink(missing_ok=True)


def describe_format(format_: str, sampling_rate: int, channels: int) -> str:
    """A format in words, such as `WAV PCM_16, 44.1 kHz, 2 channels`."""
    return f"{format_}, {sampling_rate / 1000:g} kHz, {channels} channel{'s' if channels > 1 else ''}"
