"""MMAR-Rubrics: the file that a judge rates thoughts from, and the mean of its ratings.

A row of the metadata carries a rubric of some points, five as published; a judge gives each 0 or 1. The judge is not ours.
"""

from pathlib import Path

from ..data.benchmark_rows import BenchmarkRows, row_id
from ..data.benchmarks.benchmark import as_list
from ..data.samples import read_rows
from ..data.table import make_table, with_interval
from ..errors import InputError
from ..files import write_jsonl
from .tally import Tally

RATINGS = "ratings"  # the key of a row's list of 0 and 1


def write_rubrics_input(rows: BenchmarkRows, predictions: Path) -> Path | None:
    """Write rubrics_input.jsonl beside a predictions file: rows with `thinking_prediction` and `answer_prediction`.

    None where no row of the metadata has a rubric.
    """
    with_rubric = {str(row["id"]): row for row in rows.original_rows if row.get("rubric")}
    answers = (answer for _, answer in read_rows(predictions) if answer["id"] in with_rubric)
    made = [
        with_rubric[answer["id"]]
        | {"thinking_prediction": answer.get("think") or "", "answer_prediction": answer["model_output"]}
        for answer in answers
    ]
    if not made:
        return None
    path = predictions.with_name("rubrics_input.jsonl")
    write_jsonl(path, made)
    return path


def tally_ratings(rows: BenchmarkRows, path: Path | str, allow_missing: bool = False) -> Tally:
    """Count the points that a judge gave, in total and by group; with `allow_missing` a row without ratings gets none.

    Raises `InputError` for a rating that is not 0 or 1, for more or fewer of them than the rubric has points, for unknown
    ids and, without `allow_missing`, for missing ones.
    """
    points = {str(row["id"]): len(as_list(row["rubric"])) for row in rows.original_rows if row.get("rubric")}
    ratings: dict[str, list[int]] = {}
    for place, row in read_rows(path):
        key, given = row_id(row, place), row.get(RATINGS)
        if key not in points or key in ratings:
            raise InputError(f"{place}: id {key!r} is {'there already' if key in ratings else 'no row with a rubric'}")
        if not isinstance(given, list) or len(given) != points[key] or any(rating not in (0, 1) for rating in given):
            raise InputError(f"{place}: {RATINGS} {given!r} is not a list of {points[key]} times 0 or 1")
        ratings[key] = given
    missing = [key for key in points if key not in ratings]
    if missing and not allow_missing:
        raise InputError(
            f"{path}: {len(missing)} of {len(points)} rows have no ratings: {missing[0]}, ...; --allow_missing counts 0"
        )
    tally = Tally()
    for sample in rows.samples:
        for rating in ratings.get(sample.id, [0] * points.get(sample.id, 0)):
            tally.add(bool(rating), rows.names_in_groups(sample), sample.audio_path or sample.id)
    if not tally.total:
        raise InputError(f"{path}: the metadata of {rows.benchmark.name} has no rubrics")
    return tally


def format_ratings(rows: BenchmarkRows, tally: Tally) -> str:
    """The mean rubric score, in total and by group."""
    named = [(f"{group}: {name}", cell) for group in rows.groups for name, cell in sorted(tally.by.get(group, {}).items())]
    cells = [
        [name, str(cell.total), with_interval(cell.accuracy, cell.interval, 2)] for name, cell in [("all", tally), *named]
    ]
    table = make_table(["", "points", "rubric % [95 %]"], cells)
    return f"{rows.benchmark.name} ({rows.release}): the judge's ratings\n{table}"
