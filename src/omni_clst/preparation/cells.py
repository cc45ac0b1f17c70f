"""Read the cells of a row: texts, lists of choices, names of clips, thoughts."""

import ast
import json
from collections.abc import Iterable

from ..data.response import parse_response
from ..data.samples import as_text
from .rules import Dropped

CLIP_KEYS = ("audio_path", "audio", "audio_file", "audio_filepath", "wav_path", "wav", "path", "file_path", "file_name",
             "filename", "audio_id", "video_path", "video", "video_name", "audios")  # fmt: skip
THOUGHT_KEYS = ("think", "thinking", "thought", "cot", "chain_of_thought", "gemini_cot", "structured_cot", "reasoning")


def text_of(row: dict, key: str) -> str:
    """The text under a key; raises `Dropped` where there is none."""
    value = row.get(key)
    if not isinstance(value, str) or not value.strip():
        raise Dropped("is incomplete", f"{key} {value!r}")
    return value


def texts_of(row: dict, key: str) -> list[str]:
    """A list of texts, or its JSON or Python literal (CSV)."""
    value = as_literal(row.get(key))
    if isinstance(value, dict):
        value = by_letter(value)
    if not isinstance(value, (list, tuple)) or not value:
        raise Dropped("is incomplete", f"{key} {str(value)[:60]!r}")
    return choice_texts(value)


def by_letter(value: object) -> list[str]:
    """[x, y] from {"A": x, "B": y} or its text; a list stays as it is; [] for other values. The Hub has None for absent
    letters."""
    value = as_literal(value)
    if isinstance(value, dict):
        keys = sorted(value, key=lambda key: (len(str(key)), str(key)))  # 2 before 10
        return choice_texts([value[key] for key in keys if value[key] is not None])
    return choice_texts(value) if isinstance(value, (list, tuple)) else []


def choice_texts(values: Iterable[object]) -> list[str]:
    """Convert texts and numbers to texts; raises `Dropped` for any other choice (null, a list, NaN)."""
    values = list(values)
    for value in values:
        if not isinstance(value, (str, int, float)) or value != value:
            raise Dropped("a choice is no text", f"{value!r} of {values}")
    return [as_text(value) for value in values]


def clip_names(row: dict) -> tuple[str, ...]:
    """All names of the clip in a row, paths first; a list of one counts as its item."""
    names = []
    for key in CLIP_KEYS:
        value = row.get(key)
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        if isinstance(value, (str, int)) and not isinstance(value, bool) and str(value).strip():
            names.append(str(value))
    return tuple(dict.fromkeys(names))


def as_literal(value: object) -> object:
    """The value of a CSV cell: JSON, else a Python literal, else the text itself."""
    if not isinstance(value, str):
        return value
    for parse in (json.loads, ast.literal_eval):
        try:
            return parse(value)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return value


def kept(row: dict, *keys: str) -> dict:
    """The values of these keys that a row has."""
    return {key: row[key] for key in keys if row.get(key) is not None}


def row_id(row: dict, key: str = "id") -> str | None:
    """The row's id as a text; None without one."""
    value = row.get(key)
    return None if value is None or value == "" or value != value else as_text(value)  # NaN: a gap in the column


def thought_of(row: dict) -> str | None:
    """The chain of thought, under any of its names; the text inside its tags where it has them."""
    names = [*THOUGHT_KEYS, *sorted(key for key in row if str(key).lower().endswith("cot"))]
    thought = next((row[name] for name in names if isinstance(row.get(name), str)), None)
    return None if thought is None else thought_in(thought)


def thought_in(text: str) -> str:
    """The thought of a text: what is inside its tags where it has them."""
    response = parse_response(text)
    return response.think if response.think is not None else text.strip()
