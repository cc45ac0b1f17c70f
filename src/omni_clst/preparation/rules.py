"""The rules that rows meet before anything is heard, counted one by one, and those of them that all sources share.

`apply_rules` mends a `Draft` in place and notes every rule that changed or flagged it, or raises `Dropped` with the rule
that ended it.
"""

import re
from dataclasses import dataclass, field

from ..matching import bare_letter, split_letter
from ..sources import strip_letter

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
MIN_THOUGHT_WORDS = 3
_NO_THOUGHT = {"none", "null", "nan", "n/a", "na", "-", "..."}
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
    if (place := bare_letter(text)) is not None:
        return _Answer(choices[place], had_letter=True) if place < len(choices) else _Answer("")
    bare = strip_letter(text, tuple(choices))
    return _Answer(bare, had_letter=bare != text)


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
