"""`AudioQASample`, the one sample format inside the project, and its JSON Lines reader, writer and validator."""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from .errors import InputError
from .files import read_json, read_jsonl, write_jsonl
from .response import format_response, parse_response

LEVELS = ("easy", "medium", "hard", "unknown")
MAX_PROBLEMS_SHOWN = 5


@dataclass(frozen=True)
class AudioQASample:
    """One multiple-choice question about one clip.

    `answer` is the text of one choice (never a letter or an index), or None where it is unknown; `think` is the
    reference thought, `""` where it was dropped and None where there never was one. `prompt` is the user's text taken
    verbatim from a file that has its own wording; None means that `prompts.py` writes it. `extra` keeps every other
    field of the row. `audio_path` is absolute once a reader has resolved it.
    """

    id: str
    audio_path: str
    question: str
    choices: tuple[str, ...]
    answer: str | None
    think: str | None = None
    source: str = "unknown"
    level: str = "unknown"
    prompt: str | None = None
    extra: dict = field(default_factory=dict)

    def to_row(self) -> dict:
        """The row of the JSON Lines file: own fields, then what else `extra` has; level and prompt only where set."""
        row = {
            "id": self.id,
            "audio_path": self.audio_path,
            "question": self.question,
            "choices": list(self.choices),
            "answer": self.answer,
            "think": self.think,
            "source": self.source,
        }
        if self.level != "unknown":
            row["level"] = self.level
        if self.prompt is not None:
            row["prompt"] = self.prompt
        return row | {key: value for key, value in self.extra.items() if key not in row}


def make_sample_id(audio_path: str, question: str, choices: Iterable[str]) -> str:
    """An id for a row that has none: a hash of audio path, question and choices (16 hex digits)."""
    text = json.dumps([audio_path, question, list(choices)], ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]


def sample_from_row(row: dict) -> AudioQASample:
    """Turn a row of our own format into a sample; raises `InputError` that names the value, the caller adds the place."""
    known = {f.name for f in fields(AudioQASample)} - {"extra"}
    for key in ("audio_path", "question"):
        if not isinstance(row.get(key), str) or not row[key].strip():
            raise InputError(f"{key} {row.get(key)!r} is not a text")
    choices = row.get("choices")
    if not isinstance(choices, list) or not all(isinstance(choice, str) for choice in choices):
        raise InputError(f"choices {choices!r} is not a list of texts")
    for key in ("id", "answer", "think", "prompt", "source", "level"):
        if row.get(key) is not None and not isinstance(row[key], str):
            raise InputError(f"{key} {row[key]!r} is not a text")
    if (row.get("level") or "unknown") not in LEVELS:
        raise InputError(f"level {row['level']!r} is not one of {list(LEVELS)}")
    return AudioQASample(
        id=row.get("id") or make_sample_id(row["audio_path"], row["question"], choices),
        audio_path=row["audio_path"],
        question=row["question"],
        choices=tuple(choices),
        answer=row.get("answer"),
        think=row.get("think"),
        source=row.get("source") or "unknown",
        level=row.get("level") or "unknown",
        prompt=row.get("prompt"),
        extra={key: value for key, value in row.items() if key not in known},
    )


def read_rows(path: Path | str) -> Iterator[tuple[str, dict]]:
    """Yield (place, row) of a JSON array or of JSON Lines, told apart by content; raises `InputError` naming the place."""
    path = Path(path)
    if _starts_with_bracket(path):
        rows = read_json(path)
        for number, row in enumerate(rows, 1):
            if not isinstance(row, dict):
                raise InputError(f"{path}: row {number}: expected an object, got {str(row)[:60]!r}")
            yield f"{path}: row {number}", row
    else:
        for number, row in read_jsonl(path):
            yield f"{path}:{number}", row


def _starts_with_bracket(path: Path) -> bool:
    try:
        with open(path, encoding="utf-8-sig", errors="replace") as file:
            return file.read(1024).lstrip().startswith("[")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None


def read_samples(
    path: Path | str, audio_root: Path | str | None = None, answers_optional: bool = False
) -> list[AudioQASample]:
    """Read training samples in the file's order; every problem is named at once, by file, line and value.

    Takes our own format and the foreign layouts of `sources.py`. Relative audio paths count from `audio_root`, or from
    the file's folder. Raises `InputError` for a row that cannot be learnt from: no question, no or repeated choices, an
    answer that is no choice, a tag inside thought or answer, an id that stands twice. With `answers_optional` a row may
    have no answer.
    """
    from .sources import convert_row  # sources.py builds on this module

    root = os.path.abspath(audio_root or Path(path).parent)
    samples: list[AudioQASample] = []
    places: dict[str, str] = {}
    problems: list[str] = []
    for place, row in read_rows(path):
        try:
            sample = convert_row(row)
            check_trainable(sample, answers_optional)
            if sample.id in places:
                raise InputError(f"id {sample.id!r} stands already at {places[sample.id]}")
        except InputError as error:
            problems.append(f"{place}: {error}")
            continue
        places[sample.id] = place
        samples.append(replace(sample, audio_path=os.path.normpath(os.path.join(root, sample.audio_path))))
    if problems:
        shown = "\n  ".join(problems[:MAX_PROBLEMS_SHOWN])
        more = f"\n  ... and {len(problems) - MAX_PROBLEMS_SHOWN} more" if len(problems) > MAX_PROBLEMS_SHOWN else ""
        raise InputError(shown + more if len(problems) == 1 else f"{len(problems)} bad rows:\n  {shown}{more}")
    if not samples:
        raise InputError(f"{path}: holds no samples")
    return samples


def check_trainable(sample: AudioQASample, answers_optional: bool = False) -> None:
    """Raise `InputError` for a sample that cannot be learnt from, or, with `answers_optional`, not even be asked.

    A sample with a prompt of its own may have no choices: its text holds them in a wording that nobody reads here.
    """
    for name, text in (("audio_path", sample.audio_path), ("question", sample.question)):
        if not text.strip():
            raise InputError(f"{name} {text!r} is not a text")
    choices = list(sample.choices)
    unanswered = answers_optional and sample.answer is None
    if choices or sample.prompt is None:
        if len(choices) < 2:
            raise InputError(f"choices {choices} are fewer than two")
        if any(not choice.strip() for choice in choices):
            raise InputError(f"choices {choices} hold an empty one")
        if len(set(choices)) < len(choices):
            raise InputError(f"choices {choices} hold one twice")
        if sample.answer not in choices and not unanswered:
            raise InputError(f"answer {sample.answer!r} is not one of {choices}")
    elif not (sample.answer or "").strip() and not unanswered:
        raise InputError(f"answer {sample.answer!r} is not a text")
    for name, text in (("think", sample.think or ""), ("answer", sample.answer or "")):
        if not parse_response(format_response("", f"x{text}")).well_formed:
            raise InputError(f"{name} {text!r} holds a tag of the answer's form")


def write_samples(path: Path | str, samples: Iterable[AudioQASample]) -> None:
    """Write samples as JSON Lines, whole or not at all."""
    write_jsonl(path, (sample.to_row() for sample in samples))
