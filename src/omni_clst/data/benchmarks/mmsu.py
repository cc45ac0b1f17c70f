"""MMSU (arXiv 2506.04779): spoken language, 47 tasks; its script reads a letter where our models answer with a text."""

from collections.abc import Iterable, Sequence

from ..samples import AudioQASample, as_text
from .benchmark import Answered, Benchmark, lenient_sample

LETTERS = "ABCD"
_CHOICES = tuple(f"choice_{letter.lower()}" for letter in LETTERS)


def to_sample(row: dict) -> AudioQASample:
    """A row as published: its choices in four keys, the answer as text."""
    choices = ["" if row.get(key) is None else as_text(row[key]) for key in _CHOICES]
    return lenient_sample({**row, "choices": choices, "answer": row.get("answer_gt"), "source": "mmsu"})


def read_letter(output: object) -> str | None:
    """The letter that the official script reads: the first character of an output if it is A to D, else the one before
    the last, as in `(B)`; None for a malformed or empty output. White space around an output does not count."""
    text = output.strip() if isinstance(output, str) else ""
    places = (text[:1], text[-2:-1])
    return next((letter for letter in places if letter and letter in LETTERS), None)


def letter_is_right(output: object, answer: str | None, choices: Iterable[str]) -> bool:
    """The official rule: the letter's choice is the answer. An output without a letter is wrong."""
    letter = read_letter(output)
    return letter is not None and dict(zip(LETTERS, choices, strict=False)).get(letter) == answer


def figures(answered: Sequence[Answered]) -> dict[str, float]:
    """The accuracy as the official script prints it: it leaves malformed outputs out of its denominator, and reads an
    empty one as the letter of the row before."""
    right: list[bool] = []
    letter: str | None = None
    for output, answer, choices in answered:
        is_empty = not isinstance(output, str) or not output.strip()
        letter_here = letter if is_empty else read_letter(output)
        if letter_here is not None:
            letter = letter_here
            right.append(letter_is_right(letter, answer, choices))
    return {
        "outputs without a letter, which are wrong by the official rule": sum(
            read_letter(output) is None for output, _, _ in answered
        ),
        "the official script would print %": 100 * sum(right) / len(right) if right else 0.0,
        "of a denominator of": len(right),
    }


BENCHMARKS = (
    Benchmark(
        name="mmsu",
        homepage="https://huggingface.co/datasets/ddwang2000/MMSU",
        meta_files=("MMSU/mmsu.jsonl",),
        audio_folders=("MMSU/audio",),
        row_keys=frozenset({"id", "choice_a", "answer_gt"}),
        to_sample=to_sample,
        is_correct=letter_is_right,
        groups=("category", "sub-category", "task_name"),
        releases={},
        is_converted=True,
        figures=figures,
    ),
)
