"""The rules that rows and clips are checked by, in their order, and the implementation of those that all sources share.

`apply_rules` corrects a `Draft` in place and notes every rule that changed or flagged it, or raises `Dropped`.
"""

import math
import re
from dataclasses import dataclass, field

from ..data.layouts import strip_letter
from ..data.matching import bare_letter, split_letter
from ..data.samples import as_text

DROPPED, CHANGED, FLAGGED = "dropped", "changed", "flagged"
RULES = {  # rule -> its effect on a row, in the order in which they are checked
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
# Not in "video game", which is a source of sound.
_VIDEO = re.compile(r"\b(v)ideo(?:[ -](?:clip|recording))?(s?)\b(?!\s*-?\s*gam(?:e|er|es|ers|ing)\b)", re.IGNORECASE)


class Dropped(Exception):
    """A row is dropped: the rule, and the value that it applied to."""

    def __init__(self, rule: str, value: object = ""):
        super().__init__(f"{rule}: {value}")
        self.rule = rule
        self.value = str(value)[:120]


@dataclass
class Draft:
    """A row as read by its source's reader, before the rules that all sources share."""

    clip_names: tuple[str, ...]  # all names of the clip in the row, paths first
    question: str
    choices: list[str]
    answer: object  # text, number, letter, or index of a choice
    think: str | None
    row_id: str | None
    extra: dict = field(default_factory=dict)
    prompt: str | None = None
    level: str = "unknown"
    source: str | None = None  # what the row says of its origin
    answers_by_index: bool = False  # a number is an index, even if it equals a choice
    place_is_usual: bool = False  # the source gives answers by letter or index, and letters choices: no change to report
    notes: list[tuple[str, str]] = field(default_factory=list)


def apply_rules(draft: Draft) -> None:
    """Correct a draft in place and note the rules that applied; raises `Dropped`."""
    for text in (draft.question, *draft.choices, str(draft.answer), draft.think or ""):
        if token := _SPECIAL_TOKEN.search(text):
            raise Dropped("holds a special token", token[0])
    _clean_choices(draft)
    _clean_thought(draft)
    if draft.prompt is None:
        _replace_video(draft)


def _clean_choices(draft: Draft) -> None:
    """Remove letters, empty and repeated choices; make the answer the text of one of them. Raises `Dropped`."""
    choices, had_letters = _without_letters(draft.choices)
    answer = _answer_text(draft, choices)
    if (had_letters or answer.had_letter) and not draft.place_is_usual:
        shown = draft.choices[0] if had_letters else str(draft.answer)
        draft.notes.append(("letters in front of choices or answer", shown[:60]))
    if answer.by_index and not draft.place_is_usual:
        draft.notes.append(("answer given by its place", str(draft.answer)))
    kept = [choice for choice in choices if choice]
    if len(kept) < len(choices):
        draft.notes.append(("an empty choice", str(draft.choices)[:60]))
    distinct = list(dict.fromkeys(kept))
    if len(distinct) < len(kept):
        draft.notes.append(("a choice twice", str(draft.choices)[:60]))
    free_text = draft.prompt is not None and not distinct  # choices are part of the prompt and were not recognised
    if len(distinct) < 2 and not free_text:
        raise Dropped("fewer than two choices", draft.choices)
    if not answer.text or (answer.text not in distinct and not free_text):
        raise Dropped("answer is no choice", f"{draft.answer!r} of {distinct}")
    draft.choices, draft.answer = distinct, answer.text


def _without_letters(choices: list[str]) -> tuple[list[str], bool]:
    """Stripped choices, without letters if every choice has the letter of its position (A. x, B. y)."""
    stripped = [choice.strip() for choice in choices]
    lettered = [split_letter(choice) for choice in stripped]
    texts = [item[1] for index, item in enumerate(lettered) if item is not None and item[0] == index]
    if len(stripped) > 1 and len(texts) == len(stripped):
        return texts, True
    return stripped, False


@dataclass(frozen=True)
class _Answer:
    text: str
    had_letter: bool = False
    by_index: bool = False


def _answer_text(draft: Draft, choices: list[str]) -> _Answer:
    """The answer's text, from a text, a text with its letter, a letter, or an index counted from 0."""
    value = draft.answer
    if value is None or (isinstance(value, bool) and draft.answers_by_index):
        return _Answer("")
    number = _number(value)
    if number is not None:
        return _numbered_answer(draft, choices, number)
    if str(value).strip() in choices:
        return _Answer(str(value).strip())
    text = str(value).strip()
    if text in draft.choices:  # as the choice is in the row, with its letter
        return _Answer(choices[draft.choices.index(text)], had_letter=True)
    if (index := bare_letter(text)) is not None:
        return _Answer(choices[index], had_letter=True) if index < len(choices) else _Answer("")
    bare = strip_letter(text, tuple(choices))
    return _Answer(bare, had_letter=bare != text)


def _numbered_answer(draft: Draft, choices: list[str], number: float) -> _Answer:
    """The answer's text from a number: an index if `answers_by_index`; else the choice with that text or that value.

    If no choice is a number, it is an index too.
    """
    text = as_text(draft.answer).strip()
    if not draft.answers_by_index:
        if text in choices or not choices:  # none: they are part of the prompt
            return _Answer(text)
        numbers = [_number(choice) for choice in choices]
        if numbers.count(number) == 1:
            return _Answer(choices[numbers.index(number)])
        if any(value is not None for value in numbers):
            return _Answer("")
    if number.is_integer() and 0 <= number < len(choices):
        return _Answer(choices[int(number)], by_index=True)
    return _Answer("")


def is_place(value: object, choices: list[str]) -> bool:
    """True for a whole number that is no choice, neither by its text nor by its value."""
    number = _number(value)
    if number is None or not number.is_integer():
        return False
    return as_text(value).strip() not in choices and number not in map(_number, choices)


def _number(value: object) -> float | None:
    """The value of a number or of its text (`2`, `2.0`); None for any other value."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    if isinstance(value, str) and not _WRITTEN_NUMBER.fullmatch(value):
        return None
    number = float(value)
    return number if math.isfinite(number) else None


def _clean_thought(draft: Draft) -> None:
    """Remove a thought that is too short or contains an answer tag; an empty one counts as dropped before and stays."""
    if draft.think is None or draft.think.strip().lower() in _NO_THOUGHT:
        draft.notes.append(("no thought", str(draft.think)))
        draft.think = None
        return
    thought = draft.think.strip()
    if thought and (len(thought.split()) < MIN_THOUGHT_WORDS or re.search(r"</?(?:think|answer)>", thought, re.I)):
        draft.notes.append(("thought is not usable", thought[:60]))
        thought = None
    draft.think = thought


def _replace_video(draft: Draft) -> None:
    """Replace "video" in the question by "recording"."""
    question = _VIDEO.sub(lambda match: ("R" if match[1] == "V" else "r") + "ecording" + match[2], draft.question)
    if question != draft.question:
        draft.notes.append(("says video", draft.question[:80]))
        draft.question = question
