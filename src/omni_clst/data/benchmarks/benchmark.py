"""`Benchmark`: the files, row conversion, official rule and groups of a benchmark, and the usual row conversion."""

import ast
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..samples import AudioQASample, as_text

Answered = tuple[object, str | None, tuple[str, ...]]  # a row's output, answer and choices

OUTPUT_KEYS = ("model_output", "model_prediction", "answer_prediction")


@dataclass(frozen=True)
class Benchmark:
    """A benchmark's files, the conversion of its rows to samples, and the rule of its official script.

    `row_keys` are the keys that identify its rows, `to_sample` converts one and never raises, `is_correct` is the official
    rule: (prediction, answer, choices) -> bool, None where there is no such script. `groups` are the keys of a row that
    scores are broken down by, `output_keys` the keys of answers in predictions files, that of the official script first.
    `releases` maps a metadata file's sha256 to its name; `references` are published results (release, model, accuracy in
    percent). `is_converted` is true where preparation makes its files: `to_row` makes a row of the metadata file from one
    as it is downloaded, `clip_names` the names that a clip may be stored under from the one in its row. `figures` are what
    the official script says besides, from all rows in order. A row that is not `is_scored` is answered, counted and
    exported.
    """

    name: str
    homepage: str
    meta_files: tuple[str, ...]
    audio_folders: tuple[str, ...]
    row_keys: frozenset[str]
    to_sample: Callable[[dict], AudioQASample]
    is_correct: Callable[[str | None, str | None, Iterable[str]], bool] | None
    groups: tuple[str, ...]
    releases: dict[str, str]
    output_keys: tuple[str, ...] = OUTPUT_KEYS
    references: tuple[tuple[str, str, float], ...] = ()
    has_answers: bool = True
    is_converted: bool = False
    to_row: Callable[[dict], dict] = dict
    clip_names: Callable[[str], tuple[str, ...]] = lambda path: (path,)
    figures: Callable[[Sequence[Answered]], dict[str, float]] | None = None
    is_scored: Callable[[AudioQASample], bool] = lambda sample: True

    @property
    def folder(self) -> str:
        """The folder below the data root that holds it."""
        return self.meta_files[0].split("/")[0]

    def missing_line(self, data_root: str | Path) -> str:
        """The missing file and where to get it, in one line."""
        through = f", through prepare_data.sh {self.name}" if self.is_converted else ""
        return f"{self.name}: no {Path(data_root) / self.meta_files[0]} (from {self.homepage}{through})"


def as_list(value: object) -> list:
    """A list, also one that is written as text (CSV); one value is a list of it, and none an empty list."""
    if isinstance(value, str) and value.strip().startswith("["):
        try:
            value = ast.literal_eval(value.strip())
        except (ValueError, SyntaxError):
            return [value]
    if isinstance(value, list):
        return value
    return [] if value is None or not str(value).strip() else [value]


def lenient_sample(row: dict) -> AudioQASample:
    """A row as it is: odd values become texts, nothing is dropped (`benchmark_rows.find_oddities` flags them)."""
    choices, paths = row.get("choices"), row.get("audio_path")
    first, *others = paths if isinstance(paths, list) and paths else [paths]
    known = {"id", "audio_path", "question", "choices", "answer", "source"}
    return AudioQASample(
        id=str(row["id"]),
        audio_path=str(first or ""),
        question=str(row.get("question") or ""),
        choices=tuple(map(as_text, choices)) if isinstance(choices, list) else (),
        answer=None if row.get("answer") is None else as_text(row["answer"]),
        source=str(row["source"]),
        extra={key: value for key, value in row.items() if key not in known},
        more_clips=tuple(map(str, others)),
    )
