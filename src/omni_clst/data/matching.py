"""Find the choice that a text names: the strict rule of rewards, answers and scores, and MMAU's and MMAR's official rule.

Models write a choice in many forms: `Dog.`, `**dog**`, `「dog」`, `- dog`, `B. dog`, `B、dog`, `[B] dog`. None of that
changes which choice is meant, so all of it is ignored, unless two choices differ by nothing else.
"""

import re
import unicodedata
from collections.abc import Iterable

# The letter in front of a choice: A. A) A: A、 (A) [A] 【A】, in ASCII, CJK or full width.
LETTER_MARK = r"(?P<before>[(\[（［【]?)(?P<letter>[A-Za-z])\s*(?P<after>[.):]\)?|[、。．：）\]］】])"
_LETTERED = re.compile(rf"[\s\-–—•*_#>]*?{LETTER_MARK}\s*(?P<text>.*)", re.DOTALL)
_EDGES = " \t\r\n.,;:!?\"'`“”‘’()[]{}<>*_"
_OPENING_QUOTES = " \"'“‘„«「『《〈"
_BULLET = re.compile(r"^(?:[-–—*+>#]+\s|[•·‣◦▪●○■□◆◇]\s*)+")
_EMPHASIS = re.compile(r"\*+|_{2,}|`+")
_TO_ASCII = str.maketrans(
    {sign: "'" for sign in "’‘‚‛′´`"}
    | {sign: '"' for sign in "”“„‟″«»「」『』《》〈〉"}
    | {sign: "-" for sign in "‐‑‒–—−"}
    | {"。": ".", "、": ",", "،": ",", "؛": ";", "؟": "?", "।": "."}
)


def fold(text: str) -> str:
    """The text without differences of case, Unicode form (full and half width too) and white space."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def normalise(text: str) -> str:
    """As `fold`, without the punctuation around the text."""
    return fold(text).strip(_EDGES)


def strip_markup(text: str) -> str:
    """As `normalise`, also without bullets, emphasis, invisible characters and the brackets of any script around the
    text; quotes, dashes and commas of all scripts become ASCII."""
    visible = "".join(sign for sign in text if unicodedata.category(sign) != "Cf")
    signs = _EMPHASIS.sub("", _BULLET.sub("", fold(visible))).translate(_TO_ASCII)
    spaced = re.sub(r"\s*([,;])\s*", r"\1 ", signs)
    start, end = 0, len(spaced)
    while start < end and _is_edge(spaced[start]):
        start += 1
    while end > start and _is_edge(spaced[end - 1]):
        end -= 1
    return spaced[start:end]


def _is_edge(sign: str) -> bool:
    return sign in _EDGES or unicodedata.category(sign) in ("Ps", "Pe", "Pi", "Pf")


def split_letter(text: str) -> tuple[int, str] | None:
    """The index and the text of a lettered choice: (1, "dog") for `B. dog`; None without a letter in front."""
    match = _LETTERED.fullmatch(text.strip())
    return (letter_index(match["letter"]), match["text"].strip()) if match else None


def bare_letter(text: str) -> int | None:
    """The index that a letter alone names, with or without its mark: 1 for `B` and `(B)`; None for any other text."""
    match = re.fullmatch(rf"(?P<alone>[A-Za-z])|{LETTER_MARK}", text.strip())
    return letter_index(match["alone"] or match["letter"]) if match else None


def letter_index(letter: str) -> int:
    """0 for A or a, 1 for B, ..."""
    return ord(letter.upper()) - ord("A")


def strict_choice(prediction: str | None, choices: Iterable[str]) -> str | None:
    """The one choice that a prediction names, None if it names none.

    Compared by equality after `fold`, else after `normalise`, else after `strip_markup`; the first of these under which
    any choice is equal decides, so punctuation counts where choices differ by it, as in "<5" and ">5", "C" and "C#", "-1"
    and "1". A letter in front is removed only where it is the letter of that choice; a bare letter names nothing, unless a
    choice is that letter. Choices that are equal after `fold` (27 rows of MMAU-mini repeat one) are one choice.
    """
    if not isinstance(prediction, str):
        return None
    choices = list(choices)
    named = _equal_choice(prediction, choices)
    lettered = split_letter(unicodedata.normalize("NFKC", prediction).lstrip(_OPENING_QUOTES))
    if named is not None or lettered is None:
        return named
    index, text = lettered
    named = _equal_choice(text, choices)
    letter_fits = named is not None and index < len(choices) and fold(choices[index]) == fold(named)
    return named if letter_fits else None


def _equal_choice(text: str, choices: list[str]) -> str | None:
    """The choice that equals a text, None if none does or if several different ones do."""
    for form in (fold, normalise, strip_markup):
        formed = form(text)
        named = [choice for choice in choices if formed and form(choice) == formed]
        if named:
            return named[0] if len({fold(choice) for choice in named}) == 1 else None
    return None


def strict_correct(prediction: str | None, answer: str | None, choices: Iterable[str]) -> bool:
    """True if the prediction names exactly one choice and it is the answer.

    An answer that is not among the choices (6 rows of MMAR's first release) counts as one more choice.
    """
    if answer is None:
        return False
    choices = list(choices)
    named = strict_choice(prediction, choices if answer in choices else [*choices, answer])
    return named is not None and fold(named) == fold(answer)


def token_sets_agree(prediction: str | None, answer: str | None, choices: Iterable[str]) -> bool:
    """The official rule of MMAU's and MMAR's evaluation scripts.

    Correct if the prediction has all tokens of the answer, and none that only wrong choices have. It accepts "From near
    to far" for "From far to near". A prediction that is no text, which those scripts crash on, is wrong.
    """
    if not isinstance(prediction, str) or answer is None:
        return False
    answer_tokens, predicted = _tokens(answer), _tokens(prediction)
    wrong: set[str] = set()
    for choice in choices:
        if _tokens(choice) != answer_tokens:
            wrong |= _tokens(choice) - answer_tokens
    return bool(predicted) and answer_tokens <= predicted and not predicted & wrong


def _tokens(text: str) -> set[str]:
    return set(re.findall(r"\b\w+\b", text.lower()))
