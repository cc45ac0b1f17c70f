"""Plot a curriculum: the number of chosen samples by level, and both models' pass rates along the file."""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..data.samples import EASY_TO_HARD, AudioQASample
from ..method.curriculum import Curriculum
from .curriculum_report import MODELS
from .style import LABEL, LEVEL_BANDS, LEVEL_COLOURS, PASS_RATE_LINES, TWO_PANELS, in_our_style, save


@in_our_style
def plot_curriculum(curriculum: Curriculum, path: Path) -> None:
    """Left, available and chosen samples by level; right, both models' running pass rates along the file."""
    figure = Figure(figsize=TWO_PANELS)
    left, right = figure.subplots(1, 2, width_ratios=(1, 2))
    _draw_levels(left, curriculum)
    _draw_pass_rates(right, curriculum.chosen)
    save(figure, path)


def _draw_levels(axis: Axes, curriculum: Curriculum) -> None:
    """Two bars per level, with their numbers."""
    for index, level in enumerate(EASY_TO_HARD):
        parts = ((-0.2, 0.4, curriculum.available), (0.2, 1.0, curriculum.chosen))
        for offset, alpha, samples in parts:
            count = sum(sample.level == level for sample in samples)
            bar = axis.bar(index + offset, count, 0.38, color=LEVEL_COLOURS[level], alpha=alpha)
            axis.bar_label(bar, [f"{count:,}"], padding=2, fontsize=LABEL)
    axis.set_xticks(range(len(EASY_TO_HARD)), EASY_TO_HARD)
    axis.yaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 2.5, 5, 10], integer=True))
    axis.set_ylabel("samples")
    axis.margins(y=0.1)
    axis.set_title("available (pale) and chosen")


def _draw_pass_rates(axis: Axes, chosen: list[AudioQASample]) -> None:
    """Running means along the file within each level, and a coloured band per level."""
    half_window = len(chosen) // 60
    start = 0
    for level in EASY_TO_HARD:
        part = [sample for sample in chosen if sample.level == level]
        if not part:
            continue
        axis.axvspan(start, start + len(part), color=LEVEL_BANDS[level], zorder=0, linewidth=0)
        axis.text(start + len(part) / 2, 1.06, level, ha="center", va="center", color=LEVEL_COLOURS[level], weight="bold")
        for name, label in MODELS.items():
            rates = running_mean([sample.extra[name] for sample in part], half_window)
            x = [start, *(start + index + 0.5 for index in range(len(part))), start + len(part)]  # to both borders
            rates = [rates[0], *rates, rates[-1]]
            label = label if start == 0 else None
            axis.plot(x, rates, label=label, solid_capstyle="butt", **PASS_RATE_LINES[name])
        start += len(part)
    axis.set_xlim(0, len(chosen))
    axis.set_ylim(-0.03, 1.12)
    axis.set_xlabel("position in the file")
    axis.set_ylabel("pass rate")
    axis.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.1, ncols=2)
    axis.set_title("along the curriculum" + (f", means over {2 * half_window + 1:,} samples" if half_window else ""))


def running_mean(values: list[float], half_window: int) -> list[float]:
    """Mean of the values up to `half_window` to either side of each value, of fewer at both ends."""
    sums = [0.0]
    for value in values:
        sums.append(sums[-1] + value)
    spans = [(max(0, i - half_window), min(len(values), i + half_window + 1)) for i in range(len(values))]
    return [(sums[end] - sums[begin]) / (end - begin) for begin, end in spans]
