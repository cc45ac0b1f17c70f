"""What the runs of a folder amount to: a table of all scores, one by depth of the question, and a picture."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from .errors import InputError
from .files import read_json, read_jsonl, write_text

HEARING = {"real": "the clip", "silence": "silence", "other": "another clip"}
THOUGHT = {"free": "free", "empty": "forced empty", "unasked": "not asked for"}
DEPTHS = ("shallow", "deep")


@dataclass(frozen=True)
class Answer:
    """One scored answer; `kind` is the question's sub-category, both it and `depth` None where the benchmark has none."""

    benchmark: str
    id: str
    official: bool
    strict: bool
    thinks: bool
    tokens: int
    kind: str | None
    depth: str | None


class Condition(NamedTuple):
    """Who answered, hearing what (a key of `HEARING`), and whether it could think (a key of `THOUGHT`)."""

    model: str
    hearing: str
    thought: str


@dataclass(frozen=True)
class Result:
    """A benchmark's answers under one condition; the name says so where only the first rows were answered."""

    condition: Condition
    benchmark: str
    answers: tuple[Answer, ...]


def collect(folder: Path) -> list[Result]:
    """Every scored benchmark under `folder`, a model's together; models and their results stand oldest first."""
    files = sorted(folder.glob("**/infer/*/scores.json"), key=lambda path: path.stat().st_mtime)
    results = [_read_result(folder, file) for file in files]
    models = list(dict.fromkeys(result.condition.model for result in results))
    return sorted(results, key=lambda result: models.index(result.condition.model))


def _read_result(folder: Path, file: Path) -> Result:
    benchmark, settings = read_json(file)["benchmark"], read_json(file.with_name("settings.json"))
    predictions = {row["id"]: row for _, row in read_jsonl(file.with_name("predictions.jsonl"))}
    verdicts = file.with_name("verdicts.jsonl")
    answers = []
    for number, verdict in read_jsonl(verdicts):
        if verdict["id"] not in predictions:
            raise InputError(f"{verdicts}:{number}: {verdict['id']!r} is not in predictions.jsonl beside it")
        answers.append(_read_answer(benchmark, verdict, predictions[verdict["id"]]))
    asked = settings["prompt"]["asks_for_tags"]
    thought = settings.get("thought", "free") if asked else "unasked"
    limit = settings.get("limit")
    model = file.parents[2]
    name = folder.resolve().name if model == folder else str(model.relative_to(folder))
    return Result(
        Condition(name, settings["audio"], thought),
        f"{benchmark}, first {limit}" if limit else benchmark,
        tuple(answers),
    )


def _read_answer(benchmark: str, verdict: dict, prediction: dict) -> Answer:
    groups = prediction.get("groups", {})  # none where the clip could not be read
    return Answer(
        benchmark=benchmark,
        id=verdict["id"],
        official=bool(verdict["official"]),
        strict=bool(verdict["strict"]),
        thinks=bool(prediction.get("think")),
        tokens=prediction.get("tokens", 0),
        kind=groups.get("sub-category"),
        depth=groups.get("depth"),
    )


def accuracy(answers: Iterable[Answer]) -> float | None:
    """Percent right by the official rule; None of no answers."""
    return _percent([answer.official for answer in answers])


def think_rate(answers: Iterable[Answer]) -> float | None:
    """Percent of the answers that came with a thought; None of no answers."""
    return _percent([answer.thinks for answer in answers])


def _percent(flags: list[bool]) -> float | None:
    return 100.0 * sum(flags) / len(flags) if flags else None


def pool(results: list[Result]) -> dict[Condition, list[Answer]]:
    """The answers of every condition over all benchmarks; a question that was answered twice counts once."""
    pooled: dict[Condition, dict[tuple[str, str], Answer]] = {}
    for result in results:
        mine = pooled.setdefault(result.condition, {})
        mine |= {(answer.benchmark, answer.id): answer for answer in result.answers}
    return {condition: list(answers.values()) for condition, answers in pooled.items()}


def of_depth(answers: Iterable[Answer], depth: str | None) -> list[Answer]:
    """The answers to questions of a depth; all of them for None."""
    return [answer for answer in answers if depth in (None, answer.depth)]


def thinks_freely(condition: Condition) -> bool:
    """True for a model that hears the clip and is left to think as it likes: what it is when it is used."""
    return condition.hearing == "real" and condition.thought != "empty"


def compare(pooled: dict[Condition, list[Answer]], field: str) -> dict[str, dict[str, list[Answer]]]:
    """What changes with one field of the condition, all else as usual: model -> value -> answers to the same questions.

    `field` is hearing or thought; models that were measured in one way alone are left out.
    """
    usual = {condition.model: condition for condition in pooled if thinks_freely(condition)}
    found: dict[str, dict[str, list[Answer]]] = {model: {} for model in usual}
    for condition, answers in pooled.items():
        value = getattr(condition, field)
        if condition.model in usual and condition == usual[condition.model]._replace(**{field: value}):
            found[condition.model][value] = answers
    return {model: _same_questions(ways) for model, ways in found.items() if len(ways) > 1}


