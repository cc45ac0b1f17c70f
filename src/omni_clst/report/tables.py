"""Format scores as tables and sentences."""

from ..data.intervals import accuracy_interval, difference_interval
from ..data.table import make_table, with_interval
from .scores import (
    DEPTHS,
    RULES,
    Answer,
    Condition,
    Result,
    accuracy,
    by_clip,
    compare,
    is_standard,
    of_depth,
    paired,
    pool,
    think_rate,
)
from .thinking import thinking_sections

AUDIO_SOURCES = {"real": "the clip", "silence": "silence", "other": "another clip"}
INTERVALS = "In brackets: 95 % intervals, which count questions about one clip together (`docs/evaluation.md`)."
THOUGHT = {"free": "free", "empty": "forced empty", "full": "forced", "unasked": "not asked for"}


def results_table(results: list[Result]) -> str:
    """A Markdown table, one row per condition and benchmark; accuracies with their 95 % intervals."""
    rows = []
    for result in results:
        answers = result.answers
        tokens = sum(answer.tokens for answer in answers) / len(answers)
        model, *condition = _names(result.condition)
        by_rule = [_with_interval([answer for answer in answers if rule in answer.verdicts], rule) for rule in RULES]
        cells = [*by_rule, f"{think_rate(answers):.0f}", f"{tokens:.1f}"]
        rows.append([model, result.benchmark, *condition, str(len(answers)), *cells])
    header = "model, benchmark, audio, thought, questions, official %, strict %, extracted %, think rate %, tokens"
    return make_table(header.split(", "), rows, markdown=True)


def depth_table(pooled: dict[Condition, list[Answer]]) -> str:
    """A Markdown table of accuracy and think rate by depth, one row per condition; "" where no depth is known."""
    rows = []
    for condition, answers in pooled.items():
        parts = [of_depth(answers, depth) for depth in DEPTHS]
        if any(parts):
            cells = [cell for part in parts for cell in (_with_interval(part), _figure(think_rate(part), 0))]
            rows.append([*_names(condition), "/".join(str(len(part)) for part in parts), *cells])
    header = ["model", "audio", "thought", "/".join(DEPTHS)]
    header += [f"{depth}: {metric} %" for depth in DEPTHS for metric in ("accuracy", "think rate")]
    return make_table(header, rows, markdown=True) if rows else ""


def _names(condition: Condition) -> list[str]:
    return [condition.model, AUDIO_SOURCES[condition.audio], THOUGHT[condition.thought]]


def _figure(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _with_interval(answers: list[Answer], rule: str | None = None) -> str:
    """The accuracy by a rule, or as `accuracy` has it, with its 95 % interval; `-` for no answers."""
    sums = by_clip(answers, rule)
    return with_interval(100 * sums.mean, accuracy_interval(sums)) if answers else "-"


def _accuracy(answers: list[Answer]) -> float:
    """`accuracy` of at least one answer."""
    return accuracy(answers) or 0.0


def _gain(before: list[Answer], after: list[Answer]) -> str:
    """The difference of two accuracies in points, with its 95 % interval where both answered the same questions."""
    points = f"{_accuracy(after) - _accuracy(before):+.1f} points"
    sums = paired(before, after)
    if sums is None:
        return points
    low, high = difference_interval(sums)
    return f"{points} [{low:+.1f}, {high:+.1f}]"


def summary_lines(pooled: dict[Condition, list[Answer]]) -> list[str]:
    """The gain of the last model over the others, and every model's loss with the thought forced empty, in points."""
    standard = [(condition.model, answers) for condition, answers in pooled.items() if is_standard(condition)]
    lines = []
    if len(standard) > 1:
        *others, (last, after) = standard
        gains = [f"{_gain(before, after)} over {model} ({_accuracy(before):.1f} %)" for model, before in others]
        lines.append(f"{last}: {_accuracy(after):.1f} % of {len(after)} questions, " + ", ".join(gains))
    for model, ways in compare(pooled, "thought").items():
        if not {"free", "empty"} <= ways.keys():
            continue
        for depth in [depth for depth in DEPTHS if of_depth(ways["free"], depth)] or [None]:
            free, forced = of_depth(ways["free"], depth), of_depth(ways["empty"], depth)
            if free:
                lines.append(
                    f"{model}, {len(free)} {f'{depth} ' if depth else ''}questions: {_accuracy(free):.1f} % with thoughts "
                    f"allowed, {_accuracy(forced):.1f} % with the thought forced empty "
                    f"({_gain(free, forced)})"
                )
    return lines


def results_text(results: list[Result]) -> str:
    """The tables and the lines below them, as Markdown."""
    pooled = pool(results)
    parts = [results_table(results), INTERVALS]
    by_depth = depth_table(pooled)
    parts += [f"By depth of the question, all benchmarks together:\n\n{by_depth}"] if by_depth else []
    parts += thinking_sections(pooled)
    lines = summary_lines(pooled)
    parts += ["\n".join(f"* {line}" for line in lines)] if lines else []
    return "\n\n".join(parts) + "\n"
