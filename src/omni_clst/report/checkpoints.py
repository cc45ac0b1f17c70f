"""The checkpoints of a run, scored one after the other: a table and a curve of accuracy, think rate and length by step."""

import re
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..data.intervals import accuracy_interval
from ..data.table import make_table, with_interval
from .scores import Result, by_clip, is_standard, think_rate
from .style import MODEL_COLOURS, in_our_style, save

SIZE = (12.0, 3.6)  # inches


def group_by_run(results: list[Result]) -> dict[Path, list[tuple[int, Result]]]:
    """Results of checkpoints in normal use by run, each with its step, in that order; without runs that have one step."""
    runs: dict[Path, list[tuple[int, Result]]] = {}
    for result in results:
        checkpoint = result.folder.parents[1]
        step = re.fullmatch(r"checkpoint-(\d+)", checkpoint.name)
        if step and is_standard(result.condition):
            runs.setdefault(checkpoint.parent, []).append((int(step[1]), result))
    ordered = {run: sorted(part, key=lambda item: (item[1].benchmark, item[0])) for run, part in runs.items()}
    return {run: part for run, part in ordered.items() if len({step for step, _ in part}) > 1}


def mean_tokens(result: Result) -> float:
    """Tokens of a completion on average."""
    return sum(answer.tokens for answer in result.answers) / len(result.answers)


def checkpoints_table(part: list[tuple[int, Result]]) -> str:
    """A Markdown table of a run's checkpoints: accuracy with its 95 % interval, think rate and tokens."""
    rows = []
    for step, result in part:
        sums = by_clip(result.answers)
        accuracy = with_interval(100 * sums.mean, accuracy_interval(sums))
        figures = [f"{think_rate(result.answers):.0f}", f"{mean_tokens(result):.1f}"]
        rows.append([result.benchmark, str(step), str(len(result.answers)), accuracy, *figures])
    header = ["benchmark", "step", "questions", "accuracy %", "think rate %", "tokens"]
    return make_table(header, rows, markdown=True)


def plot_checkpoints(part: list[tuple[int, Result]], path: Path) -> None:
    """Save a run's `make_figure` as a PNG."""
    save(make_figure(part), path)


@in_our_style
def make_figure(part: list[tuple[int, Result]]) -> Figure:
    """Accuracy with its interval, think rate and tokens over the steps; a line per benchmark."""
    figure = Figure(figsize=SIZE)
    panels = figure.subplots(1, 3)
    for number, benchmark in enumerate(dict.fromkeys(result.benchmark for _, result in part)):
        of_benchmark = [(step, result) for step, result in part if result.benchmark == benchmark]
        _draw(panels, of_benchmark, benchmark, MODEL_COLOURS[1 + number % (len(MODEL_COLOURS) - 1)])
    for axis, title in zip(panels, ("Accuracy (%)", "Answers with a thought (%)", "Tokens per answer"), strict=True):
        axis.set(title=title, xlabel="optimiser step")
        axis.grid(axis="y")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def _draw(panels: list[Axes], part: list[tuple[int, Result]], label: str, colour: str) -> None:
    steps = [step for step, _ in part]
    sums = [by_clip(result.answers) for _, result in part]
    intervals = [accuracy_interval(one) for one in sums]
    values = [100 * one.mean for one in sums]
    panels[0].fill_between(steps, [low for low, _ in intervals], [high for _, high in intervals], color=colour, alpha=0.15)
    rates = [think_rate(result.answers) or 0.0 for _, result in part]
    lengths = [mean_tokens(result) for _, result in part]
    for axis, series in zip(panels, (values, rates, lengths), strict=True):
        axis.plot(steps, series, "o-", color=colour, markersize=4, label=label)
