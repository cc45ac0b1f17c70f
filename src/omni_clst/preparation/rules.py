"""What becomes of a row before anything is heard: foreign rows -> samples, by rules that are counted one by one.

`convert` takes a row of one of the `SOURCES` and returns a `Candidate` that notes every rule that changed or flagged it,
or raises `Dropped` with the rule that ended it. Everything here is a pure function of the row.
"""

import ast
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from ..errors import InputError
from ..response import parse_response
from ..samples import AudioQASample
from ..sources import choices_in_text, convert_row, strip_letter

DROPPED, CHANGED, FLAGGED = "dropped", "changed", "flagged"
RULES = {  # rule: what it does to a row, in the order in which rows meet them
    "is incomplete": DROPPED,
    "asks for what can only be seen": DROPPED,
    "asks for a colour": DROPPED,
    "holds a special token": DROPPED,
    "answer given by its place": CHANGED,
    "letters in front of choices or answer": CHANGED,
    "an empty choice": CHANGED,
    "a choice twice": CHANGED,
    "fewer than two choices": DROPPED,
    "answer is no choice": DROPPED,
    "says video": CHANGED,
    "no thought": FLAGGED,
    "thought is not usable": CHANGED,
    "no clip": DROPPED,
    "clip is not readable": DROPPED,
    "clip holds values that are not finite": DROPPED,
    "clip is too short": DROPPED,
    "clip is too long": DROPPED,
    "clip is silent": DROPPED,
    "the same question about the same clip": DROPPED,
    "the same clip under two names": CHANGED,
    "clip is in a benchmark": DROPPED,
    "question is in a benchmark": DROPPED,
}
THOUGHT_KEYS = ("think", "thinking", "thought", "cot", "chain_of_thought", "gemini_cot", "structured_cot", "reasoning")
MIN_THOUGHT_WORDS = 3
_NO_THOUGHT = {"", "none", "null", "nan", "n/a", "na", "-", "..."}
_SPECIAL_TOKEN = re.compile(r"<\|[^|\s<>]+\|>")
_COLOUR_ASKED = re.compile(r"\bcolou?rs?\b", re.IGNORECASE)
_COLOURS = {"black", "white", "red", "green", "blue", "yellow", "brown", "grey", "gray", "orange", "purple", "pink"}
# A video that is watched; "video game" is a sound's source.
_VIDEO = re.compile(r"\b(v)ideo(?:[ -](?:clip|recording))?(s?)\b(?!\s*-?\s*gam(?:e|er|es|ers|ing)\b)", re.IGNORECASE)
_CHOICES_BELOW = re.compile(r"\s*\n\s*(?:choices|options)\s*:?\s*\n.*", re.IGNORECASE | re.DOTALL)


class Dropped(Exception):
    """A row that ends here: by which rule, and the value that it fell to."""

    def __init__(self, rule: str, value: object = ""):
        super().__init__(f"{rule}: {value}")
        self.rule = rule
        self.value = str(value)[:120]


@dataclass(frozen=True)
class Candidate:
    """A sample whose clip is not looked at yet: `audio_path` is what the row names ("" where the clip is embedded).

    `notes` are (rule, value) of every rule that changed or flagged the row.
    """

    sample: AudioQASample
    notes: tuple[tuple[str, str], ...] = ()


@dataclass
class Draft:
    """A row on its way: what the source's own reading makes of it, before the rules that all sources share."""

    audio_path: str
    question: str
    choices: list[str]
    answer: object  # text, letter, or place among the choices
    think: str | None
    row_id: str | None
    extra: dict = field(default_factory=dict)
    prompt: str | None = None
    level: str = "unknown"
    notes: list[tuple[str, str]] = field(default_factory=list)


def convert(source: str, row: dict) -> Candidate:
    """A training row -> a candidate; raises `Dropped`."""
    draft = SOURCES[source](row)
    texts = [draft.question, *draft.choices, str(draft.answer), draft.think or ""]
    for text in texts:
        if token := _SPECIAL_TOKEN.search(text):
            raise Dropped("holds a special token", token[0])
    _clean_choices(draft)
    _clean_thought(draft)
    if draft.prompt is None:
        _hear_instead_of_watching(draft)
    sample = AudioQASample(
        id=f"{source}-{draft.row_id}" if draft.row_id else "",
        audio_path=draft.audio_path,
        question=draft.question.strip(),
        choices=tuple(draft.choices),
        answer=draft.answer,
        think=draft.think,
        source=source,
        prompt=draft.prompt,
        level=draft.level,
        extra=draft.extra,
    )
    return Candidate(sample, tuple(draft.notes))


