"""Plot when thinking pays, and how the think rate moves during GRPO."""

from collections import defaultdict
from pathlib import Path
from statistics import mean

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..files import read_jsonl
from .style import INK, MODEL_COLOURS, SMALL, in_our_style, model_colour, save
from .thinking_map import Difference, ThinkingMap, accuracy

Worth = dict[tuple[str, str], tuple[Difference, float]]
SHOWN_BUDGETS = range(2, 33)  # tokens
COLUMNS = 5


@in_our_style
def plot_map(path: Path, thinking_map: ThinkingMap, lines: dict[str, tuple[str, str]], of_worth: str, worth: Worth) -> None:
    """A panel for each world: accuracy against the tokens that an answer may have; and one of think rate against what a
    thought is worth to the model `of_worth`. `lines` are the models that are shown, with arm and style."""
    worlds = list(thinking_map.models)
    names = [name for name in lines if any(name in models for models in thinking_map.models.values())]
    arms = list(dict.fromkeys(arm for arm, _ in lines.values()))
    looks = {
        name: {"color": model_colour(arms, lines[name][0]), "linestyle": lines[name][1], "linewidth": 2} for name in names
    }
    count = len(worlds) + bool(worth)
    columns, rows = min(count, COLUMNS), -(-count // COLUMNS)
    figure = Figure(figsize=(3.6 * columns, 3.4 * rows + 0.7))
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for panel, (world, models) in zip(panels, thinking_map.models.items(), strict=False):
        for name in names:
            if name in models:
                accuracies = [mean(models[name].over_seeds(accuracy(None, budget))) for budget in SHOWN_BUDGETS]
                panel.plot(SHOWN_BUDGETS, accuracies, **looks[name])
        panel.set(title=world.replace("_", " "), xlabel="tokens an answer may have", ylim=(20, 100))
        panel.grid()
    panels[0].set_ylabel("accuracy %")
    handles = [Line2D([], [], label=name, **looks[name]) for name in names]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(names))
    if worth:
        _plot_worth(panels[len(worlds)], worlds, of_worth, worth)
    for panel in panels[count:]:
        panel.set_visible(False)
    save(figure, path)


def _plot_worth(panel: Axes, worlds: list[str], model: str, worth: Worth) -> None:
    for (world, kind), (gain, rate) in worth.items():
        panel.plot(gain.mean, rate, "o", color=model_colour(worlds, world), alpha=0.8)
        panel.annotate(kind, (gain.mean, rate), fontsize=SMALL, xytext=(3, 2), textcoords="offset points")
    for world in dict.fromkeys(world for world, _ in worth):
        panel.plot([], [], "o", color=model_colour(worlds, world), label=world.replace("_", " "))
    panel.axvline(0, color=INK, linewidth=0.8)
    panel.set(title=f"think rate %, {model}", xlabel="gain of a thought, points", ylim=(-3, 103))
    panel.grid()
    panel.legend(fontsize=SMALL)


@in_our_style
def plot_course(path: Path, folders: dict[str, dict[str, Path]], level: str = "hard") -> None:
    """The think rate on held-out samples of a level during GRPO: a line for each seed and model of one world."""
    figure = Figure(figsize=(8.0, 4.2))
    panel = figure.subplots()
    for number, (name, by_seed) in enumerate(folders.items()):
        colour = MODEL_COLOURS[number % len(MODEL_COLOURS)]
        curves: dict[float, list[float]] = defaultdict(list)
        for folder in by_seed.values():
            rates = _think_rates(folder, level)
            panel.plot(list(rates), list(rates.values()), color=colour, linewidth=0.7, alpha=0.5)
            for step, rate in rates.items():
                curves[step].append(rate)
        means = {step: mean(rates) for step, rates in sorted(curves.items()) if len(rates) == len(by_seed)}
        panel.plot(list(means), list(means.values()), color=colour, linewidth=2.5, label=name)
    panel.set(title=f"think rate % on held-out {level} samples", xlabel="step", ylim=(-3, 103))
    panel.grid()
    panel.legend(fontsize=SMALL)
    save(figure, path)


def _think_rates(folder: Path, level: str) -> dict[int, float]:
    rows = [row for _, row in read_jsonl(folder / "metrics.jsonl") if f"eval_think_rate/{level}" in row]
    return {row["step"]: 100.0 * row[f"eval_think_rate/{level}"] for row in rows}
