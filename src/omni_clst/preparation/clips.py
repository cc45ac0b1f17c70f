"""The audit of clips: every file that differs is decoded once, in worker processes, and never again after a kill.

What was found stands in append-only files below `work`: hashes by path, size and time of change, and inspections by hash.
"""

import base64
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import soundfile
from tqdm import tqdm

from ..audio import SAMPLING_RATE, ClipError, inspect_audio, load_audio, probe_audio
from ..files import append_jsonl, atomic_path, mend_torn_tail, read_jsonl, sha256_of_file
from .fingerprints import Listener

SUFFIXES_OF_FORMATS = {
    "WAV": (".wav", ".wave"),
    "WAVEX": (".wav", ".wave"),
    "RF64": (".wav", ".rf64"),
    "FLAC": (".flac",),
    "MP3": (".mp3",),
    "OGG": (".ogg", ".oga", ".opus"),
    "AIFF": (".aif", ".aiff", ".aifc"),
}
KNOWN_SUFFIXES = {suffix for suffixes in SUFFIXES_OF_FORMATS.values() for suffix in suffixes}
RULE_OF_KIND = {
    "missing": "no clip",
    "unreadable": "clip is not readable",
    "not finite": "clip holds values that are not finite",
    "too short": "clip is too short",
}
MOSTLY_SILENT = 0.9
CLIPS_A_WRITE = 64


@dataclass(frozen=True)
class Inspection:
    """What decoding a file found; with `rule` and `reason` for one that cannot be heard, whose other fields say nothing.

    `findings` are what is odd but can be heard. `flac` is the 16 kHz copy of a clip that only FFmpeg reads.
    """

    sha256: str
    format: str = ""
    channels: int = 0
    sampling_rate: int = 0
    seconds: float = 0.0
    audio_tokens: int = 0
    peak: float = 0.0
    silence_share: float = 0.0
    findings: tuple[str, ...] = ()
    rule: str | None = None
    reason: str | None = None
    flac: str | None = None
    fingerprint: str | None = None  # base64 of uint8 (frames, 16)

    @property
    def levels(self) -> np.ndarray | None:
        """The fingerprint, uint8 (frames, 16)."""
        if self.fingerprint is None:
            return None
        return np.frombuffer(base64.b64decode(self.fingerprint), np.uint8).reshape(-1, 16)


class ClipAudit:
    """Inspects clips, with what an earlier start found at hand; `flac_folder` takes copies of what FFmpeg alone reads."""

    def __init__(self, work: Path, flac_folder: Path, num_workers: int):
        self.work, self.flac_folder, self.num_workers = work, flac_folder, num_workers
        work.mkdir(parents=True, exist_ok=True)
        self._hashes = {row["key"]: row["sha256"] for row in _kept(work / "hashes.jsonl")}
        rows = _kept(work / "inspections.jsonl")
        self._inspections = {row["sha256"]: Inspection(**row | {"findings": tuple(row["findings"])}) for row in rows}

    def inspect(self, paths: Iterable[str]) -> dict[str, Inspection]:
        """The inspection of every path."""
        paths = sorted(set(paths))
        hashes = self._hash(paths)
        first_of: dict[str, str] = {}
        for path in paths:
            if hashes[path] is not None and not self._is_done(hashes[path]):
                first_of.setdefault(hashes[path], path)
        jobs = [(path, sha256, str(self.flac_folder)) for sha256, path in first_of.items()]
        for rows in self._run(_inspect, jobs, "clips heard"):
            append_jsonl(self.work / "inspections.jsonl", [asdict(found) for found in rows])
            self._inspections |= {found.sha256: found for found in rows}
        missing = Inspection("", rule="no clip", reason="no such file")
        return {
            path: missing if hashes[path] is None else _under_name(self._inspections[hashes[path]], path) for path in paths
        }

    def _is_done(self, sha256: str) -> bool:
        """True for a file that was inspected and whose copy, if it needs one, is there."""
        found = self._inspections.get(sha256)
        return found is not None and (found.flac is None or (self.flac_folder / found.flac).exists())

    def _hash(self, paths: list[str]) -> dict[str, str | None]:
        keys = {path: _key(path) for path in paths}
        open_paths = [path for path in paths if keys[path] is not None and keys[path] not in self._hashes]
        for rows in self._run(_hash_row, [(path, keys[path]) for path in open_paths], "files hashed"):
            append_jsonl(self.work / "hashes.jsonl", rows)
            self._hashes |= {row["key"]: row["sha256"] for row in rows}
        return {path: self._hashes.get(keys[path]) for path in paths}

    def _run(self, function: Callable, jobs: list[tuple], what: str) -> Iterator[list]:
        """Results in the jobs' order, some at a time."""
        if not jobs:
            return
        bar = tqdm(total=len(jobs), desc=what, unit="file", delay=5)
        with make_pool(self.num_workers) as pool, bar:
            done = []
            for result in pool.map(function, *zip(*jobs, strict=True), chunksize=8):
                bar.update()
                done.append(result)
                if len(done) == CLIPS_A_WRITE:
                    yield done
                    done = []
            if done:
                yield done


