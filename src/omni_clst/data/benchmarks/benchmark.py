"""What a benchmark is made of, and how the rows of most of them become samples."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from ..samples import AudioQASample, as_text


@dataclass(frozen=True)
class Benchmark:
    """Where a benchmark lies, how its rows are read, and how its own script scores them.

    `row_keys` are the keys that tell its rows from others, `to_sample` reads one and never raises, `is_correct` is the
    official rule: (prediction, answer, choices) -> bool. `groups` are what its scores are broken down by, `output_keys`
    the keys that answers stand under in predictions files, that of its own script first. `releases` maps a metadata
    file's sha256 to its name; `references` are published accuracies on (release, model).
    """

    name: str
    homepage: str
    meta_files: tuple[str, ...]
    audio_folders: tuple[str, ...]
    row_keys: frozenset[str]
    to_sample: Callable[[dict], AudioQASample]
    is_correct: Callable[[str | None, str | None, Iterable[str]], bool]
    groups: tuple[str, ...]
    output_keys: tuple[str, ...]
    releases: dict[str, str]
    references: tuple[tuple[str, str, float], ...] = ()
    has_answers: bool = True

    @property
    def folder(self) -> str:
        """The folder below the data root that holds it."""
        return self.meta_files[0].split("/")[0]

    def missing_line(self, data_root: str | Path) -> str:
        """What to put where, for a benchmark that is not there."""
        return f"{self.name}: no {Path(data_root) / self.meta_files[0]} (from {self.homepage})"


def lenient_sample(row: dict) -> AudioQASample:
    """A row as it is: odd values become texts, nothing is dropped (`benchmark_rows.find_oddities` flags them)."""
    choices = row.get("choices")
    own = {"id", "audio_path", "question", "choices", "answer", "source"}
    return AudioQASample(
        id=str(row["id"]),
        audio_path=str(row.get("audio_path") or ""),
        question=str(row.get("question") or ""),
        choices=tuple(map(as_text, choices)) if isinstance(choices, list) else (),
        answer=None if row.get("answer") is None else as_text(row["answer"]),
        source=str(row["source"]),
        extra={key: value for key, value in row.items() if key not in own},
    )
