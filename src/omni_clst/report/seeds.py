"""Compute the metrics of every model of an experiment over seeds, and write its table.

Every model answers the same held-out questions; their depth is set by the world's generator, not by a curriculum.
"""

from collections import defaultdict
from pathlib import Path
from statistics import mean, stdev

from ..data.table import make_table
from ..files import read_jsonl, write_json, write_text

NOTE = "Mean ± standard deviation over the seeds; percent, and tokens per completion; greedy answers, strict score."
METRICS = ("accuracy", "accuracy on shallow", "accuracy on deep", "think rate on shallow", "think rate on deep", "tokens")


def metrics_of(model: Path) -> dict[str, float]:
    """Metrics of one model over both benchmarks: percent, and tokens per completion."""
    rows = [row for path in sorted(model.glob("infer/*/predictions.jsonl")) for _, row in read_jsonl(path)]
    is_right = {row["id"]: row["strict"] for path in sorted(model.glob("infer/*/verdicts.jsonl"))
             for _, row in read_jsonl(path)}  # fmt: skip
    by_depth = defaultdict(list)
    for row in rows:
        by_depth[row["groups"]["depth"]].append(row)

    def percent(values: list) -> float:
        return 100.0 * mean(map(bool, values))

    metrics = {"accuracy": percent([is_right[row["id"]] for row in rows]), "tokens": mean(row["tokens"] for row in rows)}
    for depth, part in by_depth.items():
        metrics[f"accuracy on {depth}"] = percent([is_right[row["id"]] for row in part])
        metrics[f"think rate on {depth}"] = percent([row["think"] for row in part])
    return metrics


def write_results(
    folder: Path,
    runs: dict[str, dict[str, dict[str, float]]],
    command: str,
    environment: dict,
    name: str,
    metrics: tuple[str, ...] = METRICS,
    note: str = NOTE,
) -> str:
    """Write NAME.md, .json and .png from model -> seed -> metrics; returns the table."""
    from .seeds_picture import plot_seeds

    table = _table(runs, metrics)
    seeds = sorted({seed for by_seed in runs.values() for seed in by_seed})
    origin = f"`{command}` at commit {environment['commit']}, {environment['devices'][0]}, seeds {', '.join(seeds)}."
    title = f"# {name.capitalize()} on the embedded world"
    write_text(folder / f"{name}.md", f"{title}\n\n{table}\n\n{note}\nMade by {origin}\n")
    kept = {key: environment[key] for key in ("python", "packages", "commit", "devices")}
    write_json(folder / f"{name}.json", {"command": command, "environment": kept, "runs": runs})
    plot_seeds(folder / f"{name}.png", runs)
    return table


def _table(runs: dict[str, dict[str, dict[str, float]]], metrics: tuple[str, ...]) -> str:
    rows = [
        [model, *(_mean_and_deviation([of_seed[name] for of_seed in seeds.values()]) for name in metrics)]
        for model, seeds in runs.items()
    ]
    return make_table(["model", *metrics], rows, markdown=True)


def _mean_and_deviation(values: list[float]) -> str:
    return f"{mean(values):.1f} ± {stdev(values):.1f}" if len(values) > 1 else f"{values[0]:.1f}"
