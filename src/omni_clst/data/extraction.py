"""Extract the choice that a free text names: the third rule of scores, beside the official and the strict one.

The strict rule wants the answer and nothing else. This one also reads "I think it is the dog." and "The answer is (B)", and
is stricter than a guess: a text that names no choice, or several, names none.
"""

import re
import unicodedata
from collections.abc import Iterable

from .matching import LETTER_MARK, fold, letter_index, strict_choice, strict_correct

_CAPITALS = (
    rf"(?<!\w){LETTER_MARK}(?!\w)",  # B. B) (B) [B]
    r"(?<!\w)[*_`\"'“]+(?P<letter>[A-Z])[*_`\"'”]+(?!\w)",  # **B** "B"
    r"(?i:\b(?:answer|option|choice)(?:\s+is)?)\s*:?\s*(?P<letter>[B-Z])(?!\w)",  # the answer is B
    r"(?i:\b(?:option|choice)(?:\s+is)?)\s*:?\s*(?P<letter>A)(?!\w)",
    r"(?i:\banswer(?:\s+is)?)\s*:?\s*(?P<letter>A)(?!\w)(?!\s+(?!because\b|since\b|as\b)\w)",  # not: Answer: A dog
)
_AT_THE_END = r"(?i:\A|\b(?:answer|option|choice)(?:\s+is)?\s*:?)\s*\(?(?P<letter>[A-Za-z])[.)]*\s*\Z"  # b, answer: b


def extracted_choice(text: str | None, choices: Iterable[str]) -> str | None:
    """The one choice that a text names by its text or its letter; None if it names none or several.

    A choice inside a longer one that the text names ("guitar" in "bass guitar") is not named by it. A letter counts only
    where it is marked as one, so that "A dog" is not choice A.
    """
    if not isinstance(text, str):
        return None
    choices = list(choices)
    strict = strict_choice(text, choices)
    if strict is not None:
        return strict
    named = {fold(choice): choice for choice in _named_by_text(fold(text), choices)}
    named |= {fold(choice): choice for choice in _named_by_letter(unicodedata.normalize("NFKC", text), choices)}
    return next(iter(named.values())) if len(named) == 1 else None


def extracted_correct(text: str | None, answer: str | None, choices: Iterable[str]) -> bool:
    """True if the text names exactly one choice and it is the answer; whatever is strictly right is right here too."""
    if answer is None:
        return False
    choices = list(choices)
    named = extracted_choice(text, choices if answer in choices else [*choices, answer])
    return strict_correct(text, answer, choices) or (named is not None and fold(named) == fold(answer))


def _named_by_text(text: str, choices: list[str]) -> list[str]:
    """Choices that occur in a folded text as whole words, longer ones first, each part of the text used once."""
    named = []
    for choice in sorted(choices, key=lambda choice: len(fold(choice)), reverse=True):
        pattern = _whole_words(fold(choice))
        if pattern and re.search(pattern, text):
            named.append(choice)
            text = re.sub(pattern, "\0", text)
    return named


def _whole_words(words: str) -> str:
    """A pattern for words that are no part of longer ones; scripts without spaces between words have no such edges."""
    if not words:
        return ""
    before = r"(?<!\w)" if _has_word_edge(words[0]) else ""
    after = r"(?!\w)" if _has_word_edge(words[-1]) else ""
    return before + re.escape(words) + after


def _has_word_edge(sign: str) -> bool:
    return (sign.isalnum() or sign == "_") and unicodedata.east_asian_width(sign) not in ("W", "F")


def _named_by_letter(text: str, choices: list[str]) -> list[str]:
    matches = [match for pattern in _CAPITALS for match in re.finditer(pattern, text) if match["letter"].isupper()]
    matches += re.finditer(_AT_THE_END, text)
    places = {letter_index(match["letter"]) for match in matches}
    return [choices[place] for place in sorted(places) if place < len(choices)]
