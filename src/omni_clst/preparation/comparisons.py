"""Compare pairs of clips by their waveforms, in worker processes; each pair once, also after a kill and restart."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..data.audio import ClipError, load_audio
from ..files import append_jsonl, read_appended
from .agreement import compare
from .landmarks import MAX_SECONDS
from .workers import run_in_workers

FILE = "comparisons.jsonl"


@dataclass(frozen=True)
class Clip:
    """A file and its content's hash."""

    path: str
    sha256: str


class Comparisons:
    """Relations of pairs of clips, reusing earlier results in the folder `work` and in `others`."""

    def __init__(self, work: Path, num_workers: int, others: Sequence[Path] = ()):
        work.mkdir(parents=True, exist_ok=True)
        self.path, self.num_workers = work / FILE, num_workers
        self._known = {row["pair"]: row["relation"] for folder in (*others, work) for row in read_appended(folder / FILE)}

    def relations(self, pairs: Sequence[tuple[Clip, Clip]]) -> list[str | None]:
        """For every pair `same`, `contained` or None."""
        keys = [_key(*pair) for pair in pairs]
        jobs = {key: (key, *pair) for key, pair in zip(keys, pairs, strict=True) if key not in self._known}
        for rows in run_in_workers(_compare, list(jobs.values()), "pairs compared", self.num_workers):
            append_jsonl(self.path, rows)
            self._known |= {row["pair"]: row["relation"] for row in rows}
        return [self._known[key] for key in keys]


def _key(first: Clip, second: Clip) -> str:
    return " ".join(sorted((first.sha256, second.sha256)))


def _compare(key: str, first: Clip, second: Clip) -> dict:
    """Decode and compare two clips; runs in a worker."""
    try:
        waves = [load_audio(clip.path, MAX_SECONDS) for clip in (first, second)]
    except ClipError:  # deleted or changed since its inspection
        return {"pair": key, "relation": None}
    agreement = compare(*waves)
    correlations = {"correlation": round(agreement.correlation, 4), "lowest": round(agreement.lowest, 4)}
    return {"pair": key, "relation": agreement.relation, "lag_seconds": round(agreement.lag_seconds, 3)} | correlations
