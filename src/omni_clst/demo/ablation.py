"""What each idea is worth: the stages of an ablation, and its table and picture.

An arm is one way to prepare the thoughts for SFT; GRPO follows in several orders. Every model answers the same held-out
questions; depth is what the world's generator set, not what a curriculum guessed.
"""

from collections import defaultdict
from pathlib import Path
from statistics import mean, stdev
from typing import Annotated, Literal

from pydantic import Field

from ..data.table import make_table
from ..fields import FilePath, Lines, OneOf, Settings, rule
from ..files import read_jsonl, write_json, write_text
from ..method.order import ORDERS

FIGURES = ("accuracy", "accuracy on shallow", "accuracy on deep", "think rate on shallow", "think rate on deep", "tokens")


Arm = Literal["keep_all", "random", "guided", "drop_all"]


class AblationConfig(Settings):
    """Which arms and orders are compared, over which seeds."""

    seeds: list[str] = Field(["0", "1", "2"], description="each is a world, a base model and every later draw of its own")
    arms: list[Arm] = Field(["keep_all", "random", "guided"], description="modes of thought dropout before SFT")
    orders: list[Annotated[str, OneOf(ORDERS)]] = Field(["shuffled", "file"], description="of the curriculum in GRPO")
    out: FilePath = Field("runs/ablation", description="resumable: a second start does what is missing")
    results: FilePath = Field("asset", description="the folder for ablation.md, ablation.json and ablation.png")

    @rule
    def _seeds_are_whole_numbers(self) -> Lines:
        yield from (f"seeds {seed!r} is not a whole number" for seed in self.seeds if not seed.isdecimal())


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


def draw(path: Path, runs: dict[str, dict[str, dict[str, float]]]) -> None:
    """Accuracy and think rate of every model, one dot a seed, by depth of the question."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(11, 0.45 * len(runs) + 1.6), sharey=True, layout="constrained")
    titles = {"accuracy on": "accuracy %", "think rate on": "think rate %"}
    for panel, (kind, title) in zip(panels, titles.items(), strict=True):
        for depth, colour, shift in (("shallow", "#4c8bb8", -0.13), ("deep", "#c4633f", 0.13)):
            for place, seeds in enumerate(runs.values()):
                values = [found[f"{kind} {depth}"] for found in seeds.values()]
                panel.scatter(values, [place + shift] * len(values), s=22, color=colour, alpha=0.55, linewidths=0)
                panel.plot([mean(values)] * 2, [place + shift - 0.13, place + shift + 0.13], color=colour, linewidth=2.5)
            panel.scatter([], [], s=22, color=colour, label=f"{depth} questions")
        panel.set(title=title, xlim=(-3, 103) if kind == "think rate on" else None)
        panel.grid(axis="x", alpha=0.3)
        panel.spines[["top", "right", "left"]].set_visible(False)
        panel.tick_params(axis="y", length=0)
    panels[0].set_yticks(range(len(runs)), list(runs))
    panels[0].invert_yaxis()
    panels[1].legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2)
    figure.savefig(path, dpi=150)
    plt.close(figure)
