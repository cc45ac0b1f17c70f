"""Collect the scores below a folder, with every model's answers and thoughts, and compare them."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ..data.intervals import ClipSums
from ..data.prompts import asks_for_thought
from ..errors import InputError
from ..files import read_json, read_jsonl

DEPTHS = ("shallow", "deep")
FORCED = ("empty", "full")  # thoughts
RULES = ("official", "strict", "extracted")


@dataclass(frozen=True)
class Answer:
    """One scored answer, with what its question is in every group of the benchmark."""

    benchmark: str
    id: str
    verdicts: dict[str, bool]  # by rule: official (not of a sample file), strict, extracted
    has_thought: bool
    tokens: int
    groups: dict[str, str | None]
    clip: str

    @property
    def kind(self) -> str | None:
        """The question's sub-category; None where the benchmark has none."""
        return self.groups.get("sub-category")

    @property
    def depth(self) -> str | None:
        """Shallow or deep; None where the benchmark does not say."""
        return self.groups.get("depth")

    @property
    def is_correct(self) -> bool:
        """Right by the official rule, by the strict one where there is no official."""
        return self.verdicts.get("official", self.verdicts["strict"])


class Condition(NamedTuple):
    """The model, its audio source (a key of `AUDIO_SOURCES`), and its freedom to think (a key of `THOUGHT`)."""

    model: str
    audio: str
    thought: str


@dataclass(frozen=True)
class Result:
    """A benchmark's answers under one condition; `benchmark` includes the limit where only the first rows were answered."""

    condition: Condition
    benchmark: str
    folder: Path  # that of scores.json
    answers: tuple[Answer, ...]


def collect(folder: Path) -> list[Result]:
    """Every scored benchmark under `folder`, grouped by model; models and their results are ordered from the oldest."""
    files = sorted(folder.glob("**/infer/*/scores.json"), key=lambda path: path.stat().st_mtime)
    records = {file: read_json(file) for file in files}
    results = [_read_result(folder, file, name) for file, name in _names_of(records).items()]
    models = list(dict.fromkeys(result.condition.model for result in results))
    return sorted(results, key=lambda result: models.index(result.condition.model))


def _names_of(records: dict[Path, dict]) -> dict[Path, str]:
    """The benchmark of every scores.json, with its file's hash where several files go by one name, as test.jsonl may."""
    hashes: dict[str, set[str]] = {}
    for record in records.values():
        hashes.setdefault(record["benchmark"], set()).add(record.get("meta_sha256", ""))
    is_one = {name: len(of_name) == 1 for name, of_name in hashes.items()}
    return {
        file: record["benchmark"] + ("" if is_one[record["benchmark"]] else f" {record.get('meta_sha256', '')[:8]}")
        for file, record in records.items()
    }


def _read_result(folder: Path, file: Path, benchmark: str) -> Result:
    settings = read_json(file.with_name("settings.json"))
    predictions = {row["id"]: row for _, row in read_jsonl(file.with_name("predictions.jsonl"))}
    verdicts, questions = file.with_name("verdicts.jsonl"), file.with_name("questions.jsonl")
    # Written at every start; a prediction has the groups of the start that answered it, and none where that failed.
    groups = {row["id"]: row["groups"] for _, row in read_jsonl(questions)} if questions.exists() else {}
    answers = []
    for number, verdict in read_jsonl(verdicts):
        if verdict["id"] not in predictions:
            raise InputError(f"{verdicts}:{number}: {verdict['id']!r} is not in predictions.jsonl beside it")
        prediction = predictions[verdict["id"]]
        answers.append(
            _read_answer(benchmark, verdict, prediction, groups.get(verdict["id"], prediction.get("groups", {})))
        )
    prompt = settings["prompt"]
    is_asked = asks_for_thought(prompt.get("template", ""), prompt["asks_for_tags"])
    thought = settings.get("thought", "free") if is_asked else "unasked"
    limit = settings.get("limit")
    model = file.parents[2]
    name = folder.resolve().name if model == folder else str(model.relative_to(folder))
    return Result(
        Condition(name, settings["audio"], thought),
        f"{benchmark}, first {limit}" if limit else benchmark,
        file.parent,
        tuple(answers),
    )


