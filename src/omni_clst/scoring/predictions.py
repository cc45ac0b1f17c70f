"""Read predictions files of any program: a JSON array or JSON Lines, with the answer under one of its known keys."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ..data.benchmark_rows import row_id
from ..data.benchmarks.benchmark import Benchmark
from ..data.samples import AudioQASample, read_rows
from ..errors import InputError
from .foreign_rows import LMMS_EVAL_KEY, KnownQuestions, from_lmms_eval


@dataclass(frozen=True)
class Predictions:
    """Answers by id; `keys` counts the rows by the key that their answer was read from, `rows` are the rows by id."""

    outputs: dict[str, object]
    keys: dict[str, int]
    parse_failed: int
    repeated: int = 0  # rows that repeat an id with the same answer
    rows: dict[str, dict] = field(default_factory=dict)

    @property
    def keys_in_words(self) -> str:
        """`model_output`, or with counts where rows differ: `model_output (3 rows), model_prediction (1 row)`."""
        if len(self.keys) == 1:
            return next(iter(self.keys))
        return ", ".join(f"{key} ({count} row{'s' * (count > 1)})" for key, count in self.keys.items())

    @property
    def cut_off(self) -> int | None:
        """How many answers reached max_new_tokens; None where the file does not say."""
        return sum(row.get("finished") is False for row in self.rows.values()) if self._say("finished") else None

    @property
    def think_rate(self) -> float | None:
        """Percent of the answers with a thought that is not empty; None where the file does not say."""
        thoughts = [bool(row.get("think")) for row in self.rows.values()]
        return 100.0 * sum(thoughts) / len(thoughts) if self._say("think") else None

    @property
    def mean_tokens(self) -> float | None:
        """Of an answer, 0 where a question could not be asked; None where the file does not say."""
        return sum(row.get("tokens", 0) for row in self.rows.values()) / len(self.rows) if self._say("tokens") else None

    def _say(self, key: str) -> bool:
        return any(key in row for row in self.rows.values())


def read_predictions(path: Path | str, benchmark: Benchmark, samples: Iterable[AudioQASample] = ()) -> Predictions:
    """Read predictions; keys that have a text in any row come first, in the benchmark's order, then the others.

    A row's answer is under the first of these keys that it has with a value other than null; "" is an empty answer, even
    if another key has a text. A row without an id gets that of the only one of `samples` about its clip. Raises
    `InputError` for a row without an id or any of the keys, and for an id that is repeated with another answer.
    """
    questions = KnownQuestions(samples)
    rows = [(place, questions.with_id(from_lmms_eval(row, place), place)) for place, row in read_rows(path)]
    filled = {key for _, row in rows for key in benchmark.output_keys if _is_text(row.get(key))}
    order = sorted(benchmark.output_keys, key=lambda key: key not in filled)  # stable: keeps the benchmark's order
    outputs: dict[str, object] = {}
    places: dict[str, str] = {}
    keys: Counter[str] = Counter()
    failed = repeated = 0
    by_id: dict[str, dict] = {}
    for place, row in rows:
        if "id" not in row:
            raise InputError(f"{place}: no id in it; a row is {{'id': ..., {benchmark.output_keys[0]!r}: ...}}")
        sample_id = row_id(row, place)
        present = [key for key in (*order, LMMS_EVAL_KEY) if key in row]
        if not present:
            raise InputError(f"{place}: none of {', '.join(benchmark.output_keys)} in it")
        key = next((key for key in present if row[key] is not None), present[0])
        if sample_id in outputs:
            if outputs[sample_id] != row[key]:
                raise InputError(f"{place}: id {sample_id!r} is used already at {places[sample_id]} with another answer")
            repeated += 1
            continue
        outputs[sample_id], places[sample_id], by_id[sample_id] = row[key], place, row
        keys[key] += 1
        failed += bool(row.get("parse_failed", not _is_text(row[key])))
    return Predictions(outputs, dict(keys), failed, repeated, by_id)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())
