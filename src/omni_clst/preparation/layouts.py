"""Convert the rows of every source (AVQA, AudSem, AudioMCQ, published files) to candidates; pure functions of the row.

A source is an entry in `SOURCES`; to add one, add a function from its row to a `Draft`.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from ..data.benchmarks.benchmark import Benchmark
from ..data.layouts import choices_in_text, convert_row
from ..data.samples import AudioQASample, as_text
from ..errors import InputError
from .cells import by_letter, clip_names, kept, row_id, text_of, texts_of, thought_of
from .rules import Draft, Dropped, apply_rules

_COLOUR_ASKED = re.compile(r"\bcolou?rs?\b", re.IGNORECASE)
_COLOURS = {"black", "white", "red", "green", "blue", "yellow", "brown", "grey", "gray", "orange", "purple", "pink"}
_CHOICES_BELOW = re.compile(r"\s*\n\s*(?:choices|options)\s*:?\s*\n.*", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True)
class Candidate:
    """A sample whose clip is not found yet: `clip_names` are the clip's names in the row (none where it is embedded).

    `notes` are (rule, value) of every rule that changed or flagged the row.
    """

    sample: AudioQASample
    clip_names: tuple[str, ...]
    notes: tuple[tuple[str, str], ...] = ()


def convert(source: str, row: dict, read: Callable[[dict], Draft] | None = None) -> Candidate:
    """Convert a training row to a candidate, by `read` or by its source's reader; raises `Dropped`."""
    draft = (read or SOURCES[source])(row)
    apply_rules(draft)
    sample = AudioQASample(
        id=f"{source}-{draft.row_id}" if draft.row_id else "",
        audio_path=next(iter(draft.clip_names), ""),
        question=draft.question.strip(),
        choices=tuple(draft.choices),
        answer=draft.answer,
        think=draft.think,
        source=draft.source or source,
        prompt=draft.prompt,
        level=draft.level,
        extra=draft.extra,
    )
    return Candidate(sample, draft.clip_names, tuple(draft.notes))


def convert_benchmark(benchmark: Benchmark, row: dict, oddities: list[str]) -> Candidate:
    """Convert a benchmark's row to a candidate; nothing is dropped or changed, every oddity is noted as a flagging rule."""
    sample = benchmark.to_sample(row)
    notes = tuple((rule, str(list(sample.choices))[:80]) for rule in oddities)
    return Candidate(sample, benchmark.clip_names(sample.audio_path), notes)


def _read_avqa(row: dict) -> Draft:
    """AVQA's own JSON (`multi_choice`, an index as answer), or the Hub's parquet with the choices inside the question."""
    if str(row.get("question_relation", "")).strip().lower() == "view":
        raise Dropped("asks for what can only be seen", f"question_relation {row['question_relation']!r}")
    draft = (_read_avqa_json if "multi_choice" in row else _read_lettered)(row)
    colours = sum(choice.strip().lower() in _COLOURS for choice in draft.choices)
    if _COLOUR_ASKED.search(draft.question) or colours >= 2:
        raise Dropped("asks for a colour", draft.question)
    return draft


def _read_avqa_json(row: dict) -> Draft:
    return Draft(
        clip_names=clip_names(row),
        question=text_of(row, "question_text"),
        choices=texts_of(row, "multi_choice"),
        answer=row.get("answer"),
        think=thought_of(row),
        row_id=row_id(row),
        extra=kept(row, "question_relation", "question_type", "video_id"),
        answers_by_index=True,
        place_is_usual=True,
    )


def _read_lettered(row: dict) -> Draft:
    """A question followed by lettered choices; the key `choices` may repeat them by letter."""
    text = text_of(row, "question")
    choices = by_letter(row.get("choices"))
    listed = choices_in_text(text)
    if not choices and not listed:
        raise Dropped("is incomplete", f"no choices in {text[:60]!r}")
    return Draft(
        clip_names=clip_names(row),
        question=_CHOICES_BELOW.sub("", text),
        choices=choices or list(listed),
        answer=row.get("answer"),
        think=thought_of(row),
        row_id=row_id(row),
        extra=kept(row, "question_type", "source_dataset", "dataset"),
        place_is_usual=True,
    )


def _read_audsem(row: dict) -> Draft:
    """AudSem's `mc_qa`: `file_name`, the choices lettered in the question, and again in `choices` by letter."""
    return _read_lettered(row)


def _read_audiomcq(row: dict) -> Draft:
    """AudioMCQ: `audio_path`, `choices` as a list, the answer as text, with or without its letter."""
    return Draft(
        clip_names=clip_names(row),
        question=text_of(row, "question"),
        choices=texts_of(row, "choices"),
        answer=row.get("answer"),
        think=thought_of(row),
        row_id=row_id(row),
        extra=kept(row, "source_dataset", "question_type"),
    )


def _read_published(row: dict) -> Draft:
    """Both training files of the published code."""
    texts: dict[str, str | list[str]] = {}
    if isinstance(row.get("answer"), (int, float)):
        texts["answer"] = as_text(row["answer"])
    texts |= {key: texts_of(row, key) for key in ("choices", "multi_choice") if isinstance(row.get(key), (list, str))}
    try:
        sample = convert_row(row | texts)
    except InputError as error:
        raise Dropped("is incomplete", error) from None
    return Draft(
        clip_names=(sample.audio_path, *clip_names(row)),
        question=sample.question,
        choices=list(sample.choices),
        answer=sample.answer,
        think=sample.think,
        row_id=row_id(row),
        extra=sample.extra,
        prompt=sample.prompt,
        level=sample.level,
        source=row.get("source") or None,
    )


SOURCES: dict[str, Callable[[dict], Draft]] = {
    "avqa": _read_avqa,
    "audsem": _read_audsem,
    "audiomcq": _read_audiomcq,
    "published": _read_published,
}
