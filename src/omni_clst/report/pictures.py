"""Plot scores: accuracy and think rate by kind of question, and accuracy without thoughts or with other audio."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from .scores import DEPTHS, Answer, Condition, Result, accuracy, compare, is_standard, of_depth, pool, think_rate
from .style import INK, LABEL, SMALL, in_our_style, model_colour, save
from .tables import AUDIO_SOURCES, THOUGHT

ROTATE_LABELS_ABOVE = 14  # groups of bars
LABEL_BARS_UP_TO = 4  # models: with more of them the bars are too narrow for numbers
LEGEND_COLUMNS = 5  # at most
NARROWEST = 5.5  # inches: the title fits


@dataclass(frozen=True)
class BarGroup:
    """A group of bars: its label, and every model's answers to its questions."""

    label: str
    answers: dict[str, list[Answer]]
    is_sum: bool = False  # over several kinds: placed after them, at a distance


def plot_scores(results: list[Result], path: Path) -> None:
    """Save `make_figure` of the results as a PNG."""
    save(make_figure(results), path)


@in_our_style
def make_figure(results: list[Result]) -> Figure:
    """Accuracy above, think rate below: a group of bars per kind of question, a bar per model.

    Beside them, where measured: accuracy with the thought forced empty, and with other audio.
    """
    pooled = pool(results)
    answers = _comparable(results)
    groups, sides = make_groups(answers), _side_panels(pooled)
    models = list(dict.fromkeys(condition.model for condition in pooled))
    is_crowded = len(groups) > ROTATE_LABELS_ABOVE
    width = min(max(0.25 * len(groups) * len(answers), 0.85 * len(groups)) + 1.0, 22.0)
    width = max(width, NARROWEST)
    height = 6.4 + 1.8 * is_crowded
    figure = Figure(figsize=(width + 3.4 * bool(sides), height))
    grid = figure.add_gridspec(2, 2 if sides else 1, width_ratios=[width, 3.0] if sides else None)
    figure.set_layout_engine("constrained", h_pad=0.08, w_pad=0.08)
    above = figure.add_subplot(grid[0, 0])
    below = figure.add_subplot(grid[1, 0], sharex=above)
    questions = max(map(len, answers.values()))
    for axis, measure, title in (
        (above, accuracy, f"Accuracy (%, official rule), {questions} questions"),
        (below, think_rate, "Answers with a thought (%)"),
    ):
        _draw_groups(axis, groups, models, measure)
        axis.set_title(title)
    above.tick_params(labelbottom=False)
    if is_crowded:
        for label in below.get_xticklabels():
            label.set(rotation=50, ha="right", rotation_mode="anchor")
    for row, (title, side) in enumerate(sides):
        axis = figure.add_subplot(grid[row, 1])
        _draw_groups(axis, side, models, accuracy)
        axis.set_title(title)
    without_thought = {condition.model for condition in pooled if condition.thought == "unasked"}
    names = {model: f"{model} (asked for the bare answer)" if model in without_thought else model for model in models}
    patches = [Patch(color=model_colour(models, model), label=names[model]) for model in models]
    _add_legend(figure, patches)
    return figure


def _add_legend(figure: Figure, patches: list[Patch]) -> None:
    """Below the panels, in as many columns as fit; the picture grows by further rows, and for a name wider than itself."""
    for columns in range(min(len(patches), LEGEND_COLUMNS), 0, -1):
        legend = figure.legend(handles=patches, loc="outside lower center", ncols=columns)
        box = legend.get_window_extent()
        if box.width <= figure.bbox.width:
            break
        if columns > 1:
            legend.remove()
    rows = math.ceil(len(patches) / columns)
    inches = box.width / figure.dpi, figure.get_figheight() + box.height / figure.dpi * (rows - 1) / rows
    figure.set_size_inches(max(figure.get_figwidth(), inches[0]), inches[1])


def _comparable(results: list[Result]) -> dict[str, list[Answer]]:
    """Every model's answers under the standard condition to the benchmarks with the first one's kinds of question."""
    standard = [result for result in results if is_standard(result.condition)]
    standard = standard or [result for result in results if result.condition[1:] == results[0].condition[1:]]
    kinds = {answer.kind for answer in standard[0].answers}
    comparable = [result for result in standard if {answer.kind for answer in result.answers} <= kinds]
    return {condition.model: answers for condition, answers in pool(comparable).items()}


