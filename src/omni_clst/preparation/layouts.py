"""Convert the rows of every source (AVQA, AudSem, AudioMCQ, published files) to candidates; pure functions of the row.

A source is an entry in `SOURCES`; to add one, add a function from its row to a `Draft`.
"""

import ast
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ..data.layouts import choices_in_text, convert_row
from ..data.response import parse_response
from ..data.samples import AudioQASample, as_text
from ..errors import InputError
from .rules import Draft, Dropped, apply_rules

CLIP_KEYS = ("audio_path", "audio", "audio_file", "audio_filepath", "wav_path", "wav", "path", "file_path", "file_name",
             "filename", "audio_id", "video_path", "video", "video_name", "audios")  # fmt: skip
THOUGHT_KEYS = ("think", "thinking", "thought", "cot", "chain_of_thought", "gemini_cot", "structured_cot", "reasoning")
_COLOUR_ASKED = re.compile(r"\bcolou?rs?\b", re.IGNORECASE)
_COLOURS = {"black", "white", "red", "green", "blue", "yellow", "brown", "grey", "gray", "orange", "purple", "pink"}
_CHOICES_BELOW = re.compile(r"\s*\n\s*(?:choices|options)\s*:?\s*\n.*", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True)
class Candidate:
    """A sample whose clip is not found yet: `clip_names` are the clip's names in the row (none where it is embedded).

    `notes` are (rule, value) of every rule that changed or flagged the row.
    """

    sample: AudioQASample
    clip_names: tuple[str, ...]
    notes: tuple[tuple[str, str], ...] = ()


def convert(source: str, row: dict) -> Candidate:
    """Convert a training row to a candidate; raises `Dropped`."""
    draft = SOURCES[source](row)
    apply_rules(draft)
    sample = AudioQASample(
        id=f"{source}-{draft.row_id}" if draft.row_id else "",
        audio_path=next(iter(draft.clip_names), ""),
        question=draft.question.strip(),
        choices=tuple(draft.choices),
        answer=draft.answer,
        think=draft.think,
        source=source,
        prompt=draft.prompt,
        level=draft.level,
        extra=draft.extra,
    )
    return Candidate(sample, draft.clip_names, tuple(draft.notes))


def convert_benchmark(row: dict, oddities: list[str]) -> Candidate:
    """Convert a benchmark's row to a candidate; nothing is dropped or changed, every oddity is noted as a flagging rule."""
    sample = convert_row(row)
    return Candidate(sample, (sample.audio_path,), tuple((rule, str(list(sample.choices))[:80]) for rule in oddities))


def _read_avqa(row: dict) -> Draft:
    """AVQA's own JSON (`multi_choice`, an index as answer), or the Hub's parquet with the choices inside the question."""
    if str(row.get("question_relation", "")).strip().lower() == "view":
        raise Dropped("asks for what can only be seen", f"question_relation {row['question_relation']!r}")
    draft = (_read_avqa_json if "multi_choice" in row else _read_lettered)(row)
    colours = sum(choice.strip().lower() in _COLOURS for choice in draft.choices)
    if _COLOUR_ASKED.search(draft.question) or colours >= 2:
        raise Dropped("asks for a colour", draft.question)
    return draft


def _read_avqa_json(row: dict) -> Draft:
    return Draft(
        clip_names=_clip_names(row),
        question=_text(row, "question_text"),
        choices=_texts(row, "multi_choice"),
        answer=row.get("answer"),
        think=_thought(row),
        row_id=_row_id(row),
        extra=_kept(row, "question_relation", "question_type", "video_id"),
        answers_by_index=True,
    )


def _read_lettered(row: dict) -> Draft:
    """A question followed by lettered choices; the key `choices` may repeat them by letter."""
    text = _text(row, "question")
    choices = _by_letter(row.get("choices"))
    listed = choices_in_text(text)
    if not choices and not listed:
        raise Dropped("is incomplete", f"no choices in {text[:60]!r}")
    return Draft(
        clip_names=_clip_names(row),
        question=_CHOICES_BELOW.sub("", text),
        choices=choices or list(listed),
        answer=row.get("answer"),
        think=_thought(row),
        row_id=_row_id(row),
        extra=_kept(row, "question_type", "source_dataset", "dataset"),
        notes=[("letters in front of choices or answer", text[len(_CHOICES_BELOW.sub("", text)) :].strip()[:60])],
    )


