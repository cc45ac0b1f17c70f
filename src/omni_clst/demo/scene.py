"""What a clip of the embedded world contains, and the words that name it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

SAMPLING_RATE = 16_000
# words, since the tokenizer separates digits from their space
NUMBERS = ("zero", "one", "two", "three", "four")
NUMBERS_BESIDE_DIGITS = ("none", "once", "twice", "thrice", "fourfold")  # where the sounds are spoken digits


@dataclass(frozen=True)
class Words:
    """The names of a world's sounds, the part of a benchmark (MMAU's `task`) each belongs to, and the words of a count."""

    sounds: tuple[str, ...]
    task_of: Mapping[str, str]
    numbers: tuple[str, ...] = NUMBERS


@dataclass(frozen=True)
class Delivery:
    """How the events of a clip sound, where questions are about that."""

    loudest: int  # index of the one loud event
    rising: bool  # the direction of every chirp
    voices: tuple[str | None, ...]  # of every event; None for a sound without a voice


@dataclass(frozen=True)
class Scene:
    """The content of a clip: its sound events in order; a delivery of None is random in everything."""

    events: tuple[str, ...]
    words: Words
    delivery: Delivery | None = None


class Sounds(Protocol):
    """Where a world's events come from: a synthesiser, or recordings."""

    @property
    def words(self) -> Words:
        """The names of the sounds."""
        ...

    @property
    def event_seconds(self) -> float:
        """The length of the longest event."""
        ...

    @property
    def voices(self) -> tuple[str, ...]:
        """The voices that a voiced sound can have."""
        ...

    def voiced(self, sound: str) -> bool:
        """True if the sound is made by a voice."""
        ...

    def event(self, rng: np.random.Generator, scene: Scene, index: int) -> np.ndarray:
        """The event of a scene at `index`, with a peak of at most 1: shape (samples,) at 16 kHz."""
        ...
