"""MuChoMusic (arXiv 2408.01337): questions about music, whose choices its own files have in no order."""

import hashlib
import re
from collections.abc import Iterable, Sequence

from ..samples import AudioQASample, as_text, make_sample_id
from .benchmark import Answered, Benchmark, as_list, lenient_sample

LETTERS = "ABCD"
LISTS = ("music_knowledge", "music_reasoning")  # a question may be of several kinds
_PREFIX = "The correct answer is:"  # ends the official prompt, and is removed from outputs that repeat it
_CHOICES = ("correct_answer", *(f"distractor_{number}_answer" for number in (1, 2, 3)))
_MUSICCAPS = re.compile(r"musiccaps/(?P<video>.+)_(?P<second>\d+)")
MUSICCAPS_SECONDS = 10  # of each of its clips


def to_row(row: dict) -> dict:
    """A row with an id, a name for its clip, and lists of kinds, which the published CSV has as texts."""
    clip = f"{row.get('dataset')}/{as_text(row.get('dataset_identifier')).removesuffix('.json')}"
    made = {"id": make_sample_id(clip, str(row.get("question")), map(str, map(row.get, _CHOICES))), "audio_path": clip}
    return made | row | {key: as_list(row.get(key)) for key in LISTS}


def clip_names(path: str) -> tuple[str, ...]:
    """The names that Song Describer (`123.2min.mp3`) and MusicCaps (`[video]-[30-40].wav`) give a clip."""
    names = [path, f"{path.rpartition('/')[2]}.2min.mp3", path.rpartition("/")[2]]
    if match := _MUSICCAPS.fullmatch(path):
        second = int(match["second"])
        names += [f"[{match['video']}]-[{second}-{second + MUSICCAPS_SECONDS}].wav", match["video"]]
    return tuple(names)


def to_sample(row: dict) -> AudioQASample:
    """A row with its choices in an order that depends on its id alone."""
    choices = [as_text(row[key]) for key in _CHOICES if row.get(key) is not None]
    order = sorted(range(len(choices)), key=lambda place: hashlib.sha256(f"{row['id']} {place}".encode()).digest())
    shuffled = [choices[place] for place in order]
    return lenient_sample({**row, "choices": shuffled, "answer": row.get("correct_answer"), "source": row.get("dataset")})


def _letter(text: str) -> int | None:
    """The choice that the only one of the letters A to D in a text stands for, wherever it is in it."""
    letters = [letter for letter in LETTERS if letter in text]
    return LETTERS.index(letters[0]) if len(letters) == 1 else None


def _contained(text: str, choices: Iterable[str]) -> list[int]:
    """The choices that a text contains."""
    return [place for place, choice in enumerate(choices) if choice.strip() and choice.lower().strip() in text.lower()]


def chosen(output: object, choices: Sequence[str]) -> int | None:
    """The choice that an output is read as: by its only letter, else the only one that it contains; None: unanswered."""
    text = _without_prefix(output)
    letter = _letter(text)
    contained = _contained(text, choices)
    return letter if letter is not None else contained[0] if len(contained) == 1 else None


def _without_prefix(output: object) -> str:
    return output.rpartition(_PREFIX)[2].strip() if isinstance(output, str) else ""


def choice_is_right(output: object, answer: str | None, choices: Iterable[str]) -> bool:
    """The official rule, except that an output with several choices is unanswered (its script takes the first)."""
    choices = tuple(choices)
    place = chosen(output, choices)
    return place is not None and place < len(choices) and choices[place] == answer


def figures(answered: Sequence[Answered]) -> dict[str, float]:
    """The share of answered questions, and the accuracy where the first of several choices in an output counts."""
    count = max(len(answered), 1)
    return {
        "answered %": 100 * sum(chosen(output, choices) is not None for output, _, choices in answered) / count,
        "the official script would print %": 100 * sum(_first_is_right(*row) for row in answered) / count,
    }


def _first_is_right(output: object, answer: str | None, choices: tuple[str, ...]) -> bool:
    text = _without_prefix(output)
    letter = _letter(text)
    places = [letter] if letter is not None else _contained(text, choices)
    return bool(places) and places[0] < len(choices) and choices[places[0]] == answer


BENCHMARKS = (
    Benchmark(
        name="muchomusic",
        homepage="https://doi.org/10.5281/zenodo.12709974",
        meta_files=("MuChoMusic/muchomusic.jsonl",),
        audio_folders=("MuChoMusic/audio",),
        row_keys=frozenset({"id", "correct_answer", "distractor_1_answer", "dataset_identifier"}),
        to_sample=to_sample,
        is_correct=choice_is_right,
        groups=("music_knowledge", "music_reasoning", "dataset"),
        releases={},
        is_converted=True,
        to_row=to_row,
        clip_names=clip_names,
        figures=figures,
    ),
)
