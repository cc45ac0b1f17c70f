"""Which choice a text names: the strict rule that rewards, answers and scores share, and how a letter in front is written.

Models write a right choice in many dresses: `Dog.`, `**dog**`, `「dog」`, `- dog`, `B. dog`, `B、dog`, `[B] dog`. None of
that changes which choice is meant, so none of it counts, unless it tells two choices apart.
"""

import re
import unicodedata
from collections.abc import Iterable

# The one pattern of a choice's letter: A. A) A: A、 (A) [A] 【A】, in ASCII, CJK or full width.
LETTER_MARK = r"(?P<before>[(\[（［【]?)(?P<letter>[A-Za-z])\s*(?P<after>[.):]\)?|[、。．：）\]］】])"
_LETTERED = re.compile(rf"[\s\-–—•*_#>]*?{LETTER_MARK}\s*(?P<text>.*)", re.DOTALL)
_EDGES = " \t\r\n.,;:!?\"'`“”‘’()[]{}<>*_"
_OPENING_QUOTES = " \"'“‘„«「『《〈"
_BULLET = re.compile(r"^(?:[-–—*+>#]+\s|[•·‣◦▪●○■□◆◇]\s*)+")
_EMPHASIS = re.compile(r"\*+|_{2,}|`+")
_ONE_SIGN = str.maketrans(
    {sign: "'" for sign in "’‘‚‛′´`"}
    | {sign: '"' for sign in "”“„‟″«»「」『』《》〈〉"}
    | {sign: "-" for sign in "‐‑‒–—−"}
    | {"。": ".", "、": ",", "،": ",", "؛": ";", "؟": "?", "।": "."}
)


def fold(text: str) -> str:
    """Case, Unicode form (full and half width too) and white space do not count; the order of the words does."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def normalise(text: str) -> str:
    """As `fold`, and the punctuation around the text does not count either."""
    return fold(text).strip(_EDGES)


def undress(text: str) -> str:
    """As `normalise`, and neither do bullets, emphasis, invisible characters, the script of quotes, dashes and commas,
    and the brackets of any script around the text."""
    visible = "".join(sign for sign in text if unicodedata.category(sign) != "Cf")
    signs = _EMPHASIS.sub("", _BULLET.sub("", fold(visible))).translate(_ONE_SIGN)
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
    """The place and the text of a choice behind its letter, as (1, "dog") of `B. dog`; None where no letter stands."""
    match = _LETTERED.fullmatch(text.strip())
    return (_place(match["letter"]), match["text"].strip()) if match else None


def bare_letter(text: str) -> int | None:
    """The place of the choice that a letter alone stands for, with or without its mark; None for any other text."""
    match = re.fullmatch(rf"(?P<alone>[A-Za-z])|{LETTER_MARK}", text.strip())
    return _place(match["alone"] or match["letter"]) if match else None


def _place(letter: str) -> int:
    return ord(letter.upper()) - ord("A")


def strict_choice(prediction: str | None, choices: Iterable[str]) -> str | None:
    """The one choice that a prediction names, None if it names none.

    Equality after `fold`, else after `normalise`, else after `undress`; the first of these that any choice meets decides,
    so punctuation counts where it tells choices apart, as in "<5" and ">5", "C" and "C#", "-1" and "1". A letter in front
    is taken off only where it is that choice's own; a bare letter names nothing, unless a choice is that letter. Choices
    that are equal after `fold` (27 rows of MMAU-mini repeat one) are one choice.
    """
    if not isinstance(prediction, str):
        return None
    choices = list(choices)
    named = _equal_choice(prediction, choices)
    lettered = split_letter(unicodedata.normalize("NFKC", prediction).lstrip(_OPENING_QUOTES))
    if named is not None or lettered is None:
        return named
    place, text = lettered
    named = _equal_choice(text, choices)
    is_its_own = named is not None and place < len(choices) and fold(choices[place]) == fold(named)
    return named if is_its_own else None


def _equal_choice(text: str, choices: list[str]) -> str | None:
    """The choice that equals a text, None if none does or if several do that are not one choice."""
    for form in (fold, normalise, undress):
        said = form(text)
        named = [choice for choice in choices if said and form(choice) == said]
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

    Right if the prediction has tokens, all of the answer's and none that only wrong choices have. It accepts "From near
    to far" for "From far to near". A prediction that is no text, which those scripts crash on, is wrong.
    """
    if not isinstance(prediction, str) or answer is None:
        return False
    wanted, said = _tokens(answer), _tokens(prediction)
    wrong: set[str] = set()
    for choice in choices:
        if _tokens(choice) != wanted:
            wrong |= _tokens(choice) - wanted
    return bool(said) and wanted <= said and not said & wrong


def _tokens(text: str) -> set[str]:
    return set(re.findall(r"\b\w+\b", text.lower()))
