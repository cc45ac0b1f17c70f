"""`AudioQASample`, the one sample format inside the project: reading its rows, validating and writing samples.

Files of samples are read by `layouts.read_samples`, which also takes foreign layouts.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from ..errors import InputError
from ..files import read_json, read_jsonl, write_jsonl
from .response import format_response, parse_response

EASY_TO_HARD = ("easy", "medium", "hard")
LEVELS = (*EASY_TO_HARD, "unknown")


@dataclass(frozen=True)
class AudioQASample:
    """One multiple-choice question about one clip; a benchmark's may be about several, `more_clips` after the first.

    `answer` is the text of one choice (never a letter or an index), or None where it is unknown; `think` is the
    reference thought, `""` where it was dropped and None where there never was one. `prompt` is the user's text, verbatim
    from a file that has it; with None `prompts.py` fills a template. `extra` keeps every other field of the row.
    `audio_path` is absolute once a reader has resolved it, `place` is the file and line that it was read from.
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
    more_clips: tuple[str, ...] = ()
    place: str = field(default="", compare=False)

    @property
    def clips(self) -> tuple[str, ...]:
        """The paths of all clips, in their order in the prompt."""
        return (self.audio_path, *self.more_clips)

    def to_row(self) -> dict:
        """The sample's row in a JSON Lines file: its fields, then those in `extra`; some only where set."""
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
        if self.more_clips:
            row["more_clips"] = list(self.more_clips)
        return row | {key: value for key, value in self.extra.items() if key not in row}


def make_sample_id(audio_path: str, question: str, choices: Iterable[str]) -> str:
    """An id for a row that has none: a hash of audio path, question and choices (16 hex digits)."""
    text = json.dumps([audio_path, question, list(choices)], ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]


def as_text(value: object) -> str:
    """A value as a text, the same from JSON, CSV and parquet: in a column with gaps these read 2 as 2.0."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def sample_from_row(row: dict) -> AudioQASample:
    """Convert a row of our own format to a sample; raises `InputError` with the value, the caller adds the place."""
    known = {f.name for f in fields(AudioQASample)} - {"extra", "place"}
    for key in ("audio_path", "question"):
        if not isinstance(row.get(key), str) or not row[key].strip():
            raise InputError(f"{key} {row.get(key)!r} is not a text")
    choices = row.get("choices")
    if not isinstance(choices, list) or not all(isinstance(choice, str) for choice in choices):
        raise InputError(f"choices {choices!r} is not a list of texts")
    more_clips = row.get("more_clips") or []
    if not isinstance(more_clips, list) or not all(isinstance(clip, str) for clip in more_clips):
        raise InputError(f"more_clips {more_clips!r} is not a list of texts")
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
        more_clips=tuple(more_clips),
    )


def read_rows(path: Path | str) -> Iterator[tuple[str, dict]]:
    """Yield (place, row) of a JSON array or of JSON Lines, whichever the file holds; the place is `file:line`.

    Raises `InputError` with the place.
    """
    path = Path(path)
    if _starts_with_bracket(path):
        rows = read_json(path)
        for number, row in enumerate(rows, 1):
            if not isinstance(row, dict):
                raise InputError(f"{path}: row {number}: expected an object, got {str(row)[:60]!r}")
            yield f"{path}: row {number}", row
    else:
        _require_lines(path)
        for number, row in read_jsonl(path):
            yield f"{path}:{number}", row


def _require_lines(path: Path) -> None:
    """Raise `InputError` for a file that is one JSON object over several lines, e.g. an indented `{"results": [...]}`."""
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        if file.readline().strip() != "{":
            return
    value = read_json(path)
    raise InputError(
        f"{path}: one JSON object with the keys {sorted(value)[:5]}; a JSON array or an object a line is expected"
    )


def _starts_with_bracket(path: Path) -> bool:
    try:
        with open(path, encoding="utf-8-sig", errors="replace") as file:
            return file.read(1024).lstrip().startswith("[")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None


def check_trainable(sample: AudioQASample) -> None:
    """Raise `InputError` for a sample that cannot be trained on.

    A sample with a `prompt` may have no choices: they are part of that text and need not be recognised.
    """
    for name, text in (("audio_path", sample.audio_path), ("question", sample.question)):
        if not text.strip():
            raise InputError(f"{name} {text!r} is not a text")
    if sample.more_clips:
        raise InputError(f"it is about {len(sample.clips)} clips, training takes one: leave it out")
    choices = list(sample.choices)
    if choices or sample.prompt is None:
        if not choices:
            raise InputError("has no choices (a list of two or more texts)")
        if len(choices) < 2:
            raise InputError(f"choices {choices} are fewer than two")
        if any(not choice.strip() for choice in choices):
            raise InputError(f"choices {choices} hold an empty one")
        if len(set(choices)) < len(choices):
            raise InputError(f"choices {choices} hold one twice")
        if sample.answer is None:
            raise InputError(f"has no answer (one of {choices})")
        if sample.answer not in choices:
            raise InputError(f"answer {sample.answer!r} is not one of {choices}")
    elif not (sample.answer or "").strip():
        raise InputError(f"answer {sample.answer!r} is not a text")
    for name, text in (("think", sample.think or ""), ("answer", sample.answer or "")):
        if not parse_response(format_response("", f"x{text}")).well_formed:
            raise InputError(f"{name} {text!r} holds a tag of the answer's form")


def write_samples(path: Path | str, samples: Iterable[AudioQASample], audio_root: Path | str | None = None) -> None:
    """Write samples as JSON Lines, whole or not at all.

    Paths below `audio_root` are written relative to it, so that they stay valid when the folder is moved.
    """
    write_jsonl(path, (_below_root(sample, audio_root).to_row() for sample in samples))


def _below_root(sample: AudioQASample, audio_root: Path | str | None) -> AudioQASample:
    more_clips = tuple(_below(clip, audio_root) for clip in sample.more_clips)
    return replace(sample, audio_path=_below(sample.audio_path, audio_root), more_clips=more_clips)


def _below(audio_path: str, audio_root: Path | str | None) -> str:
    if audio_root is None or not Path(audio_path).is_relative_to(audio_root):
        return audio_path
    return str(Path(audio_path).relative_to(audio_root))