def convert_benchmark(row: dict, oddities: list[str]) -> Candidate:
    """A benchmark's row -> a candidate; nothing is dropped or changed, every oddity is a rule of its own that flags it."""
    sample = convert_row(row)
    return Candidate(sample, tuple((what, str(list(sample.choices))[:80]) for what in oddities))


# How each source writes a row.


def _read_avqa(row: dict) -> Draft:
    """AVQA's own JSON (`multi_choice`, an index as answer), or the Hub's parquet with the choices inside the question."""
    if str(row.get("question_relation", "")).strip().lower() == "view":
        raise Dropped("asks for what can only be seen", f"question_relation {row['question_relation']!r}")
    name = row.get("video_name") or row.get("audio_path") or row.get("file_name") or ""
    draft = (_read_avqa_json if "multi_choice" in row else _read_lettered)(row, str(name))
    colours = sum(choice.strip().lower() in _COLOURS for choice in draft.choices)
    if _COLOUR_ASKED.search(draft.question) or colours >= 2:
        raise Dropped("asks for a colour", draft.question)
    return draft


def _read_avqa_json(row: dict, name: str) -> Draft:
    kept = ("question_relation", "question_type", "video_id")
    return Draft(
        audio_path=name,
        question=_text(row, "question_text"),
        choices=_texts(row, "multi_choice"),
        answer=row.get("answer"),
        think=_thought(row),
        row_id=_row_id(row),
        extra={key: row[key] for key in kept if row.get(key) is not None},
    )


def _read_lettered(row: dict, name: str) -> Draft:
    """A question with its choices below it, lettered; `choices` beside it may repeat them by letter."""
    text = _text(row, "question")
    choices = _by_letter(row.get("choices"))
    listed = choices_in_text(text)
    if not choices and not listed:
        raise Dropped("is incomplete", f"no choices in {text[:60]!r}")
    kept = ("question_type", "source_dataset", "dataset")
    return Draft(
        audio_path=name,
        question=_CHOICES_BELOW.sub("", text),
        choices=choices or list(listed),
        answer=row.get("answer"),
        think=_thought(row),
        row_id=_row_id(row),
        extra={key: row[key] for key in kept if row.get(key) is not None},
        notes=[("letters in front of choices or answer", text[len(_CHOICES_BELOW.sub("", text)) :].strip()[:60])],
    )


def _read_audsem(row: dict) -> Draft:
    """AudSem's `mc_qa`: `file_name`, the choices lettered in the question and again by letter."""
    return _read_lettered(row, str(row.get("file_name") or row.get("audio_path") or ""))


def _read_audiomcq(row: dict) -> Draft:
    """AudioMCQ: `audio_path`, `choices` as a list, the answer as text or with its letter."""
    kept = ("source_dataset", "question_type")
    return Draft(
        audio_path=str(row.get("audio_path") or row.get("file_name") or ""),
        question=_text(row, "question"),
        choices=_texts(row, "choices"),
        answer=row.get("answer"),
        think=_thought(row),
        row_id=_row_id(row),
        extra={key: row[key] for key in kept if row.get(key) is not None},
    )


