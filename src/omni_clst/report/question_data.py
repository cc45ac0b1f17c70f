"""Collect what the report's page shows: figures of every result, and of every question its text, thoughts and verdicts."""

import hashlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from ..files import read_json, read_jsonl
from .scores import Result, think_rate

RULES = ("official", "strict", "extracted")
CLIPS = "clips"  # the folder beside the page


def page_data(results: list[Result], folder: Path) -> dict:
    """All that the page shows, for JSON; the clips are put beside it, in `folder`."""
    by_name: dict[str, list[Result]] = {}
    for result in results:
        by_name.setdefault(result.benchmark, []).append(result)
    return {"rules": RULES, "benchmarks": [_benchmark(name, part, folder) for name, part in by_name.items()]}


def _benchmark(name: str, results: list[Result], folder: Path) -> dict:
    questions = _questions(results)
    return {
        "name": name,
        "questions": [_question(row, folder) for row in questions.values()],
        "results": [_result(result, list(questions)) for result in results],
    }


def _questions(results: list[Result]) -> dict[str, dict]:
    """The rows of questions.jsonl by id, in their order; of a folder without that file the ids alone."""
    questions: dict[str, dict] = {}
    for result in results:
        file = result.folder / "questions.jsonl"
        rows = {row["id"]: row for _, row in read_jsonl(file)} if file.exists() else {}
        for answer in result.answers:
            questions.setdefault(answer.id, rows.get(answer.id, {"id": answer.id}))
    return questions


def _question(row: dict, folder: Path) -> dict:
    groups = row.get("groups") or {}
    return {
        "id": row["id"],
        "question": row.get("question"),
        "choices": row.get("choices", []),
        "answer": row.get("answer"),
        "groups": {name: str(value) for name, value in groups.items() if value},
        "clips": [put_clip(Path(path), folder) for path in row.get("clips", ())],
    }


def put_clip(path: Path, folder: Path) -> str | None:
    """A clip's path relative to the page: the same file under another name, or a copy; None for a lost clip."""
    if not path.is_file():
        return None
    name = f"{hashlib.sha256(str(path).encode()).hexdigest()[:16]}{path.suffix.lower()}"
    target = folder / CLIPS / name
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(path, target)
        except OSError:  # another file system
            shutil.copyfile(path, target)
    return f"{CLIPS}/{name}"


def _result(result: Result, ids: Iterable[str]) -> dict:
    """A result's figures, and its answers in the order of the questions: null for one that was not asked."""
    scores = read_json(result.folder / "scores.json")
    predictions = {row["id"]: row for _, row in read_jsonl(result.folder / "predictions.jsonl")}
    verdicts = {row["id"]: row for _, row in read_jsonl(result.folder / "verdicts.jsonl")}
    return {
        "model": result.condition.model,
        "audio": result.condition.audio,
        "thought": result.condition.thought,
        "figures": {rule: _figures(scores[rule]) for rule in RULES if rule in scores},
        "groups": {rule: scores[rule]["by"] for rule in RULES if rule in scores},
        "parse_failed": sum(bool(row.get("parse_failed")) for row in predictions.values()),
        "think_rate": think_rate(result.answers),
        "tokens": sum(answer.tokens for answer in result.answers) / max(len(result.answers), 1),
        "answers": [_answer(predictions[key], verdicts[key]) if key in verdicts else None for key in ids],
    }


def _figures(scores: dict) -> dict:
    return {"accuracy": scores["accuracy"], "interval": scores.get("interval")}


def _answer(prediction: dict, verdict: dict) -> dict:
    return {
        "output": prediction.get("model_output", ""),
        "think": prediction.get("think"),
        "raw": prediction.get("model_output_raw", ""),
        "failed": bool(prediction.get("parse_failed")),
        "error": prediction.get("error"),
        "tokens": prediction.get("tokens", 0),
        "verdicts": [verdict.get(rule) for rule in RULES],
    }