def make_groups(answers: dict[str, list[Answer]]) -> list[BarGroup]:
    """A group per kind of question, the shallow ones first, then the sums by depth and the total."""
    all_answers = [answer for of_model in answers.values() for answer in of_model]
    kinds = sorted({answer.kind for answer in all_answers if answer.kind})
    groups = [_group(answers, kind, lambda answer, kind=kind: answer.kind == kind) for kind in kinds]
    groups.sort(key=lambda group: _deep_share(group) or 0.0)  # stable: by name where depth is unknown
    depths = [depth for depth in DEPTHS if of_depth(all_answers, depth)]
    sums = [_group(answers, f"all\n{depth}", lambda answer, depth=depth: answer.depth == depth, True) for depth in depths]
    return groups + sums + [_group(answers, "all", lambda _: True, True)]


def _group(answers: dict[str, list[Answer]], label: str, belongs: Callable, is_sum: bool = False) -> BarGroup:
    group = BarGroup(label, {model: [a for a in of_model if belongs(a)] for model, of_model in answers.items()}, is_sum)
    share = _deep_share(group)
    if is_sum or share is None:
        return group
    depth = {0.0: "shallow", 1.0: "deep"}.get(share, f"{100 * share:.0f} % deep")
    return BarGroup(f"{label}\n{depth}", group.answers)


def _deep_share(group: BarGroup) -> float | None:
    """The share of deep questions in a group; None where no depth is known."""
    depths = [answer.depth for of_model in group.answers.values() for answer in of_model if answer.depth]
    return depths.count("deep") / len(depths) if depths else None


def _side_panels(pooled: dict[Condition, list[Answer]]) -> list[tuple[str, list[BarGroup]]]:
    """(title, groups) of accuracy without thoughts, on deep questions where depth is known, and with other audio."""
    thoughts, sources = compare(pooled, "thought"), compare(pooled, "audio")
    is_deep = any(of_depth(ways["free"], "deep") for ways in thoughts.values())
    depth = "deep" if is_deep else None
    panels = [
        (f"Accuracy, {depth or 'all'} questions (%)", _groups_of_ways(thoughts, THOUGHT, "thought {}", depth)),
        ("Accuracy, all questions (%)", _groups_of_ways(sources, AUDIO_SOURCES, "audio:\n{}", None)),
    ]
    return [(title, groups) for title, groups in panels if groups]


def _groups_of_ways(compared: dict, names: dict[str, str], label: str, depth: str | None) -> list[BarGroup]:
    """A group of bars for every measured value of a condition's field, with the models that were measured."""
    groups = [
        BarGroup(label.format(name), {model: of_depth(ways[way], depth) for model, ways in compared.items() if way in ways})
        for way, name in names.items()
    ]
    return [group for group in groups if group.answers]


def _draw_groups(axis: Axes, groups: list[BarGroup], models: list[str], measure: Callable) -> None:
    """A bar for every model of a group, centred on the group's x; sums at a larger distance."""
    ticks, x = [], 0.0
    for number, group in enumerate(groups):
        x += 1.0 if not number or group.is_sum == groups[number - 1].is_sum else 1.3
        ticks.append(x)
        width = 0.86 / max(len(group.answers), 2)
        for index, (model, answers) in enumerate(group.answers.items()):
            value = measure(answers)
            if value is None:
                continue
            middle = x + (index - (len(group.answers) - 1) / 2) * width
            axis.bar(middle, value, width * 0.92, color=model_colour(models, model))
            if len(models) <= LABEL_BARS_UP_TO:
                axis.text(middle, value + 1, f"{value:.0f}", ha="center", va="bottom", fontsize=SMALL, color=INK)
    axis.set_xticks(ticks, [group.label for group in groups], fontsize=LABEL)
    axis.set_xlim(0.4, x + 0.6)
    axis.set_ylim(0, 108)
    axis.set_yticks(range(0, 101, 25))
    axis.grid(axis="y")
    axis.tick_params(axis="x", length=0)
