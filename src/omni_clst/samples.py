"""`AudioQASample`, the one sample format inside the project, and its JSON Lines reader, writer and validator."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from pathlib import Path

from .errors import InputError
from .files import write_jsonl

LEVELS = ("easy", "medium", "hard", "unknown")


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
        """The row of the JSON Lines file: own fields first, then `extra`; unset optional fields are left out."""
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
        return row | self.extra


def make_sample_id(audio_path: str, question: str, choices: Iterable[str]) -> str:
    """An id for a row that has none: a hash of audio path, question and choices (16 hex digits)."""
    text = json.dumps([audio_path, question, list(choices)], ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]


def sample_from_row(row: dict) -> AudioQASample:
    """Turn a row of our own format into a sample; raises `InputError` that names the value (the caller adds the place)."""
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
    if row.get("level", "unknown") not in LEVELS:
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


def write_samples(path: Path | str, samples: Iterable[AudioQASample]) -> None:
    """Write samples as JSON Lines, whole or not at all."""
    write_jsonl(path, (sample.to_row() for sample in samples))
