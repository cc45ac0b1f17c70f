"""The rules that rows meet before any clip is decoded, counted one by one, and those of them that all sources share.

`apply_rules` mends a `Draft` in place and notes every rule that changed or flagged it, or raises `Dropped` with the rule
that ended it.
"""

import math
import re
from dataclasses import dataclass, field

from ..data.layouts import strip_letter
from ..data.matching import bare_letter, split_letter
from ..data.samples import as_text

DROPPED, CHANGED, FLAGGED = "dropped", "changed", "flagged"
RULES = {  # rule: what it does to a row, in the order in which rows meet them
    "is incomplete": DROPPED,
    "a choice is no text": DROPPED,
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
    "clip is a part of another, or holds it": FLAGGED,
    "clip is in a benchmark": DROPPED,
    "clip shares sound with a benchmark": FLAGGED,
    "question is in a benchmark": DROPPED,
}
RULE_OF_CLIP_ERROR = {
    "missing": "no clip",
    "unreadable": "clip is not readable",
    "not finite": "clip holds values that are not finite",
    "too short": "clip is too short",
}
MIN_THOUGHT_WORDS = 3
_NO_THOUGHT = {"none", "null", "nan", "n/a", "na", "-", "..."}
_WRITTEN_NUMBER = re.compile(r"\s*[+-]?\d{1,15}(?:\.\d{1,15})?\s*")
_SPECIAL_TOKEN = re.compile(r"<\|[^|\s<>]+\|>|</?tool_(?:call|response)>")
# A video that is watched; "video game" is a sound's source.
_VIDEO = re.compile(r"\b(v)ideo(?:[ -](?:clip|recording))?(s?)\b(?!\s*-?\s*gam(?:e|er|es|ers|ing)\b)", re.IGNORECASE)


class Dropped(Exception):
    """A row that ends here: by which rule, and the value that it fell to."""

    def __init__(self, rule: str, value: object = ""):
        super().__init__(f"{rule}: {value}")
        self.rule = rule
        self.value = str(value)[:120]


@dataclass
class Draft:
    """A row on its way: what the source's own reading makes of it, before the rules that all sources share."""

    clip_names: tuple[str, ...]  # every name of the clip that the row offers, a path first
    question: str
    choices: list[str]
    answer: object  # text, number, letter, or place among the choices
    think: str | None
    row_id: str | None
    extra: dict = field(default_factory=dict)
    prompt: str | None = None
    level: str = "unknown"
    answers_by_place: bool = False  # a number is a place, also where a choice reads the same
    notes: list[tuple[str, str]] = field(default_factory=list)


def apply_rules(draft: Draft) -> None:
    """Mend a draft in place and note what was done; raises `Dropped`."""
    for text in (draft.question, *draft.choices, str(draft.answer), draft.think or ""):
        if token := _SPECIAL_TOKEN.search(text):
            raise Dropped("holds a special token", token[0])
    _clean_choices(draft)
    _clean_thought(draft)
    if draft.prompt is None:
        _hear_instead_of_watching(draft)


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
    lettered = [split_letter(choice) for choice in stripped]
    if len(stripped) > 1 and all(item is not None and item[0] == place for place, item in enumerate(lettered)):
        return [text for _, text in lettered], True
    return stripped, False


@dataclass(frozen=True)
class _Answer:
    text: str
    had_letter: bool = False
    by_place: bool = False


def _answer_text(draft: Draft, choices: list[str]) -> _Answer:
    """The answer's text, from a text, a text with its letter, a letter, or a place counted from 0."""
    value = draft.answer
    if value is None or (isinstance(value, bool) and draft.answers_by_place):
        return _Answer("")
    number = _number(value)
    if number is not None:
        return _numbered_answer(draft, choices, number)
    if str(value).strip() in choices:
        return _Answer(str(value).strip())
    text = str(value).strip()
    if text in draft.choices:  # written as the choice was, letter included
        return _Answer(choices[draft.choices.index(text)], had_letter=True)
    if (place := bare_letter(text)) is not None:
        return _Answer(choices[place], had_letter=True) if place < len(choices) else _Answer("")
    bare = strip_letter(text, tuple(choices))
    return _Answer(bare, had_letter=bare != text)


def _numbered_answer(draft: Draft, choices: list[str], number: float) -> _Answer:
    """A number as answer: a place where the source counts so; else the choice that reads so, or that is that number.

    Among choices without any number it can only be a place.
    """
    text = as_text(draft.answer).strip()
    if not draft.answers_by_place:
        if text in choices or not choices:  # none: a wording that nobody reads
            return _Answer(text)
        numbers = [_number(choice) for choice in choices]
        if numbers.count(number) == 1:
            return _Answer(choices[numbers.index(number)])
        if any(value is not None for value in numbers):
            return _Answer("")
    if number.is_integer() and 0 <= number < len(choices):
        return _Answer(choices[int(number)], by_place=True)
    return _Answer("")


def _number(value: object) -> float | None:
    """The value of a number, or of a text that is one as programs write it (`2`, `2.0`)."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    if isinstance(value, str) and not _WRITTEN_NUMBER.fullmatch(value):
        return None
    number = float(value)
    return number if math.isfinite(number) else None


def _clean_thought(draft: Draft) -> None:
    """A thought that says nothing or holds a tag of the answer's form is no thought; an empty one was dropped before."""
    if draft.think is None or draft.think.strip().lower() in _NO_THOUGHT:
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
