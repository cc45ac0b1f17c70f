"""Foreign layouts -> `AudioQASample`: the only module that knows them.

A layout is a pair in `LAYOUTS`: the keys that give it away, and a converter. Adding one is adding a pair.
"""

import ast
import re
from collections.abc import Callable

from .errors import InputError
from .response import parse_response
from .samples import AudioQASample, make_sample_id, sample_from_row

# `A. x`, `A) x`, `(A) x`, `A: x`, at the start of a line or behind white space
_LETTERED = re.compile(r"(?:(?<=\s)|^)\(?([A-H])[.):]\)?\s+(.+?)(?=\s+\(?[B-H][.):]\)?\s|\s*\n|\s*$)", re.MULTILINE)
_LIST_LITERAL = re.compile(r"\[\s*(?:'[^\n]*'|\"[^\n]*\")\s*\]")


def convert_row(row: dict) -> AudioQASample:
    """Turn a row of any known layout into a sample; raises `InputError` naming the value, or the keys of an unknown one.

    `audio_path` stays as the row has it.
    """
    for keys, convert in LAYOUTS:
        if keys <= row.keys():
            return convert(row)
    raise InputError(f"unknown layout with the keys {sorted(row)}")


def strip_letter(text: str, choices: tuple[str, ...]) -> str:
    """`B. dog` -> `dog` where dog is choice B and `B. dog` is no choice itself; anything else stays."""
    match = re.fullmatch(r"\s*\(?([A-Za-z])[.):]\)?\s*(.+?)\s*", text, re.DOTALL)
    if match is None or text in choices:
        return text
    index = ord(match[1].upper()) - ord("A")
    return choices[index] if index < len(choices) and choices[index].strip() == match[2] else text


def _from_published_clst(row: dict) -> AudioQASample:
    """`CLST_15k.jsonl` as published: question_text, multi_choice, answer, think."""
    renamed = {"question_text": "question", "multi_choice": "choices"}
    own = {renamed.get(key, key): value for key, value in row.items()}
    return sample_from_row({"source": "published_clst"} | own)


def _from_published_sft(row: dict) -> AudioQASample:
    """The published SFT files (ms-swift): the user's text verbatim as prompt, thought and answer from the tags."""
    turns = {turn.get("role"): turn.get("content") for turn in row["messages"] if isinstance(turn, dict)}
    user, assistant = turns.get("user"), turns.get("assistant")
    if not isinstance(user, str) or not isinstance(assistant, str):
        raise InputError(f"messages {row['messages']!r} do not hold a user's and an assistant's text")
    if not isinstance(row["audios"], list) or len(row["audios"]) != 1 or not isinstance(row["audios"][0], str):
        raise InputError(f"audios {row['audios']!r} is not a list of one path")
    prompt = user.replace("<audio>", "", 1).strip()
    response = parse_response(assistant)
    if response.answer is None:
        raise InputError(f"assistant text {assistant[:80]!r} has no <answer>")
    choices = choices_in_text(prompt)
    return AudioQASample(
        id=row.get("id") or make_sample_id(row["audios"][0], prompt, choices),
        audio_path=row["audios"][0],
        question=prompt,
        choices=choices,
        answer=strip_letter(response.answer, choices),
        think=response.think,
        source="published_sft",
        prompt=prompt,
        extra={key: value for key, value in row.items() if key not in ("messages", "audios", "id")},
    )


def choices_in_text(text: str) -> tuple[str, ...]:
    """Choices that stand in a text as a list literal or as lettered items from A on; () where there are none."""
    for match in _LIST_LITERAL.finditer(text):
        try:
            value = ast.literal_eval(match[0])
        except (ValueError, SyntaxError):
            continue
        if len(value) > 1 and all(isinstance(choice, str) for choice in value):
            return tuple(value)
    items = _LETTERED.findall(text)
    letters = "".join(letter for letter, _ in items)
    if len(items) > 1 and "ABCDEFGH".startswith(letters):
        return tuple(choice.strip() for _, choice in items)
    return ()


def _from_mmau(row: dict) -> AudioQASample:
    """MMAU's metadata; 13 rows of mini have their category as a list."""
    category = row.get("category")
    fixed = {**row, "audio_path": row["audio_id"], "source": row.get("dataset") or "mmau"}
    if isinstance(category, list):
        fixed["category"] = ", ".join(map(str, category))
    return _benchmark_sample(fixed)


def _from_mmar(row: dict) -> AudioQASample:
    """MMAR's metadata, with or without the thinking, cue and rubric of the newer file."""
    return _benchmark_sample({**row, "source": row.get("source") or "mmar"})


def _benchmark_sample(row: dict) -> AudioQASample:
    """A benchmark's row as lenient as can be: odd values become texts, nothing is dropped (benchmarks.py flags them)."""
    choices = tuple(str(choice) for choice in row.get("choices") or ())
    own = {"id", "audio_path", "question", "choices", "answer", "source"}
    return AudioQASample(
        id=str(row["id"]),
        audio_path=str(row["audio_path"]),
        question=str(row.get("question") or ""),
        choices=choices,
        answer=None if row.get("answer") is None else str(row["answer"]),
        source=str(row["source"]),
        extra={key: value for key, value in row.items() if key not in own},
    )


LAYOUTS: list[tuple[set[str], Callable[[dict], AudioQASample]]] = [
    ({"messages", "audios"}, _from_published_sft),
    ({"question_text", "multi_choice", "audio_path"}, _from_published_clst),
    ({"id", "audio_id", "question", "choices"}, _from_mmau),
    ({"id", "audio_path", "question", "choices", "modality"}, _from_mmar),
    ({"audio_path", "question", "choices"}, sample_from_row),
]
