"""The report's picture: accuracy and think rate by kind of question, and what is lost without thought or clip."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from .scores import DEPTHS, Answer, Condition, Result, accuracy, compare, of_depth, pool, think_rate, thinks_freely
from .style import INK, LABEL, SMALL, in_our_style, model_colour, save
from .tables import AUDIO_SOURCES, THOUGHT

CROWDED_KINDS = 14  # from here on their names stand aslant
LABELLED_MODELS = 4  # with more of them the bars are too thin for a figure


@dataclass(frozen=True)
class Group:
    """A group of bars: its label below, and every model's answers to its questions."""

    label: str
    answers: dict[str, list[Answer]]
    is_sum: bool = False  # over the kinds: stands apart, behind them


@in_our_style
def draw(results: list[Result], path: Path) -> None:
    """Accuracy above, think rate below, a group of bars a kind of question, a bar a model.

    Beside them, where they were measured: accuracy with the thought forced empty, and with other audio.
    """
    pooled = pool(results)
    answers = _comparable(results)
    groups, sides = make_groups(answers), _side_panels(pooled)
    models = list(dict.fromkeys(condition.model for condition in pooled))
    is_crowded = len(groups) > CROWDED_KINDS
    width = min(max(0.25 * len(groups) * len(answers), 0.85 * len(groups)) + 1.0, 22.0)
    height = 6.4 + 1.8 * is_crowded
    figure = Figure(figsize=(width + 3.4 * bool(sides), height))
    grid = figure.add_gridspec(2, 2 if sides else 1, width_ratios=[width, 3.0] if sides else None)
    figure.get_layout_engine().set(h_pad=0.08, w_pad=0.08)
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
    unasked = {condition.model for condition in pooled if condition.thought == "unasked"}
    names = {model: f"{model} (asked for the bare answer)" if model in unasked else model for model in models}
    patches = [Patch(color=model_colour(models, model), label=names[model]) for model in models]
    figure.legend(handles=patches, loc="outside lower center", ncols=min(len(models), 5))
    save(figure, path)


def _comparable(results: list[Result]) -> dict[str, list[Answer]]:
    """Every model's answers, thinking freely, to the benchmarks that ask the first one's kinds of question."""
    free = [result for result in results if thinks_freely(result.condition)]
    free = free or [result for result in results if result.condition[1:] == results[0].condition[1:]]
    kinds = {answer.kind for answer in free[0].answers}
    alike = [result for result in free if {answer.kind for answer in result.answers} <= kinds]
    return {condition.model: answers for condition, answers in pool(alike).items()}


def make_groups(answers: dict[str, list[Answer]]) -> list[Group]:
    """One group a kind, the shallow ones first, then the sums over them by depth and in all."""
    every = [answer for mine in answers.values() for answer in mine]
    kinds = sorted({answer.kind for answer in every if answer.kind})
    groups = [_group(answers, kind, lambda answer, kind=kind: answer.kind == kind) for kind in kinds]
    groups.sort(key=lambda group: _deep_share(group) or 0.0)  # stable: by name where nothing is known of depth
    depths = [depth for depth in DEPTHS if of_depth(every, depth)]
    sums = [_group(answers, f"all\n{depth}", lambda answer, depth=depth: answer.depth == depth, True) for depth in depths]
    return groups + sums + [_group(answers, "all", lambda _: True, True)]


def _group(answers: dict[str, list[Answer]], label: str, belongs: Callable, is_sum: bool = False) -> Group:
    group = Group(label, {model: [a for a in mine if belongs(a)] for model, mine in answers.items()}, is_sum)
    share = _deep_share(group)
    if is_sum or share is None:
        return group
    depth = {0.0: "shallow", 1.0: "deep"}.get(share, f"{100 * share:.0f} % deep")
    return Group(f"{label}\n{depth}", group.answers)


def _deep_share(group: Group) -> float | None:
    """Which part of a group's questions is deep; None where no depth is stated."""
    stated = [answer.depth for mine in group.answers.values() for answer in mine if answer.depth]
    return stated.count("deep") / len(stated) if stated else None


def _side_panels(pooled: dict[Condition, list[Answer]]) -> list[tuple[str, list[Group]]]:
    """What is lost without the thought, on deep questions where depth is stated, and without the clip: (title, groups)."""
    thoughts, sources = compare(pooled, "thought"), compare(pooled, "audio")
    is_deep = any(of_depth(ways["free"], "deep") for ways in thoughts.values())
    depth = "deep" if is_deep else None
    panels = [
        (f"Accuracy, {depth or 'all'} questions (%)", _groups_of_ways(thoughts, THOUGHT, "thought {}", depth)),
        ("Accuracy, all questions (%)", _groups_of_ways(sources, AUDIO_SOURCES, "audio:\n{}", None)),
    ]
    return [(title, groups) for title, groups in panels if groups]


def _groups_of_ways(compared: dict, names: dict[str, str], label: str, depth: str | None) -> list[Group]:
    """A group of bars for every way that was measured, over the models that were."""
    groups = [
        Group(label.format(name), {model: of_depth(ways[way], depth) for model, ways in compared.items() if way in ways})
        for way, name in names.items()
    ]
    return [group for group in groups if group.answers]


def _draw_groups(axis: Axes, groups: list[Group], models: list[str], measure: Callable) -> None:
    """A bar for every model of a group, about the middle of its place; sums stand a little apart."""
    places, place = [], 0.0
    for number, group in enumerate(groups):
        place += 1.0 if not number or group.is_sum == groups[number - 1].is_sum else 1.3
        places.append(place)
        width = 0.86 / max(len(group.answers), 2)
        for index, (model, answers) in enumerate(group.answers.items()):
            value = measure(answers)
            if value is None:
                continue
            middle = place + (index - (len(group.answers) - 1) / 2) * width
            axis.bar(middle, value, width * 0.92, color=model_colour(models, model))
            if len(models) <= LABELLED_MODELS:
                axis.text(middle, value + 1, f"{value:.0f}", ha="center", va="bottom", fontsize=SMALL, color=INK)
    axis.set_xticks(places, [group.label for group in groups], fontsize=LABEL)
    axis.set_xlim(0.4, place + 0.6)
    axis.set_ylim(0, 108)
    axis.set_yticks(range(0, 101, 25))
    axis.grid(axis="y")
    axis.tick_params(axis="x", length=0)
