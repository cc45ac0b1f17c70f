"""Plot the map of when thinking pays, and how the think rate moves during GRPO."""

from collections import defaultdict
from pathlib import Path
from statistics import mean

from matplotlib.figure import Figure

from ..files import read_jsonl
from .style import INK, MODEL_COLOURS, SMALL, in_our_style, model_colour, save
from .thinking_map import Difference, ThinkingMap, accuracy, tokens

Differences = dict[tuple[str, str, str, str], Difference]
Worth = dict[tuple[str, str], tuple[Difference, float]]


@in_our_style
def plot_map(path: Path, thinking_map: ThinkingMap, differences: Differences, worth: Worth) -> None:
    """Gains of the compared models by world, accuracy against tokens, and think rate against what a thought is worth."""
    pairs = list(dict.fromkeys((after, before) for _, after, before, _ in differences))
    worlds = list(thinking_map.models)
    figure = Figure(figsize=(15.0, max(4.0, 0.17 * len(pairs) * len(worlds) + 1.5)))
    gains, cost, calibration = figure.subplots(1, 3)
    shown: set[str] = set()
    for place, world in enumerate(worlds):
        for number, (after, before) in enumerate(pairs):
            difference = differences.get((world, after, before, "all"))
            if difference:
                y = place + 0.8 * (number + 0.5) / len(pairs) - 0.4
                colour = MODEL_COLOURS[1 + number % (len(MODEL_COLOURS) - 1)]
                label = f"{after} less {before}"
                gains.plot(difference.interval, [y, y], color=colour, linewidth=2)
                gains.plot([difference.mean], [y], "o", color=colour, markersize=4, label=None if label in shown else label)
                shown.add(label)
    gains.axvline(0, color=INK, linewidth=0.8)
    gains.set_yticks(range(len(worlds)), [world.replace("_", " ") for world in worlds])
    gains.invert_yaxis()
    gains.set(title="difference in accuracy, points (95 % interval)")
    gains.legend(fontsize=SMALL, loc="upper center", bbox_to_anchor=(0.5, -0.06))
    names = list(dict.fromkeys(name for models in thinking_map.models.values() for name in models))
    for world, models in thinking_map.models.items():
        for name, scored in models.items():
            marker = "so^Dv*Px"[worlds.index(world) % 8]
            place = mean(scored.over_seeds(tokens)), mean(scored.over_seeds(accuracy()))
            cost.plot(*place, marker, color=model_colour(names, name), markersize=6, alpha=0.8)
    for number, world in enumerate(worlds):
        cost.plot([], [], "so^Dv*Px"[number % 8], color=INK, label=world.replace("_", " "))
    for name in names:
        cost.plot([], [], "s", color=model_colour(names, name), label=name)
    cost.set(title="accuracy % against tokens a question")
    cost.grid()
    cost.legend(fontsize=SMALL, loc="upper center", bbox_to_anchor=(0.5, -0.06), ncols=2)
    for (world, kind), (gain, rate) in worth.items():
        colour = model_colour(worlds, world)
        calibration.plot(gain.mean, rate, "o", color=colour, alpha=0.8)
        calibration.annotate(kind, (gain.mean, rate), fontsize=SMALL, xytext=(3, 2), textcoords="offset points")
    for world in worlds:
        calibration.plot([], [], "o", color=model_colour(worlds, world), label=world.replace("_", " "))
    calibration.axvline(0, color=INK, linewidth=0.8)
    calibration.set(title="think rate % against the gain of a thought, points", ylim=(-3, 103))
    calibration.grid()
    calibration.legend(fontsize=SMALL, loc="upper center", bbox_to_anchor=(0.5, -0.06), ncols=2)
    save(figure, path)


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
