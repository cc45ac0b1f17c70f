"""Compose a clip of several events over background noise."""

import numpy as np

from .knobs import DEFAULT_EVENTS, Knobs
from .scene import SAMPLING_RATE, Scene, Sounds

GAP_SECONDS = (0.02, 0.06)
DEFAULT_SECONDS = 2.2  # of seven events of at most a quarter of a second
LOUD, QUIET = (0.9, 1.0), (0.2, 0.4)  # peaks, in a world with questions about loudness


def clip_seconds(sounds: Sounds, knobs: Knobs) -> float:
    """The length of every clip of a world, in seconds: all its events fit."""
    room = DEFAULT_SECONDS - DEFAULT_EVENTS * 0.25  # that the default leaves for gaps
    return max(DEFAULT_SECONDS, knobs.events * (sounds.event_seconds + room / DEFAULT_EVENTS))


def compose_clip(rng: np.random.Generator, scene: Scene, sounds: Sounds, knobs: Knobs) -> np.ndarray:
    """The events one after the other over noise: float32, shape (samples,) at 16 kHz."""
    clip = rng.standard_normal(round(clip_seconds(sounds, knobs) * SAMPLING_RATE)) * knobs.background
    parts = []
    for index in range(len(scene.events)):
        event = sounds.event(rng, scene, index)
        event = event * rng.uniform(*_loudness(scene, index))
        parts.append((event, int(rng.uniform(*GAP_SECONDS) * SAMPLING_RATE)))
    lengths = [round(len(event) * (1 - knobs.overlap)) + gap for event, gap in parts]
    start = int(rng.uniform(0.0, 0.5) * max(len(clip) - sum(lengths), 0))
    for (event, _), length in zip(parts, lengths, strict=True):
        room = len(clip) - start
        clip[start : start + len(event)] += event[:room]
        start += length
    return (clip * 0.5).astype(np.float32)


def _loudness(scene: Scene, index: int) -> tuple[float, float]:
    """The range of an event's peak."""
    if scene.delivery is None:
        return 0.5, 1.0
    return LOUD if index == scene.delivery.loudest else QUIET