def make_pool(num_workers: int) -> ProcessPoolExecutor:
    """Worker processes that end with this one, however it ends."""
    return ProcessPoolExecutor(num_workers, initializer=_end_with_parent, initargs=(os.getpid(),))


def _end_with_parent(parent: int) -> None:
    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _key(path: str) -> str | None:
    """Path, size and time of change of a file; None where there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return f"{path} {found.st_size} {found.st_mtime_ns}"


def _kept(path: Path) -> Iterator[dict]:
    """Rows of an append-only file, without a torn last line."""
    if not path.exists():
        return
    mend_torn_tail(path)
    for _, row in read_jsonl(path):
        yield row


def _hash_row(path: str, key: str) -> dict:
    return {"key": key, "sha256": sha256_of_file(path)}


def _inspect(path: str, sha256: str, flac_folder: str) -> Inspection:
    """Decode one file; runs in a worker."""
    listener = Listener()
    try:
        found = inspect_audio(path, listener)
    except ClipError as error:
        return Inspection(sha256, rule=RULE_OF_KIND[error.kind], reason=str(error).removeprefix(f"{path}: "))
    info = found.info
    levels = listener.fingerprint(info.sampling_rate)
    findings = [problem for problem in found.problems if problem != "silent"]
    if info.channels > 2:
        findings.append("more than two channels")
    if found.peak > 1.0:
        findings.append("louder than full scale")
    if MOSTLY_SILENT < found.silence_share < 1.0:
        findings.append("mostly silent")
    needs_copy = " " not in info.format  # FFmpeg's formats are one word, libsndfile's two
    return Inspection(
        sha256=sha256,
        format=info.format,
        channels=info.channels,
        sampling_rate=info.sampling_rate,
        seconds=round(info.seconds, 6),
        audio_tokens=info.audio_tokens(),
        peak=round(found.peak, 6),
        silence_share=round(found.silence_share, 4),
        findings=tuple(findings),
        rule="clip is silent" if "silent" in found.problems else None,
        reason=f"peak {found.peak:.1e}" if "silent" in found.problems else None,
        flac=write_flac(path, sha256, Path(flac_folder)) if needs_copy else None,
        fingerprint=None if levels is None else base64.b64encode(levels.tobytes()).decode(),
    )


def _under_name(found: Inspection, path: str) -> Inspection:
    """What was found in a file's bytes, and whether this name of theirs promises another codec."""
    suffix, kind = Path(path).suffix.lower(), found.format.split(" ")[0]
    if kind and suffix in KNOWN_SUFFIXES and suffix not in SUFFIXES_OF_FORMATS.get(kind, ()):
        return replace(found, findings=("codec is not what the name says", *found.findings))
    return found


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
        self.known = {row["sha256"]: row for row in _kept(self.path)}

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
        """True for a file that was stored, or cannot be heard."""
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
        return {"sha256": sha256, "flac": None, "rule": RULE_OF_KIND[error.kind], "reason": reason}
    finally:
        path.unlink(missing_ok=True)


def describe_format(format_: str, sampling_rate: int, channels: int) -> str:
    """As `WAV PCM_16, 44.1 kHz, 2 channels`."""
    return f"{format_}, {sampling_rate / 1000:g} kHz, {channels} channel{'s' if channels > 1 else ''}"
