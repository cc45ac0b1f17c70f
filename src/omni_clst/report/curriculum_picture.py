"""A curriculum as a picture: how many samples of each level were chosen, and both models' pass rates along the file."""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..data.samples import AudioQASample
from ..method.curriculum import Curriculum
from ..method.levels import EASY_TO_HARD
from .curriculum_report import MODELS
from .style import LABEL, LEVEL_BANDS, LEVEL_COLOURS, PASS_RATE_LINES, TWO_PANELS, in_our_style, save


@in_our_style
def draw_curriculum(curriculum: Curriculum, path: Path) -> None:
    """Left, available and chosen samples by level; right, both models' running pass rates along the file."""
    figure = Figure(figsize=TWO_PANELS)
    left, right = figure.subplots(1, 2, width_ratios=(1, 2))
    _draw_levels(left, curriculum)
    _draw_pass_rates(right, curriculum.chosen)
    save(figure, path)


def _draw_levels(axis: Axes, curriculum: Curriculum) -> None:
    """Two bars a level, with their numbers."""
    for place, level in enumerate(EASY_TO_HARD):
        parts = ((-0.2, 0.4, curriculum.available), (0.2, 1.0, curriculum.chosen))
        for offset, alpha, samples in parts:
            count = sum(sample.level == level for sample in samples)
            bar = axis.bar(place + offset, count, 0.38, color=LEVEL_COLOURS[level], alpha=alpha)
            axis.bar_label(bar, [f"{count:,}"], padding=2, fontsize=LABEL)
    axis.set_xticks(range(len(EASY_TO_HARD)), EASY_TO_HARD)
    axis.yaxis.get_major_locator().set_params(integer=True)
    axis.set_ylabel("samples")
    axis.margins(y=0.1)
    axis.set_title("available (pale) and chosen")


def _draw_pass_rates(axis: Axes, chosen: list[AudioQASample]) -> None:
    """Means over a window that slides along the file and stops at a level's border; a band a level."""
    reach = len(chosen) // 60
    start = 0
    for level in EASY_TO_HARD:
        part = [sample for sample in chosen if sample.level == level]
        if not part:
            continue
        axis.axvspan(start, start + len(part), color=LEVEL_BANDS[level], zorder=0, linewidth=0)
        axis.text(start + len(part) / 2, 1.06, level, ha="center", va="center", color=LEVEL_COLOURS[level], weight="bold")
        for name, label in MODELS.items():
            rates = running_mean([sample.extra[name] for sample in part], reach)
            places = [start, *(start + place + 0.5 for place in range(len(part))), start + len(part)]  # to both borders
            rates = [rates[0], *rates, rates[-1]]
            label = label if start == 0 else None
            axis.plot(places, rates, label=label, solid_capstyle="butt", **PASS_RATE_LINES[name])
        start += len(part)
    axis.set_xlim(0, len(chosen))
    axis.set_ylim(-0.03, 1.12)
    axis.set_xlabel("place in the file")
    axis.set_ylabel("pass rate")
    axis.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.1, ncols=2)
    axis.set_title("along the curriculum" + (f", means over {2 * reach + 1:,} places" if reach else ""))


def running_mean(values: list[float], reach: int) -> list[float]:
    """Mean of the values around each place, `reach` to either side, fewer at both ends."""
    sums = [0.0]
    for value in values:
        sums.append(sums[-1] + value)
    spans = [(max(0, place - reach), min(len(values), place + reach + 1)) for place in range(len(values))]
    return [(sums[end] - sums[begin]) / (end - begin) for begin, end in spans]
