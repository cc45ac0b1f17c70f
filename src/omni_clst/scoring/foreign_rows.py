"""Rows of predictions files that other programs write, as rows with an id and an answer.

lmms-eval's `*_samples_*.jsonl`: the answer is in `filtered_resps`, a text or nested lists of one text. Its writer drops the
document (`loggers/evaluation_tracker.py`), but MMAU's and MMAR's tasks put its id into what they log for their metrics:
`submission` holds MMAU's whole row, `mmar_accuracy` MMAR's id. A row without an id is found by its clip and question.
"""

from collections.abc import Iterable
from pathlib import Path

from ..data.response import answer_of, parse_response
from ..data.samples import AudioQASample
from ..errors import InputError

LMMS_EVAL_KEY = "filtered_resps"
CLIP_KEYS = ("audio_id", "audio_path")


class KnownQuestions:
    """The ids of a benchmark's questions by clip, for rows that have none."""

    def __init__(self, samples: Iterable[AudioQASample]):
        self.by_clip: dict[str, list[AudioQASample]] = {}
        for sample in samples:
            self.by_clip.setdefault(Path(sample.audio_path).name, []).append(sample)

    def with_id(self, row: dict, place: str) -> dict:
        """The row with the id of its clip's question, if it names a clip; raises `InputError` for one of no question."""
        clip = next((row[key] for key in CLIP_KEYS if isinstance(row.get(key), str)), None)
        if "id" in row or clip is None or not self.by_clip:
            return row
        found = self.by_clip.get(Path(clip).name, [])
        same = [sample for sample in found if sample.question == row.get("question")] if len(found) > 1 else found
        if len(same) != 1:
            raise InputError(f"{place}: no id in it, and {len(found)} questions of the benchmark are about {clip!r}")
        return row | {"id": same[0].id}


def from_lmms_eval(row: dict, place: str) -> dict:
    """A row of lmms-eval's samples file with its id, answer and thought; any other row unchanged."""
    if "doc_id" not in row or not {LMMS_EVAL_KEY, "resps"} & row.keys():
        return row
    answers = row.get(LMMS_EVAL_KEY, row.get("resps"))
    while isinstance(answers, list) and answers:
        answers = answers[0]
    if not isinstance(answers, str):
        raise InputError(f"{place}: {LMMS_EVAL_KEY} {repr(answers)[:60]} is not a text")
    parts = [row, row.get("doc"), *row.values()]
    document = next((part for part in parts if isinstance(part, dict) and {"id", *CLIP_KEYS} & part.keys()), None)
    if document is None:
        raise InputError(
            f"{place}: a row of lmms-eval whose question is known only as doc_id {row['doc_id']!r}; add the "
            "benchmark's id to it as 'id'"
        )
    named = {key: document[key] for key in ("id", "question", *CLIP_KEYS) if key in document}
    return named | {LMMS_EVAL_KEY: answer_of(answers, False), "think": parse_response(answers).think}
