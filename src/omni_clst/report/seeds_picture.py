"""Plot an experiment over seeds: accuracy and think rate of every model by depth of the question."""

from pathlib import Path
from statistics import mean

from matplotlib.figure import Figure

from .style import DEPTH_COLOURS, TWO_PANELS, in_our_style, save


@in_our_style
def plot_seeds(path: Path, runs: dict[str, dict[str, dict[str, float]]]) -> None:
    """Accuracy and think rate of every model by depth of the question, one dot per seed and a line at the mean."""
    figure = Figure(figsize=(TWO_PANELS[0], 0.45 * len(runs) + 1.6))
    panels = figure.subplots(1, 2, sharey=True)
    titles = {"accuracy on": "accuracy %", "think rate on": "think rate %"}
    for panel, (kind, title) in zip(panels, titles.items(), strict=True):
        for (depth, colour), shift in zip(DEPTH_COLOURS.items(), (-0.13, 0.13), strict=True):
            for index, seeds in enumerate(runs.values()):
                y = index + shift
                values = [metrics[f"{kind} {depth}"] for metrics in seeds.values()]
                panel.scatter(values, [y] * len(values), s=22, color=colour, alpha=0.55, linewidths=0)
                panel.plot([mean(values)] * 2, [y - 0.13, y + 0.13], color=colour, linewidth=2.5)
            panel.scatter([], [], s=22, color=colour, label=f"{depth} questions")
        panel.set(title=title, xlim=(-3, 103) if kind == "think rate on" else None)
        panel.grid(axis="x")
        panel.spines["left"].set_visible(False)
        panel.tick_params(axis="y", length=0)
    panels[0].set_yticks(range(len(runs)), list(runs))
    panels[0].invert_yaxis()
    panels[1].legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2)
    save(figure, path)
