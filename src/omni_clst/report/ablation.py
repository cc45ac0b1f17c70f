"""What each idea is worth: every model's figures, and the table of an ablation.

Every model answers the same held-out questions; depth is what the world's generator set, not what a curriculum guessed.
"""

from collections import defaultdict
from pathlib import Path
from statistics import mean, stdev

from ..data.table import make_table
from ..files import read_jsonl, write_json, write_text

FIGURES = ("accuracy", "accuracy on shallow", "accuracy on deep", "think rate on shallow", "think rate on deep", "tokens")


def figures_of(model: Path) -> dict[str, float]:
    """Figures of one model over both benchmarks: percent, and tokens a completion."""
    rows = [row for path in sorted(model.glob("infer/*/predictions.jsonl")) for _, row in read_jsonl(path)]
    right = {row["id"]: row["strict"] for path in sorted(model.glob("infer/*/verdicts.jsonl"))
             for _, row in read_jsonl(path)}  # fmt: skip
    by_depth = defaultdict(list)
    for row in rows:
        by_depth[row["groups"]["depth"]].append(row)

    def percent(values: list) -> float:
        return 100.0 * mean(map(bool, values))

    found = {"accuracy": percent([right[row["id"]] for row in rows]), "tokens": mean(row["tokens"] for row in rows)}
    for depth, part in by_depth.items():
        found[f"accuracy on {depth}"] = percent([right[row["id"]] for row in part])
        found[f"think rate on {depth}"] = percent([row["think"] for row in part])
    return found


def write_results(folder: Path, runs: dict[str, dict[str, dict[str, float]]], command: str, environment: dict) -> str:
    """Write ablation.md, .json and .png from model -> seed -> figures; returns the table."""
    from .ablation_picture import draw

    table = _table(runs)
    seeds = sorted({seed for found in runs.values() for seed in found})
    made = f"`{command}` at commit {environment['commit']}, {environment['devices'][0]}, seeds {', '.join(seeds)}."
    note = "Mean ± standard deviation over the seeds; percent, and tokens a completion; greedy answers, strict score."
    write_text(folder / "ablation.md", f"# Ablation on the embedded world\n\n{table}\n\n{note}\nMade by {made}\n")
    kept = {key: environment[key] for key in ("python", "packages", "commit", "devices")}
    write_json(folder / "ablation.json", {"command": command, "environment": kept, "runs": runs})
    draw(folder / "ablation.png", runs)
    return table


def _table(runs: dict[str, dict[str, dict[str, float]]]) -> str:
    rows = [
        [model, *(_mean_and_deviation([found[name] for found in seeds.values()]) for name in FIGURES)]
        for model, seeds in runs.items()
    ]
    return make_table(["model", *FIGURES], rows, markdown=True)


def _mean_and_deviation(values: list[float]) -> str:
    return f"{mean(values):.1f} ± {stdev(values):.1f}" if len(values) > 1 else f"{values[0]:.1f}"