def _read_audsem(row: dict) -> Draft:
    """AudSem's `mc_qa`: `file_name`, the choices lettered in the question, and again in `choices` by letter."""
    return _read_lettered(row)


def _read_audiomcq(row: dict) -> Draft:
    """AudioMCQ: `audio_path`, `choices` as a list, the answer as text, with or without its letter."""
    return Draft(
        clip_names=_clip_names(row),
        question=_text(row, "question"),
        choices=_texts(row, "choices"),
        answer=row.get("answer"),
        think=_thought(row),
        row_id=_row_id(row),
        extra=_kept(row, "source_dataset", "question_type"),
    )


def _read_published(row: dict) -> Draft:
    """Both training files of the published code, and our own format."""
    texts: dict[str, str | list[str]] = {}
    if isinstance(row.get("answer"), (int, float)):
        texts["answer"] = as_text(row["answer"])
    texts |= {key: _texts(row, key) for key in ("choices", "multi_choice") if isinstance(row.get(key), (list, str))}
    try:
        sample = convert_row(row | texts)
    except InputError as error:
        raise Dropped("is incomplete", error) from None
    return Draft(
        clip_names=(sample.audio_path, *_clip_names(row)),
        question=sample.question,
        choices=list(sample.choices),
        answer=sample.answer,
        think=sample.think,
        row_id=_row_id(row),
        extra=sample.extra,
        prompt=sample.prompt,
        level=sample.level,
    )


SOURCES: dict[str, Callable[[dict], Draft]] = {
    "avqa": _read_avqa,
    "audsem": _read_audsem,
    "audiomcq": _read_audiomcq,
    "published": _read_published,
}


def _text(row: dict, key: str) -> str:
    value = row.get(key)
    if not isinstance(value, str) or not value.strip():
        raise Dropped("is incomplete", f"{key} {value!r}")
    return value


def _texts(row: dict, key: str) -> list[str]:
    """A list of texts, or its JSON or Python literal (CSV)."""
    value = _literal(row.get(key))
    if isinstance(value, dict):
        value = _by_letter(value)
    if not isinstance(value, (list, tuple)) or not value:
        raise Dropped("is incomplete", f"{key} {str(value)[:60]!r}")
    return _choice_texts(value)


def _by_letter(value: object) -> list[str]:
    """[x, y] from {"A": x, "B": y} or its text; a list stays as it is; [] for other values. The Hub has None for absent
    letters."""
    value = _literal(value)
    if isinstance(value, dict):
        keys = sorted(value, key=lambda key: (len(str(key)), str(key)))  # 2 before 10
        return _choice_texts([value[key] for key in keys if value[key] is not None])
    return _choice_texts(value) if isinstance(value, (list, tuple)) else []


def _choice_texts(values: Iterable[object]) -> list[str]:
    """Convert texts and numbers to texts; raises `Dropped` for any other choice (null, a list, NaN)."""
    values = list(values)
    for value in values:
        if not isinstance(value, (str, int, float)) or value != value:
            raise Dropped("a choice is no text", f"{value!r} of {values}")
    return [as_text(value) for value in values]


def _clip_names(row: dict) -> tuple[str, ...]:
    """All names of the clip in a row, paths first; a list of one counts as its item."""
    names = []
    for key in CLIP_KEYS:
        value = row.get(key)
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        if isinstance(value, (str, int)) and not isinstance(value, bool) and str(value).strip():
            names.append(str(value))
    return tuple(dict.fromkeys(names))


def _literal(value: object) -> object:
    """The value of a CSV cell: JSON, else a Python literal, else the text itself."""
    if not isinstance(value, str):
        return value
    for parse in (json.loads, ast.literal_eval):
        try:
            return parse(value)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return value


def _kept(row: dict, *keys: str) -> dict:
    """The values of these keys that a row has."""
    return {key: row[key] for key in keys if row.get(key) is not None}


def _row_id(row: dict) -> str | None:
    value = row.get("id")
    return None if value is None or value == "" or value != value else as_text(value)  # NaN: a gap in the column


def _thought(row: dict) -> str | None:
    """The chain of thought, under any of its names; the text inside its tags where it has them."""
    names = [*THOUGHT_KEYS, *sorted(key for key in row if str(key).lower().endswith("cot"))]
    thought = next((row[name] for name in names if isinstance(row.get(name), str)), None)
    if thought is None:
        return None
    response = parse_response(thought)
    return response.think if response.think is not None else thought.strip()
