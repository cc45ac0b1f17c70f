"""What thinking is worth, by kind of question: accuracy and tokens with a free, an empty and a forced thought."""

from ..data.intervals import difference_interval
from ..data.table import make_table
from .scores import Answer, Condition, accuracy, compare, paired, think_rate

FEWEST = 20  # questions of a group, for a row of its own
WAYS = {"free": "free", "empty": "empty", "full": "forced"}
SOURCES = {"silence": "silence", "other": "another clip"}


def thinking_sections(pooled: dict[Condition, list[Answer]]) -> list[str]:
    """A Markdown section for every model that answered with a thought and without one."""
    by_audio = compare(pooled, "audio")
    sections = []
    for model, ways in compare(pooled, "thought").items():
        if "empty" in ways:
            title = f"What thinking is worth to {model} (gain: with its thought, or a forced one, over the empty one):"
            sections.append(f"{title}\n\n{thinking_table(ways, by_audio.get(model, {}))}")
    return sections


def thinking_table(ways: dict[str, list[Answer]], sources: dict[str, list[Answer]]) -> str:
    """A Markdown table by group: accuracies, tokens, and the gain of thinking in points with its 95 % interval.

    `ways` are the answers by thought (free, empty, full), `sources` those by audio (real, silence, other); each to the
    same questions.
    """
    with_thought = [way for way in ("free", "full") if way in ways]
    shown = [way for way in WAYS if way in ways]
    others = [source for source in SOURCES if source in sources]
    header = ["questions of", "questions", *(f"{WAYS[way]} %" for way in shown), "think rate %"]
    header += [f"gain {WAYS[way]}" for way in with_thought] + [f"tokens {WAYS[way]}" for way in shown]
    header += [f"{SOURCES[source]} %" for source in others]
    rows = []
    for group in groups_of(ways["empty"]):
        of_group = {way: select(answers, group) for way, answers in ways.items()}
        cells = [_one(accuracy(of_group[way])) for way in shown] + [_one(think_rate(of_group["free"]), 0)]
        cells += [_gain(of_group["empty"], of_group[way]) for way in with_thought]
        cells += [_one(_tokens(of_group[way])) for way in shown]
        cells += [_one(accuracy(select(sources[source], group))) for source in others]
        rows.append([" ".join(group) or "all", str(len(of_group["empty"])), *cells])
    return make_table(header, rows, markdown=True)


def groups_of(answers: list[Answer]) -> list[tuple[str, ...]]:
    """(): all questions; then (benchmark, group: name) of every group with enough questions."""
    counts: dict[tuple[str, ...], int] = {}
    for answer in answers:
        for name in _names_of(answer):
            counts[answer.benchmark, name] = counts.get((answer.benchmark, name), 0) + 1
    return [(), *sorted(key for key, count in counts.items() if count >= FEWEST)]


def select(answers: list[Answer], group: tuple[str, ...]) -> list[Answer]:
    """The answers to a group's questions."""
    if not group:
        return answers
    benchmark, name = group
    return [answer for answer in answers if answer.benchmark == benchmark and name in _names_of(answer)]


def _names_of(answer: Answer) -> set[str]:
    return {f"{group}: {name}" for group, name in answer.groups.items() if name}


def _gain(before: list[Answer], after: list[Answer]) -> str:
    sums = paired(before, after)
    if sums is None:
        return "-"
    low, high = difference_interval(sums)
    return f"{100 * sums.mean:+.1f} [{low:+.1f}, {high:+.1f}]"


def _tokens(answers: list[Answer]) -> float | None:
    return sum(answer.tokens for answer in answers) / len(answers) if answers else None


def _one(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