def _read_answer(benchmark: str, verdict: dict, prediction: dict, groups: dict) -> Answer:
    return Answer(
        benchmark=benchmark,
        id=verdict["id"],
        verdicts={rule: bool(verdict[rule]) for rule in RULES if rule in verdict},
        has_thought=bool(prediction.get("think")),
        tokens=prediction.get("tokens", 0),
        groups=groups,
        clip=verdict.get("clip", verdict["id"]),
    )


def accuracy(answers: Iterable[Answer]) -> float | None:
    """Percent right by the official rule, or by the strict one where there is no official; None for no answers."""
    return percent([answer.is_correct for answer in answers])


def by_clip(answers: Iterable[Answer], rule: str | None = None) -> ClipSums:
    """Right answers by clip, by one rule or by that of `accuracy`: what the accuracy's interval is computed from."""
    is_right = [(answer, answer.verdicts[rule] if rule else answer.is_correct) for answer in answers]
    return ClipSums(((answer.benchmark, answer.clip), right) for answer, right in is_right)


def paired(before: list[Answer], after: list[Answer]) -> ClipSums | None:
    """Differences in right answers, question by question; None unless both answered the same questions."""
    was_right = {(answer.benchmark, answer.id): answer.is_correct for answer in before}
    if was_right.keys() != {(answer.benchmark, answer.id) for answer in after}:
        return None
    changes = [(answer, answer.is_correct - was_right[answer.benchmark, answer.id]) for answer in after]
    return ClipSums(((answer.benchmark, answer.clip), change) for answer, change in changes)


def think_rate(answers: Iterable[Answer]) -> float | None:
    """Percent of the answers with a thought that is not empty; None for no answers."""
    return percent([answer.has_thought for answer in answers])


def percent(flags: list[bool]) -> float | None:
    """The share of true values, in percent; None for an empty list."""
    return 100.0 * sum(flags) / len(flags) if flags else None


def pool(results: list[Result]) -> dict[Condition, list[Answer]]:
    """The answers of every condition over all benchmarks; a question that was answered twice counts once."""
    pooled: dict[Condition, dict[tuple[str, str], Answer]] = {}
    for result in results:
        of_condition = pooled.setdefault(result.condition, {})
        of_condition |= {(answer.benchmark, answer.id): answer for answer in result.answers}
    return {condition: list(answers.values()) for condition, answers in pooled.items()}


def of_depth(answers: Iterable[Answer], depth: str | None) -> list[Answer]:
    """The answers to questions of a depth; all answers for None."""
    return [answer for answer in answers if depth in (None, answer.depth)]


def is_standard(condition: Condition) -> bool:
    """True for normal use: the model gets the clip, and its thought is not forced."""
    return condition.audio == "real" and condition.thought not in FORCED


def compare(pooled: dict[Condition, list[Answer]], field: str) -> dict[str, dict[str, list[Answer]]]:
    """Answers to the same questions when one field of the standard condition varies: model -> value -> answers.

    `field` is audio or thought; models with only one value are left out, and of thought those never free to think.
    """
    standard = {
        condition.model: condition
        for condition in pooled
        if is_standard(condition) and (field != "thought" or condition.thought == "free")
    }
    varied: dict[str, dict[str, list[Answer]]] = {model: {} for model in standard}
    for condition, answers in pooled.items():
        value = getattr(condition, field)
        if condition.model in standard and condition == standard[condition.model]._replace(**{field: value}):
            varied[condition.model][value] = answers
    return {model: _same_questions(by_value) for model, by_value in varied.items() if len(by_value) > 1}


def _same_questions(by_value: dict[str, list[Answer]]) -> dict[str, list[Answer]]:
    """Only the questions answered under every value, since some may have been limited to the first rows."""
    shared = set.intersection(*({(a.benchmark, a.id) for a in answers} for answers in by_value.values()))
    return {value: [a for a in answers if (a.benchmark, a.id) in shared] for value, answers in by_value.items()}
