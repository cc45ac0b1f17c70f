"""Plot the course of a GRPO run: accuracy and think rate by level over the steps, from `completions.jsonl`."""

from collections import defaultdict
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..data.samples import LEVELS
from ..files import read_jsonl
from .curriculum_picture import running_mean
from .style import INK, LEVEL_COLOURS, NO_LEVEL, TWO_PANELS, in_our_style, save

PANELS = (("correct", "accuracy", "Accuracy, sampled (%)"), ("think", "think_rate", "Answers with a thought (%)"))
HALF_WINDOW_SHARE = 0.03  # of the steps: half the window of the running mean


def find_runs(folder: Path) -> list[Path]:
    """The GRPO runs at or below a folder, by name."""
    return sorted(path.parent for path in folder.glob("**/completions.jsonl"))


def read_course(run_dir: Path) -> dict[str, dict[int, list[dict]]]:
    """The completions as level -> optimiser step -> rows; levels from easy to hard."""
    course: dict[str, dict[int, list[dict]]] = defaultdict(lambda: defaultdict(list))
    for _, row in read_jsonl(run_dir / "completions.jsonl"):
        course[row["level"]][row["step"]].append(row)
    return {level: course[level] for level in LEVELS if level in course}


def read_evaluations(run_dir: Path) -> list[dict]:
    """The lines of `metrics.jsonl` that are evaluations."""
    metrics = run_dir / "metrics.jsonl"
    return [row for _, row in read_jsonl(metrics) if "eval_accuracy" in row] if metrics.exists() else []


def plot_course(run_dir: Path, path: Path) -> None:
    """Save a run's `make_figure` as a PNG."""
    save(make_figure(run_dir), path)


@in_our_style
def make_figure(run_dir: Path) -> Figure:
    """A running mean per level over the run's steps; dots for the greedy evaluations on held-out questions."""
    course, evaluations = read_course(run_dir), read_evaluations(run_dir)
    figure = Figure(figsize=TWO_PANELS)
    panels = figure.subplots(1, 2)
    for axis, (of_row, of_evaluation, title) in zip(panels, PANELS, strict=True):
        for level, steps in course.items():
            _draw_level(axis, level, steps, of_row)
        if evaluations:
            steps_of = [row["step"] for row in evaluations]
            values = [100 * row[f"eval_{of_evaluation}"] for row in evaluations]
            axis.plot(steps_of, values, "o", color=INK, markersize=6, label="held out, greedy", zorder=3)
        axis.set(title=title, xlabel="optimiser step", ylim=(-3, 105))
        axis.grid(axis="y")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    return figure


def _draw_level(axis: Axes, level: str, steps: dict[int, list[dict]], of_row: str) -> None:
    """A pale point per step, and their running mean."""
    x = sorted(steps)
    values = [100 * sum(bool(row[of_row]) for row in steps[step]) / len(steps[step]) for step in x]
    colour = LEVEL_COLOURS.get(level, NO_LEVEL)
    axis.plot(x, values, ".", color=colour, alpha=0.3, markersize=5, markeredgewidth=0)
    axis.plot(x, running_mean(values, round(HALF_WINDOW_SHARE * len(x))), color=colour, linewidth=2, label=level)
