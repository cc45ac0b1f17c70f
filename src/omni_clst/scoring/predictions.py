"""Read predictions files of any program: a JSON array or JSON Lines, with the answer under one of three keys."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from ..data.benchmark_rows import row_id
from ..data.benchmarks.benchmark import Benchmark
from ..data.samples import read_rows
from ..errors import InputError


@dataclass(frozen=True)
class Predictions:
    """Answers by id; `keys` counts the rows by the key that their answer was read from."""

    outputs: dict[str, object]
    keys: dict[str, int]
    parse_failed: int
    repeated: int = 0  # rows that repeat an id with the same answer

    @property
    def keys_in_words(self) -> str:
        """`model_output`, or with counts where rows differ: `model_output (3 rows), model_prediction (1 row)`."""
        if len(self.keys) == 1:
            return next(iter(self.keys))
        return ", ".join(f"{key} ({count} row{'s' * (count > 1)})" for key, count in self.keys.items())


def read_predictions(path: Path | str, benchmark: Benchmark) -> Predictions:
    """Read predictions; keys that have a text in any row come first, in the benchmark's order, then the others.

    A row's answer is under the first of these keys that it has with a value other than null; "" is an empty answer, even
    if another key has a text. Raises `InputError` for a row without an id or any of the keys, and for an id that is
    repeated with another answer.
    """
    rows = list(read_rows(path))
    filled = {key for _, row in rows for key in benchmark.output_keys if _is_text(row.get(key))}
    order = sorted(benchmark.output_keys, key=lambda key: key not in filled)  # stable: keeps the benchmark's order
    outputs: dict[str, object] = {}
    places: dict[str, str] = {}
    keys: Counter[str] = Counter()
    failed = repeated = 0
    for place, row in rows:
        if "id" not in row:
            raise InputError(f"{place}: no id in it; a row is {{'id': ..., {benchmark.output_keys[0]!r}: ...}}")
        sample_id = row_id(row, place)
        present = [key for key in order if key in row]
        if not present:
            raise InputError(f"{place}: none of {', '.join(benchmark.output_keys)} in it")
        key = next((key for key in present if row[key] is not None), present[0])
        if sample_id in outputs:
            if outputs[sample_id] != row[key]:
                raise InputError(f"{place}: id {sample_id!r} is used already at {places[sample_id]} with another answer")
            repeated += 1
            continue
        outputs[sample_id], places[sample_id] = row[key], place
        keys[key] += 1
        failed += bool(row.get("parse_failed", not _is_text(row[key])))
    return Predictions(outputs, dict(keys), failed, repeated)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())
