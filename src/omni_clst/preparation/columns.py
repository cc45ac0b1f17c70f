"""A user's own table: which of its columns hold question, choices, answer, thought and clip.

Columns are given (`--columns "question: frage, choices: [a, b, c], answer: loesung, audio: datei"`), or guessed where their
names are plain. Every column that is not named stays in the sample as a field of its own.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from ..data.samples import LEVELS
from ..errors import InputError
from .cells import CLIP_KEYS, THOUGHT_KEYS, by_letter, choice_texts, row_id, thought_in
from .rules import Draft, Dropped, is_place

OWN = "samples"  # the name of this source
EXAMPLE = "question: COLUMN, choices: [COLUMN, COLUMN, ...], answer: COLUMN, think: COLUMN, audio: COLUMN"
NAMES = {
    "question": ("question", "question_text", "query"),
    "choices": ("choices", "options", "multi_choice"),
    "answer": ("answer", "answer_letter", "answer_text", "correct_answer", "correct_option", "correct", "label", "gold"),
    "audio": (*CLIP_KEYS, "file", "clip", "sound", "recording"),
    "think": (*THOUGHT_KEYS, "rationale", "explanation"),
    "id": ("id", "question_id", "qid"),
    "source": ("source", "dataset"),
    "level": ("level",),
    "prompt": ("prompt",),
}
NEEDED = ("question", "choices", "answer")
_ONE_CHOICE = re.compile(r"(?:option|choice|opt|answer)_?([a-j]|\d\d?)|([a-j])")


@dataclass(frozen=True)
class Columns:
    """The columns of a table by what they hold; `choices` are one column or one per choice, in their order.

    `first_choice` is the number of the first choice where answers are numbers, None where that is not known.
    """

    of: dict[str, str | tuple[str, ...]]
    first_choice: int | None = None

    def describe(self) -> str:
        """The columns as the setting `columns` takes them."""
        shown = {name: column if isinstance(column, str) else f"[{', '.join(column)}]" for name, column in self.of.items()}
        return ", ".join(f"{name}: {column}" for name, column in shown.items())

    def draft(self, row: dict) -> Draft:
        """A row's draft; raises `Dropped` for a row without a question, a choice or an answer, and `InputError` for a
        number as answer that may be counted from 0 or from 1."""
        question, choices = self._text(row, "question"), self._choices(row)
        return Draft(
            clip_names=self._clip_names(row),
            question=question,
            choices=choices,
            answer=self._answer(row, choices),
            think=self._thought(row),
            row_id=row_id(row, self._column("id")),
            extra=self._rest(row),
            prompt=self._optional(row, "prompt"),
            level=self._optional(row, "level") or "unknown",
            source=self._optional(row, "source"),
            place_is_usual=True,
        )

    def _column(self, name: str) -> str:
        column = self.of.get(name, "")
        assert isinstance(column, str)
        return column

    def _optional(self, row: dict, name: str) -> str | None:
        value = row.get(self._column(name))
        if name == "level" and value not in LEVELS:
            return None
        return value if isinstance(value, str) and value.strip() else None

    def _text(self, row: dict, name: str) -> str:
        value = row.get(self._column(name))
        if not isinstance(value, str) or not value.strip():
            raise Dropped("is incomplete", f"{self._column(name)} {value!r}")
        return value

    def _choices(self, row: dict) -> list[str]:
        columns = self.of["choices"]
        if isinstance(columns, str):
            return _listed(row.get(columns), columns)
        values = [row.get(column) for column in columns]
        while values and (values[-1] is None or not str(values[-1]).strip() or values[-1] != values[-1]):
            values.pop()  # a question with fewer choices than the table has columns
        return choice_texts("" if value is None else value for value in values)

    def _answer(self, row: dict, choices: list[str]) -> object:
        """The answer as it is, or for a number the choice at that place; raises `Dropped` for a place without a choice."""
        value = row.get(self._column("answer"))
        if value is None or value != value or not is_place(value, choices):
            return value
        if self.first_choice is None:
            raise InputError(
                f"answer {value} is the place of a choice, counted from 0 or from 1: --first_choice 0 or 1 says which"
            )
        place = int(float(str(value))) - self.first_choice
        if not 0 <= place < len(choices):
            raise Dropped("answer is no choice", f"{value}, counted from {self.first_choice}, of {choices}")
        return choices[place]

    def _thought(self, row: dict) -> str | None:
        value = self._optional(row, "think")
        if value is None and isinstance(row.get(self._column("think")), str) and self._column("think") == "think":
            return ""  # in the project's own format: dropped before
        return None if value is None else thought_in(value)

    def _clip_names(self, row: dict) -> tuple[str, ...]:
        value = row.get(self._column("audio"))
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        return (str(value),) if isinstance(value, (str, int)) and str(value).strip() else ()

    def _rest(self, row: dict) -> dict:
        named = {name for column in self.of.values() for name in ((column,) if isinstance(column, str) else column)}
        return {key: value for key, value in row.items() if key not in named and value not in (None, "")}


def _listed(value: object, column: str) -> list[str]:
    """Choices in one cell: a list, its JSON or Python text, a mapping by letter, or texts between | or line breaks."""
    choices = by_letter(value)
    if not choices and isinstance(value, str):
        choices = [part for part in re.split(r"[|\n]|;\s", value) if part.strip()]
    if not choices:
        raise Dropped("is incomplete", f"{column} {str(value)[:60]!r}")
    return choices


def choose_columns(keys: Iterable[str], given: dict[str, str | list[str]], first_choice: int | None, place: str) -> Columns:
    """The columns of a table with these keys: those that are given, the others guessed from their names.

    Raises `InputError` with `place` for a column that the table does not have, and for needed ones that cannot be guessed.
    """
    keys = list(keys)
    given = {name: _existing(name, columns, keys, place) for name, columns in given.items()}
    taken = {column for columns in given.values() for column in ([columns] if isinstance(columns, str) else columns)}
    others = [key for key in keys if key not in taken]  # a column that is given for one thing is guessed for no other
    of: dict[str, str | tuple[str, ...]] = {}
    for name in NAMES:
        column = given.get(name) or _guess(name, others)
        if column:
            of[name] = column if isinstance(column, str) else tuple(column)
    missing = [name for name in NEEDED if name not in of]
    if missing:
        raise InputError(
            f'{place}: no column for {" and ".join(missing)} among {", ".join(keys)}; name them: --columns "{EXAMPLE}"'
        )
    return Columns(of, first_choice)


def _existing(name: str, columns: str | list[str], keys: list[str], place: str) -> str | list[str]:
    """The columns that are given for `name`, as the table writes them; spaces around a name do not count."""
    if name not in NAMES:
        raise InputError(f"columns: {name!r} is not one of {', '.join(NAMES)}")
    if isinstance(columns, list):
        if name != "choices":
            raise InputError(f"columns: {name} is in one column, not in {len(columns)}; only choices may be in several")
        return [str(_existing(name, column, keys, place)) for column in columns]
    if columns in keys:
        return columns
    column = next((key for key in keys if key.strip() == columns), None)
    if column is None:
        raise InputError(f"{place}: has no column {columns!r}; it has {', '.join(keys)}")
    return column


def _guess(name: str, keys: list[str]) -> str | list[str] | None:
    plain = {re.sub(r"\W+", "_", key.strip().lower()): key for key in keys}
    for candidate in NAMES[name]:
        if candidate in plain:
            return plain[candidate]
    if name != "choices":
        return None
    matches = [(match[1] or match[2], key) for text, key in plain.items() if (match := _ONE_CHOICE.fullmatch(text))]
    ordered = [key for mark, key in sorted(matches, key=lambda item: (len(item[0]), item[0]))]
    return ordered if len(ordered) > 1 else None