def _same_questions(ways: dict[str, list[Answer]]) -> dict[str, list[Answer]]:
    """Only the questions that were answered in every way: a look at the first rows is not held against a whole run."""
    shared = set.intersection(*({(a.benchmark, a.id) for a in answers} for answers in ways.values()))
    return {way: [a for a in answers if (a.benchmark, a.id) in shared] for way, answers in ways.items()}


def results_table(results: list[Result]) -> str:
    """A Markdown table, one row a condition and benchmark."""
    rows = []
    for result in results:
        answers = result.answers
        figures = [accuracy(answers), _percent([answer.strict for answer in answers])]
        tokens = sum(answer.tokens for answer in answers) / len(answers)
        model, *how = _names(result.condition)
        cells = [f"{figure:.1f}" for figure in figures] + [f"{think_rate(answers):.0f}", f"{tokens:.1f}"]
        rows.append([model, result.benchmark, *how, str(len(answers)), *cells])
    header = "model, benchmark, hears, thought, questions, official %, strict %, thinks %, tokens"
    return _markdown(header.split(", "), rows)


def depth_table(pooled: dict[Condition, list[Answer]]) -> str:
    """A Markdown table of accuracy and think rate by depth, one row a condition; empty where no benchmark states one."""
    rows = []
    for condition, answers in pooled.items():
        parts = [of_depth(answers, depth) for depth in DEPTHS]
        if any(parts):
            cells = [cell for part in parts for cell in (_figure(accuracy(part), 1), _figure(think_rate(part), 0))]
            rows.append([*_names(condition), "/".join(str(len(part)) for part in parts), *cells])
    header = ["model", "hears", "thought", "/".join(DEPTHS)]
    header += [f"{depth}: {what} %" for depth in DEPTHS for what in ("official", "thinks")]
    return _markdown(header, rows) if rows else ""


def _names(condition: Condition) -> list[str]:
    return [condition.model, HEARING[condition.hearing], THOUGHT[condition.thought]]


def _figure(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _markdown(header: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(cells) + " |" for cells in (header, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(header), *lines[1:]])


def summary_lines(pooled: dict[Condition, list[Answer]]) -> list[str]:
    """The gain of the last model over the others, and what every model's thoughts are worth, in points."""
    free = [(condition.model, answers) for condition, answers in pooled.items() if thinks_freely(condition)]
    lines = []
    if len(free) > 1:
        *others, (last, after) = free
        gains = [
            f"{accuracy(after) - accuracy(before):+.1f} points over {model} ({accuracy(before):.1f} %)"
            for model, before in others
        ]
        lines.append(f"{last}: {accuracy(after):.1f} % of {len(after)} questions, " + ", ".join(gains))
    for model, ways in compare(pooled, "thought").items():
        for depth in [depth for depth in DEPTHS if of_depth(ways["free"], depth)] or [None]:
            free, forced = of_depth(ways["free"], depth), of_depth(ways["empty"], depth)
            if free:
                lines.append(
                    f"{model}, {len(free)} {f'{depth} ' if depth else ''}questions: {accuracy(free):.1f} % thinking as it "
                    f"likes, {accuracy(forced):.1f} % with the thought forced empty "
                    f"({accuracy(forced) - accuracy(free):+.1f} points)"
                )
    return lines


def write_report(folder: Path, out: Path) -> str:
    """Write `report.md`, `accuracy.png` and a picture of every GRPO run's course to `out`; returns the text.

    Raises `InputError` for a folder with neither scores nor such a run.
    """
    from .course_picture import draw_course, find_runs
    from .report_picture import draw

    results, runs = collect(folder), find_runs(folder)
    if not results and not runs:
        raise InputError(
            f"{folder}: neither scores (infer/<benchmark>/scores.json) nor a GRPO run (completions.jsonl) in it"
        )
    out.mkdir(parents=True, exist_ok=True)
    text, pictures = "", []
    if results:
        text = results_text(results)
        draw(results, out / "accuracy.png")
        pictures.append("![accuracy by kind](accuracy.png)")
    for run_dir in runs:
        name = str(run_dir.resolve().relative_to(folder.resolve().parent))
        picture = f"course-{name.replace('/', '-')}.png"
        draw_course(run_dir, out / picture)
        pictures.append(f"How the training of {name} went:\n\n![course of {name}]({picture})")
    write_text(out / "report.md", "\n\n".join([f"# Results under {folder.name}", text.rstrip(), *pictures]) + "\n")
    return text


def results_text(results: list[Result]) -> str:
    """The tables and the lines below them, as Markdown."""
    pooled = pool(results)
    parts = [results_table(results)]
    by_depth = depth_table(pooled)
    parts += [f"By depth of the question, all benchmarks together:\n\n{by_depth}"] if by_depth else []
    lines = summary_lines(pooled)
    parts += ["\n".join(f"* {line}" for line in lines)] if lines else []
    return "\n\n".join(parts) + "\n"
