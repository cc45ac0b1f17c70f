"""Rows of an answers file, and pass rates: the share of a model's answers to a sample that are right."""

from pathlib import Path

from ..data.matching import strict_correct
from ..data.prompts import Prompt
from ..data.response import answer_of
from ..data.samples import AudioQASample
from ..errors import InputError
from ..files import read_jsonl


def answer_row(sample: AudioQASample, completions: list[str], prompt: Prompt, model: str, audio: str = "real") -> dict:
    """The row of an answers file: completions, their answers, and whether these are right by the strict rule.

    `audio` is the audio source (real, silence, other); it is in the row where it is not `real`.
    """
    other_source = {} if audio == "real" else {"audio": audio}
    answers = [answer_of(text, prompt.asks_for_tags) for text in completions]
    return {
        "id": sample.id,
        "completions": completions,
        "answers": answers,
        "correct": [int(strict_correct(answer, sample.answer, sample.choices)) for answer in answers],
        "model": model,
        "prompt": prompt.name,
        "prompt_sha256": prompt.sha256,
        **other_source,
    }


def read_pass_rates(path: Path | str, audio: str = "real") -> dict[str, float]:
    """Pass rate (right answers over all) by sample id; raises `InputError` naming file, line and value.

    A row with another audio source than `audio` is an error.
    """
    rates = {}
    for number, row in read_jsonl(path):
        correct = row.get("correct")
        if not isinstance(row.get("id"), str):
            raise InputError(f"{path}:{number}: id {row.get('id')!r} is not a text")
        if not isinstance(correct, list) or not correct or any(value not in (0, 1) for value in correct):
            raise InputError(f"{path}:{number}: correct {correct!r} is not a list of 0 and 1")
        if row.get("audio", "real") != audio:
            raise InputError(f"{path}:{number}: audio {row.get('audio', 'real')!r} is not {audio!r}")
        rates[row["id"]] = sum(correct) / len(correct)
    return rates
