"""The choice nearest to a prediction in an embedding model of the user's: MMAU-Pro's official rule, with any embedder.

Officially that model is NV-Embed-v2 (7B). A prediction without a text is wrong.
"""

from collections.abc import Callable, Iterable

import numpy as np

from ..errors import InputError
from ..method.own_rules import load_rule


def nearest_rule(setting: str, texts: Iterable[object]) -> Callable[[object, str | None, Iterable[str]], bool]:
    """The rule by the function `FILE.py:FUNCTION`, which is called once with all different texts as a list and returns
    their vectors (texts, dimensions); raises `InputError` for anything else."""
    distinct = sorted({text for text in texts if isinstance(text, str) and text.strip()})
    place = {text: number for number, text in enumerate(distinct)}
    directions = _directions(setting, distinct)

    def is_nearest(prediction: object, answer: str | None, choices: Iterable[str]) -> bool:
        named = [choice for choice in choices if choice in place]
        if prediction not in place or not named:
            return False
        closeness = directions[[place[choice] for choice in named]] @ directions[place[prediction]]
        return named[int(closeness.argmax())] == answer

    return is_nearest


def _directions(setting: str, texts: list[str]) -> np.ndarray:
    """The texts' vectors at length 1, (texts, dimensions)."""
    function = load_rule(setting, ("texts",)).function
    try:
        vectors = np.asarray(function(texts), np.float64)
    except Exception as error:
        raise InputError(f"{setting} failed for {len(texts)} texts: {type(error).__name__}: {error}") from error
    if vectors.ndim != 2 or len(vectors) != len(texts) or not np.isfinite(vectors).all():
        raise InputError(f"{setting}: expected finite vectors ({len(texts)}, dimensions), got shape {vectors.shape}")
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