def _read_published(row: dict) -> Draft:
    """Both training files of the published code, and our own format."""
    try:
        sample = convert_row(row)
    except InputError as error:
        raise Dropped("is incomplete", error) from None
    return Draft(
        audio_path=sample.audio_path,
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
    """A list of texts, also one written as text (CSV): JSON or a Python literal."""
    value = _literal(row.get(key))
    if isinstance(value, dict):
        value = _by_letter(value)
    if not isinstance(value, (list, tuple)) or not value:
        raise Dropped("is incomplete", f"{key} {str(value)[:60]!r}")
    return [str(choice) for choice in value]


def _by_letter(value: object) -> list[str]:
    """{"A": x, "B": y} or its text -> [x, y]; a list stays one; [] for nothing. The Hub writes absent letters as None."""
    value = _literal(value)
    if isinstance(value, dict):
        return [str(value[letter]) for letter in sorted(value) if value[letter] is not None]
    return [str(choice) for choice in value] if isinstance(value, (list, tuple)) else []


def _literal(value: object) -> object:
    """What a CSV cell says: JSON, else a Python literal, else the text itself."""
    if not isinstance(value, str):
        return value
    for parse in (json.loads, ast.literal_eval):
        try:
            return parse(value)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return value


def _row_id(row: dict) -> str | None:
    return str(row["id"]) if row.get("id") not in (None, "") else None


def _thought(row: dict) -> str | None:
    """The chain of thought, under whatever name; the text inside its tags where it has them."""
    names = [*THOUGHT_KEYS, *sorted(key for key in row if str(key).lower().endswith("cot"))]
    found = next((row[name] for name in names if isinstance(row.get(name), str)), None)
    if found is None:
        return None
    response = parse_response(found)
    return response.think if response.think is not None else found.strip()


# Rules that all sources share.


def _clean_choices(draft: Draft) -> None:
    """Choices without letters, empty and repeated ones; the answer as the text of one of them. Raises `Dropped`."""
    choices, had_letters = _without_letters(draft.choices)
    answer = _answer_text(draft, choices)
    if had_letters or answer.had_letter:
        shown = draft.choices[0] if had_letters else str(draft.answer)
        if not any(rule == "letters in front of choices or answer" for rule, _ in draft.notes):
            draft.notes.append(("letters in front of choices or answer", shown[:60]))
    if answer.by_place:
        draft.notes.append(("answer given by its place", str(draft.answer)))
    kept = [choice for choice in choices if choice]
    if len(kept) < len(choices):
        draft.notes.append(("an empty choice", str(draft.choices)[:60]))
    distinct = list(dict.fromkeys(kept))
    if len(distinct) < len(kept):
        draft.notes.append(("a choice twice", str(draft.choices)[:60]))
    free_text = draft.prompt is not None and not distinct  # choices in a wording that nobody reads
    if len(distinct) < 2 and not free_text:
        raise Dropped("fewer than two choices", draft.choices)
    if not answer.text or (answer.text not in distinct and not free_text):
        raise Dropped("answer is no choice", f"{draft.answer!r} of {distinct}")
    draft.choices, draft.answer = distinct, answer.text


def _without_letters(choices: list[str]) -> tuple[list[str], bool]:
    """Choices stripped; of their letters too where every one carries its own (A. x, B. y)."""
    stripped = [choice.strip() for choice in choices]
    bare = [re.sub(rf"^\(?{chr(ord('A') + place)}[.):]\)?\s*", "", choice) for place, choice in enumerate(stripped)]
    if len(stripped) > 1 and all(old != new for old, new in zip(stripped, bare, strict=True)):
        return [choice.strip() for choice in bare], True
    return stripped, False


@dataclass(frozen=True)
class _Answer:
    text: str
    had_letter: bool = False
    by_place: bool = False


def _answer_text(draft: Draft, choices: list[str]) -> _Answer:
    """The answer's text, from a text, a text with its letter, a letter, or a place counted from 0."""
    value = draft.answer
    if isinstance(value, bool) or value is None:
        return _Answer("")
    if isinstance(value, str) and value.strip() in choices:
        return _Answer(value.strip())
    if isinstance(value, int) or (isinstance(value, str) and re.fullmatch(r"\s*\d+\s*", value)):
        place = int(value)
        return _Answer(choices[place], by_place=True) if 0 <= place < len(choices) else _Answer("")
    text = str(value).strip()
    if text in draft.choices:  # written as the choice was, letter included
        return _Answer(choices[draft.choices.index(text)], had_letter=True)
    if letter := re.fullmatch(r"\(?([A-Z])[.):]?\)?", text):
        place = ord(letter[1]) - ord("A")
        return _Answer(choices[place], had_letter=True) if place < len(choices) else _Answer("")
    bare = strip_letter(text, tuple(choices))
    return _Answer(bare, had_letter=bare != text)


def _clean_thought(draft: Draft) -> None:
    """A thought that says nothing or holds a tag of the answer's form is no thought; an empty one was dropped before."""
    if draft.think is None or draft.think.strip().lower() in _NO_THOUGHT - {""}:
        draft.notes.append(("no thought", str(draft.think)))
        draft.think = None
        return
    thought = draft.think.strip()
    if thought and (len(thought.split()) < MIN_THOUGHT_WORDS or re.search(r"</?(?:think|answer)>", thought, re.I)):
        draft.notes.append(("thought is not usable", thought[:60]))
        thought = None
    draft.think = thought


def _hear_instead_of_watching(draft: Draft) -> None:
    """Say recording for video."""
    question = _VIDEO.sub(lambda found: ("R" if found[1] == "V" else "r") + "ecording" + found[2], draft.question)
    if question != draft.question:
        draft.notes.append(("says video", draft.question[:80]))
        draft.question = question
