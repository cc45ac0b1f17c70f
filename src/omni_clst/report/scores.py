"""The scores below a folder, with what every model answered and thought."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ..errors import InputError
from ..files import read_json, read_jsonl

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
    """Which model, which audio (a key of `AUDIO_SOURCES`), and whether it could think (a key of `THOUGHT`)."""

    model: str
    audio: str
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
    return percent([answer.official for answer in answers])


def think_rate(answers: Iterable[Answer]) -> float | None:
    """Percent of the answers that came with a thought; None of no answers."""
    return percent([answer.thinks for answer in answers])


def percent(flags: list[bool]) -> float | None:
    """The share that is true, in percent; None of none."""
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
    """True for a model that gets the clip and may think or not: as it is when it is used."""
    return condition.audio == "real" and condition.thought != "empty"


def compare(pooled: dict[Condition, list[Answer]], field: str) -> dict[str, dict[str, list[Answer]]]:
    """What changes with one field of the condition, all else as usual: model -> value -> answers to the same questions.

    `field` is audio or thought; models that were measured in one way alone are left out.
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
