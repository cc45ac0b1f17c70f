"""Inspect clips: every distinct file is decoded once, in worker processes, also when a run is killed and restarted.

Results are stored in append-only files below `work`: hashes by path, size and modification time, and inspections by hash.
"""

import base64
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from ..data.audio import ClipError, inspect_audio
from ..files import append_jsonl, read_appended, sha256_of_file
from .copies import write_flac
from .fingerprints import FeatureCollector
from .landmarks import Landmarks
from .rules import RULE_OF_CLIP_ERROR
from .workers import run_in_workers

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
MOSTLY_SILENT = 0.9


@dataclass(frozen=True)
class Inspection:
    """The result of decoding a file; for an unusable one `rule` and `reason` are set and the other fields are not valid.

    `findings` are oddities of a usable clip. `flac` is the 16 kHz copy of a clip that only FFmpeg can read.
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
    landmarks: str | None = None  # base64 of uint32 (landmarks,), followed by uint16 (landmarks,)

    @property
    def levels(self) -> np.ndarray | None:
        """The fingerprint, uint8 (frames, 16)."""
        if self.fingerprint is None:
            return None
        return np.frombuffer(base64.b64decode(self.fingerprint), np.uint8).reshape(-1, 16)

    @property
    def constellations(self) -> Landmarks:
        """The landmarks; empty for an unusable clip."""
        packed = base64.b64decode(self.landmarks or "")
        count = len(packed) // 6
        return Landmarks(np.frombuffer(packed[: 4 * count], np.uint32), np.frombuffer(packed[4 * count :], np.uint16))


class ClipAudit:
    """Inspects clips, reusing earlier results; copies of clips that only FFmpeg can read go to `flac_folder`."""

    def __init__(self, work: Path, flac_folder: Path, num_workers: int):
        self.work, self.flac_folder, self.num_workers = work, flac_folder, num_workers
        work.mkdir(parents=True, exist_ok=True)
        self._hashes = {row["key"]: row["sha256"] for row in read_appended(work / "hashes.jsonl")}
        rows = read_appended(work / "inspections.v2.jsonl")
        self._inspections = {row["sha256"]: Inspection(**row | {"findings": tuple(row["findings"])}) for row in rows}

    def inspect(self, paths: Iterable[str]) -> dict[str, Inspection]:
        """The inspection of every path."""
        paths = sorted(set(paths))
        hashes = self._hash(paths)
        first_of: dict[str, str] = {}
        for path in paths:
            sha256 = hashes[path]
            if sha256 is not None and not self._is_done(sha256):
                first_of.setdefault(sha256, path)
        jobs = [(path, sha256, str(self.flac_folder)) for sha256, path in first_of.items()]
        for rows in run_in_workers(_inspect, jobs, "clips inspected", self.num_workers):
            append_jsonl(self.work / "inspections.v2.jsonl", [asdict(inspection) for inspection in rows])
            self._inspections |= {inspection.sha256: inspection for inspection in rows}
        missing = Inspection("", rule="no clip", reason="no such file")
        return {
            path: missing if hashes[path] is None else _under_name(self._inspections[hashes[path]], path) for path in paths
        }

    def _is_done(self, sha256: str) -> bool:
        """True for a file that was inspected and whose copy, if it needs one, exists."""
        known = self._inspections.get(sha256)
        return known is not None and (known.flac is None or (self.flac_folder / known.flac).exists())

    def _hash(self, paths: list[str]) -> dict[str, str | None]:
        keys = {path: _key(path) for path in paths}
        new_paths = [path for path in paths if keys[path] is not None and keys[path] not in self._hashes]
        jobs = [(path, keys[path]) for path in new_paths]
        for rows in run_in_workers(_hash_row, jobs, "files hashed", self.num_workers):
            append_jsonl(self.work / "hashes.jsonl", rows)
            self._hashes |= {row["key"]: row["sha256"] for row in rows}
        return {path: self._hashes.get(keys[path]) for path in paths}


def _key(path: str) -> str | None:
    """Path, size and modification time of a file; None where there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return f"{path} {status.st_size} {status.st_mtime_ns}"


def _hash_row(path: str, key: str) -> dict:
    return {"key": key, "sha256": sha256_of_file(path)}


def _inspect(path: str, sha256: str, flac_folder: str) -> Inspection:
    """Decode one file; runs in a worker."""
    collector = FeatureCollector()
    try:
        decoded = inspect_audio(path, collector.add)
    except ClipError as error:
        return Inspection(sha256, rule=RULE_OF_CLIP_ERROR[error.kind], reason=str(error).removeprefix(f"{path}: "))
    info = decoded.info
    levels, landmarks = collector.fingerprint(), collector.landmarks()
    findings = [problem for problem in decoded.problems if problem != "silent"]
    if info.channels > 2:
        findings.append("more than two channels")
    if decoded.peak > 1.0:
        findings.append("louder than full scale")
    if MOSTLY_SILENT < decoded.silence_share < 1.0:
        findings.append("mostly silent")
    needs_copy = " " not in info.format  # FFmpeg's formats are one word, libsndfile's two
    return Inspection(
        sha256=sha256,
        format=info.format,
        channels=info.channels,
        sampling_rate=info.sampling_rate,
        seconds=round(info.seconds, 6),
        audio_tokens=info.audio_tokens(),
        peak=round(decoded.peak, 6),
        silence_share=round(decoded.silence_share, 4),
        findings=tuple(findings),
        rule="clip is silent" if "silent" in decoded.problems else None,
        reason=f"peak {decoded.peak:.1e}" if "silent" in decoded.problems else None,
        flac=write_flac(path, sha256, Path(flac_folder)) if needs_copy else None,
        fingerprint=None if levels is None else base64.b64encode(levels.tobytes()).decode(),
        landmarks=base64.b64encode(landmarks.values.tobytes() + landmarks.times.tobytes()).decode(),
    )


def _under_name(inspection: Inspection, path: str) -> Inspection:
    """The inspection of a file's content, with a finding where the file's name has the suffix of another codec."""
    suffix, kind = Path(path).suffix.lower(), inspection.format.split(" ")[0]
    if kind and suffix in KNOWN_SUFFIXES and suffix not in SUFFIXES_OF_FORMATS.get(kind, ()):
        return replace(inspection, findings=("codec is not what the name says", *inspection.findings))
    return inspection
