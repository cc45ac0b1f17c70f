"""Synthesise eight kinds of short sound events, and clips of several events, with numpy.

Pitch, length, loudness and phase of every event are random, so a model has to learn the kind of sound, not a waveform.
"""

import numpy as np

SAMPLING_RATE = 16_000
EVENT_SECONDS = (0.18, 0.25)
GAP_SECONDS = (0.02, 0.06)
CLIP_SECONDS = 2.2

# The part of a benchmark (MMAU's `task`) that a sound belongs to.
TASK_OF_SOUND = {
    "hiss": "sound",
    "drum": "sound",
    "click": "sound",
    "beep": "music",
    "bell": "music",
    "chirp": "music",
    "aah": "speech",
    "ooh": "speech",
}
SOUNDS = tuple(TASK_OF_SOUND)


def _envelope(length: int, attack: float, decay: float) -> np.ndarray:
    """A rise over `attack` of the event and an exponential fall by `decay` nepers; shape (length,)."""
    time = np.linspace(0.0, 1.0, length)
    return np.minimum(time / attack, 1.0) * np.exp(-decay * time)


def _tone(rng: np.random.Generator, frequency: np.ndarray | float, length: int) -> np.ndarray:
    """A sine of constant or changing frequency (hertz), starting at a random phase; shape (length,)."""
    cycles = np.cumsum(np.broadcast_to(frequency, (length,))) / SAMPLING_RATE
    return np.sin(2 * np.pi * (cycles + rng.uniform()))


def _vowel(rng: np.random.Generator, length: int, formants: tuple[float, ...]) -> np.ndarray:
    """Harmonics of a voice pitch, weighted by their distance to the formants (hertz); shape (length,)."""
    pitch = rng.uniform(110, 180)
    voice = np.zeros(length)
    for harmonic in np.arange(pitch, 3500, pitch):
        weight = sum(np.exp(-(((harmonic - formant) / 130.0) ** 2)) for formant in formants)
        if weight > 0.01:
            voice += weight * _tone(rng, harmonic, length)
    return voice * _envelope(length, 0.15, 1.0)


def synthesise_event(rng: np.random.Generator, sound: str) -> np.ndarray:
    """One event of the named sound: float64 in about [-1, 1], shape (samples,) at 16 kHz."""
    length = int(rng.uniform(*EVENT_SECONDS) * SAMPLING_RATE)
    if sound == "hiss":
        event = np.diff(rng.standard_normal(length + 1)) * _envelope(length, 0.2, 0.5)
    elif sound == "drum":
        fall = np.linspace(rng.uniform(140, 180), 60, length)
        event = _tone(rng, fall, length) * _envelope(length, 0.01, 6.0)
    elif sound == "click":
        event = np.zeros(length)
        for start in (np.arange(5) * length / 5).astype(int):
            event[start : start + 40] = rng.standard_normal(40)
    elif sound == "beep":
        event = _tone(rng, rng.uniform(850, 1150), length) * _envelope(length, 0.05, 0.2)
    elif sound == "bell":
        base = rng.uniform(1900, 2300)
        event = sum(_tone(rng, base * ratio, length) / ratio for ratio in (1.0, 1.51, 2.4)) * _envelope(length, 0.01, 4)
    elif sound == "chirp":
        start = rng.uniform(500, 800)
        event = _tone(rng, np.linspace(start, start * 5, length), length) * _envelope(length, 0.05, 0.5)
    elif sound == "aah":
        event = _vowel(rng, length, (750.0, 1250.0))
    elif sound == "ooh":
        event = _vowel(rng, length, (320.0, 2600.0))
    else:
        raise ValueError(f"sound {sound!r} is not one of {SOUNDS}")
    return event / max(np.abs(event).max(), 1e-9) * rng.uniform(0.5, 1.0)


def synthesise_clip(rng: np.random.Generator, events: list[str]) -> np.ndarray:
    """The events one after the other over faint noise: float32, shape (35200,), 2.2 s at 16 kHz."""
    clip = rng.standard_normal(int(CLIP_SECONDS * SAMPLING_RATE)) * 0.003
    parts = [(synthesise_event(rng, sound), int(rng.uniform(*GAP_SECONDS) * SAMPLING_RATE)) for sound in events]
    spare = len(clip) - sum(len(event) + gap for event, gap in parts)
    start = int(rng.uniform(0.0, 0.5) * max(spare, 0))
    for event, gap in parts:
        room = len(clip) - start
        clip[start : start + len(event)] += event[:room]
        start += len(event) + gap
    return (clip * 0.5).astype(np.float32)
