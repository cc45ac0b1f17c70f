"""Find the scored answers of a model: in a folder of one benchmark, of a run or checkpoint, or in a predictions file."""

from dataclasses import dataclass, replace
from pathlib import Path

from ..data.benchmark_rows import BenchmarkRows, load_benchmark
from ..data.benchmarks.registry import BENCHMARKS
from ..data.sample_benchmark import load_sample_benchmark
from ..errors import InputError
from ..files import read_object
from .config import AnsweredConfig, CompareConfig
from .origin import read_origin
from .predictions import read_predictions
from .scores import Scores, score

SCORES = "scores.json"


@dataclass(frozen=True)
class Side:
    """A model's scored answers to one benchmark; `name` is as the user gave it."""

    name: str
    scores: Scores

    @property
    def rows(self) -> BenchmarkRows:
        return self.scores.rows

    def to_json(self) -> dict:
        """The name, how often the model thinks and how long its answers are, and how they were made."""
        answers = self.scores.predictions
        counts = {"parse_failed": answers.parse_failed, "cut_off": answers.cut_off}
        means = {"think_rate": answers.think_rate, "mean_tokens": answers.mean_tokens}
        return {"name": self.name, **means, **counts, "origin": self.scores.origin}

    def verdicts(self, rule: str, ids: list[str]) -> list[int]:
        """0 or 1 for each of these questions."""
        by_id = {verdict["id"]: verdict[rule] for verdict in self.scores.verdicts}
        return [by_id[key] for key in ids]


def load_rows(config: AnsweredConfig) -> BenchmarkRows:
    """What was answered: the benchmark or the sample file of the settings."""
    if config.samples is not None:
        return load_sample_benchmark(config.samples, tuple(config.group_by))
    assert config.benchmark is not None and config.meta is not None  # by a rule of the settings
    return load_benchmark(config.benchmark, config.meta)


def find_sides(name: str, config: CompareConfig) -> dict[str, Side]:
    """A model's scored benchmarks by the names of their folders; a predictions file or a folder of one is one of them.

    Raises `InputError` for what holds no scores, and for a folder with several models.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return {path.name: _side_of_file(name, path, config)}
    if not path.is_dir():
        raise InputError(f"{name}: no such file or folder")
    if (path / SCORES).is_file():
        return {path.name: _side_of_folder(name, path, config)}
    for pattern in (f"*/{SCORES}", f"infer/*/{SCORES}", f"*/infer/*/{SCORES}"):
        folders = sorted(file.parent for file in path.glob(pattern))
        if len({folder.parent for folder in folders}) > 1:
            models = ", ".join(str(folder) for folder in sorted({folder.parent.parent for folder in folders}))
            raise InputError(f"{name}: holds the scores of several models; give one of them: {models}")
        if folders:
            return {folder.name: _side_of_folder(name, folder, config) for folder in folders}
    raise InputError(f"{name}: no scores in it; infer.sh answers and scores a checkpoint")


def _side_of_file(name: str, path: Path, config: CompareConfig) -> Side:
    if not config.names_questions:
        raise InputError(f"{name}: a predictions file needs --benchmark NAME --meta FILE, or --samples FILE")
    rows = load_rows(config)
    predictions = read_predictions(path, rows.benchmark, rows.samples)
    return Side(name, score(rows, predictions, config.allow_missing, read_origin(path)))


def _side_of_folder(name: str, folder: Path, config: CompareConfig) -> Side:
    """The answers in a folder, scored anew, so that both sides are judged by the same code."""
    record = read_object(folder / SCORES)
    rows = _rows_of_record(folder, record, config)
    origin = read_origin(folder / "predictions.jsonl")
    rows = replace(rows, samples=rows.samples[: origin["limit"]])
    predictions = read_predictions(folder / "predictions.jsonl", rows.benchmark, rows.samples)
    return Side(name, score(rows, predictions, config.allow_missing, origin))


def _rows_of_record(folder: Path, record: dict, config: CompareConfig) -> BenchmarkRows:
    """The questions that a folder's scores are about: from the settings, or the file that the scores name."""
    benchmark = record["benchmark"]
    is_official = benchmark in BENCHMARKS
    given = config.meta if is_official and config.benchmark in (None, benchmark) else None
    meta = given or (None if is_official else config.samples) or record.get("meta")
    if meta is None or not Path(meta).is_file():
        raise InputError(
            f"{folder}: the questions of {benchmark} are not at {meta or 'a path that its scores.json names'}; give them "
            "with --meta or --samples FILE"
        )
    if is_official:
        rows = load_benchmark(benchmark, meta)
    else:
        rows = load_sample_benchmark(meta, tuple(record["strict"]["by"]), benchmark)
    if rows.meta_sha256 != record["meta_sha256"]:
        raise InputError(
            f"{folder}: {meta} is not the file that was answered (sha256 {rows.meta_sha256[:12]}, not "
            f"{record['meta_sha256'][:12]}); give that with --meta or --samples FILE"
        )
    return rows
