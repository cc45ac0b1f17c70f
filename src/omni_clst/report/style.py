"""The common style of all pictures: colours, sizes, fonts, axes, resolution."""

from pathlib import Path

import matplotlib
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from ..data.samples import EASY_TO_HARD

MODEL_COLOURS = ("#a3a9b0", "#4c8bb8", "#c4633f", "#6a9f58", "#8d6cab", "#d1a13f", "#7f5f4a", "#3f9c9c")
DEPTH_COLOURS = {"shallow": MODEL_COLOURS[1], "deep": MODEL_COLOURS[2]}
LEVEL_COLOURS = dict(zip(EASY_TO_HARD, ("#4f9d5d", "#dd9a2b", "#c4534a", "#8d6cab", "#7f5f4a"), strict=False))
LEVEL_BANDS = dict(zip(EASY_TO_HARD, ("#e3f1e3", "#fdf1d6", "#fae1de", "#ece3f3", "#eae3df"), strict=False))  # backgrounds
NO_LEVEL = MODEL_COLOURS[1]
INK = "#333333"  # for elements that belong to no series
PASS_RATE_LINES = {  # by name in `extra`; the base's is wider, so that both are visible where they overlap
    "base_pass_rate": {"color": MODEL_COLOURS[0], "linewidth": 4.5},
    "sft_pass_rate": {"color": "#1f5fa8", "linewidth": 2.0},
}
TWO_PANELS = (11.0, 4.0)  # inches
SMALL, LABEL = 7, 9  # font sizes in points: numbers on narrow bars, labels of bars
DPI = 120

# a decorator for plotting functions: matplotlib reads these settings when axes and legends are created
in_our_style = matplotlib.rc_context(
    {
        "figure.constrained_layout.use": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlelocation": "left",
        "axes.axisbelow": True,
        "grid.alpha": 0.25,
        "legend.frameon": False,
    }
)


def save(figure: Figure, path: Path) -> None:
    """Write a PNG; every picture has the same resolution."""
    figure.savefig(path, dpi=DPI)


def model_colour(models: list[str], model: str) -> str:
    """One of `MODEL_COLOURS`; with more models than colours, one of a continuous scale."""
    if len(models) <= len(MODEL_COLOURS):
        return MODEL_COLOURS[models.index(model)]
    return to_hex(matplotlib.colormaps["turbo"](models.index(model) / (len(models) - 1)))
