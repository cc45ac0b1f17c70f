"""How answers were made: what scores have to say, so that two of them can be compared."""

from dataclasses import fields
from pathlib import Path

from ..data.prompts import Prompt
from ..files import read_object
from ..runs import find_commit

DECODING = ("temperature", "top_p", "top_k", "max_new_tokens", "seed")
OF_A_FOLDER = (
    "model", "weights", "prompt", "decoding", "thought", "audio", "max_audio_seconds", "engine", "dtype", "limit",
)  # fmt: skip


def read_origin(predictions: Path) -> dict:
    """How the answers of a predictions file were made: from the settings.json of an answers folder beside it.

    Null for what is not known, which is all but the code's commit for a file of another program.
    """
    file = predictions.with_name("settings.json")
    settings = read_object(file) if file.is_file() else {}
    known = _from_settings(settings) if isinstance(settings.get("prompt"), dict) and "weights" in settings else {}
    return {key: known.get(key) for key in OF_A_FOLDER} | {"commit": find_commit()}


def _from_settings(settings: dict) -> dict:
    """The settings of an answers folder, with those that it leaves out at their default."""
    prompt = Prompt(**{field.name: settings["prompt"].get(field.name) for field in fields(Prompt)})
    return settings | {
        "prompt": settings["prompt"] | {"sha256": prompt.sha256},
        "decoding": {key: settings.get(key) for key in DECODING},
        "thought": settings.get("thought", "free"),
        "engine": settings.get("engine", "hf"),
    }
