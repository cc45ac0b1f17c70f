"""What became of the samples of a curriculum: a table as text, and a picture."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from ..data.samples import AudioQASample
from ..data.table import make_table
from ..method.curriculum import Curriculum, quotas
from ..method.levels import EASY_TO_HARD

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..method.config import CurriculumConfig

BAND_COLOURS = {"easy": "#e3f1e3", "medium": "#fdf1d6", "hard": "#fae1de"}
BAR_COLOURS = {"easy": "#4f9d5d", "medium": "#dd9a2b", "hard": "#c4534a"}
MODELS = {  # name in `extra` -> label, colour, line width: where both lines meet, both show
    "base_pass_rate": ("base", "#a3a3a3", 4.5),
    "sft_pass_rate": ("SFT model", "#1f5fa8", 2.0),
}


def describe_curriculum(curriculum: Curriculum, config: "CurriculumConfig") -> str:
    """Who was right, what became of each level's samples (a row's counts add up), and what else there is to say."""
    parts = [_who_was_right(curriculum.graded, config.right_from), _levels(curriculum), _notes(curriculum, config)]
    return "\n\n".join(part for part in parts if part)


def _who_was_right(graded: list[AudioQASample], right_from: float) -> str:
    """The cross table of both models' verdicts."""
    counts = Counter(tuple(sample.extra[name] >= right_from for name in MODELS) for sample in graded)
    title = f"{len(graded)} samples answered by both models (right: pass rate of at least {right_from:g})"
    rows = []
    for base, name in ((True, "base right"), (False, "base wrong")):
        cells = [f"{counts[base, sft]} ({100 * counts[base, sft] / len(graded):.1f} %)" for sft in (True, False)]
        rows.append([name, *cells])
    return f"{title}\n\n{make_table(['', 'SFT right', 'SFT wrong'], rows)}"


def _levels(curriculum: Curriculum) -> str:
    """A row a level; samples = left out + held out + beside them (other samples of their clips) + available."""
    heads = ("level", "samples", "left out", "held out", "beside them", "available", "chosen", "share", "base right",
             "SFT right", "with thought")  # fmt: skip
    rows = []
    for level in (*EASY_TO_HARD, "all"):
        parts = {}
        for name in ("graded", "held_out", "available", "chosen"):
            parts[name] = [sample for sample in getattr(curriculum, name) if level in (sample.level, "all")]
        counts = {name: len(part) for name, part in parts.items()}
        left_out = sum(sample.id in curriculum.left_out for sample in parts["graded"])
        beside = counts["graded"] - left_out - counts["held_out"] - counts["available"]
        chosen = parts["chosen"]
        numbers = (counts["graded"], left_out, counts["held_out"], beside, counts["available"], counts["chosen"])
        shares = (
            counts["chosen"] / len(curriculum.chosen),
            *(_mean([sample.extra[name] for sample in chosen]) for name in MODELS),
            _mean([bool((sample.think or "").strip()) for sample in chosen]),
        )
        rows.append((level, *map(str, numbers), *("-" if x is None else f"{100 * x:.1f} %" for x in shares)))
    return make_table(heads, rows)


def _notes(curriculum: Curriculum, config: "CurriculumConfig") -> str:
    """Reasons for leaving out, places filled by other levels, a file that is smaller than asked for, what is held out."""
    notes = [f"left out: {count} ({reason})" for reason, count in sorted(Counter(curriculum.left_out.values()).items())]
    chosen = Counter(sample.level for sample in curriculum.chosen)
    over = {level: chosen[level] - places for level, places in quotas(config.mix, config.size).items()}
    lacking = ", ".join(f"{-count} {level}" for level, count in over.items() if count < 0)
    filled = ", ".join(f"{count} {level}" for level, count in over.items() if count > 0)
    if lacking:
        notes.append(f"too few of their level: {lacking}; {f'filled by {filled}' if filled else 'left open'}")
    if len(curriculum.chosen) < config.size:
        notes.append(
            f"fewer than the {config.size} asked for: all {len(curriculum.chosen)} available of the levels in the mix"
        )
    if curriculum.held_out:
        clips = len({sample.audio_path for sample in curriculum.held_out})
        notes.append(f"held out: {len(curriculum.held_out)} samples of {clips} clips, none of which is trained on")
    return "\n".join(notes)


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def draw_curriculum(curriculum: Curriculum, path: Path) -> None:
    """Left, available and chosen samples by level; right, both models' running pass rates along the file."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.4), layout="constrained", width_ratios=(1, 2))
    _draw_levels(left, curriculum)
    _draw_pass_rates(right, curriculum.chosen)
    for axis in (left, right):
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _draw_levels(axis: "Axes", curriculum: Curriculum) -> None:
    """Two bars a level, with their numbers."""
    for place, level in enumerate(EASY_TO_HARD):
        parts = ((-0.2, 0.4, curriculum.available), (0.2, 1.0, curriculum.chosen))
        for offset, alpha, samples in parts:
            count = sum(sample.level == level for sample in samples)
            bar = axis.bar(place + offset, count, 0.38, color=BAR_COLOURS[level], alpha=alpha)
            axis.bar_label(bar, [f"{count:,}"], padding=2, fontsize=9)
    axis.set_xticks(range(len(EASY_TO_HARD)), EASY_TO_HARD)
    axis.yaxis.get_major_locator().set_params(integer=True)
    axis.set_ylabel("samples")
    axis.margins(y=0.1)
    axis.set_title("available (pale) and chosen", loc="left")


def _draw_pass_rates(axis: "Axes", chosen: list[AudioQASample]) -> None:
    """Means over a window that slides along the file and stops at a level's border; a band a level."""
    reach = len(chosen) // 60
    start = 0
    for level in EASY_TO_HARD:
        part = [sample for sample in chosen if sample.level == level]
        if not part:
            continue
        axis.axvspan(start, start + len(part), color=BAND_COLOURS[level], zorder=0, linewidth=0)
        axis.text(start + len(part) / 2, 1.06, level, ha="center", va="center", color=BAR_COLOURS[level], weight="bold")
        for name, (label, colour, width) in MODELS.items():
            rates = running_mean([sample.extra[name] for sample in part], reach)
            places = [start, *(start + place + 0.5 for place in range(len(part))), start + len(part)]  # to both borders
            rates = [rates[0], *rates, rates[-1]]
            label = label if start == 0 else None
            axis.plot(places, rates, color=colour, linewidth=width, label=label, solid_capstyle="butt")
        start += len(part)
    axis.set_xlim(0, len(chosen))
    axis.set_ylim(-0.03, 1.12)
    axis.set_xlabel("place in the file")
    axis.set_ylabel("pass rate")
    axis.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.1, ncols=2, frameon=False)
    axis.set_title("along the curriculum" + (f", means over {2 * reach + 1:,} places" if reach else ""), loc="left")


def running_mean(values: list[float], reach: int) -> list[float]:
    """Mean of the values around each place, `reach` to either side, fewer at both ends."""
    sums = [0.0]
    for value in values:
        sums.append(sums[-1] + value)
    spans = [(max(0, place - reach), min(len(values), place + reach + 1)) for place in range(len(values))]
    return [(sums[end] - sums[begin]) / (end - begin) for begin, end in spans]
