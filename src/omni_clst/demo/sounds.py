"""Synthesise eight kinds of short sound events with numpy.

Pitch, length, loudness and phase of every event are random, so a model has to learn the kind of sound, not a waveform.
"""

import numpy as np

from .scene import SAMPLING_RATE, Scene, Words

EVENT_SECONDS = (0.18, 0.25)

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
VOWELS = ("aah", "ooh")
PITCH_OF_VOICE = {"any": (110.0, 180.0), "low": (100.0, 120.0), "high": (170.0, 200.0)}  # hertz


def _envelope(length: int, attack: float, decay: float) -> np.ndarray:
    """A rise over `attack` of the event and an exponential fall by `decay` nepers; shape (length,)."""
    time = np.linspace(0.0, 1.0, length)
    return np.minimum(time / attack, 1.0) * np.exp(-decay * time)


def _tone(rng: np.random.Generator, frequency: np.ndarray | float, length: int) -> np.ndarray:
    """A sine of constant or changing frequency (hertz), starting at a random phase; shape (length,)."""
    cycles = np.cumsum(np.broadcast_to(frequency, (length,))) / SAMPLING_RATE
    return np.sin(2 * np.pi * (cycles + rng.uniform()))


def _vowel(rng: np.random.Generator, length: int, formants: tuple[float, ...], voice_name: str) -> np.ndarray:
    """Harmonics of a voice's pitch, weighted by their distance to the formants (hertz); shape (length,)."""
    pitch = rng.uniform(*PITCH_OF_VOICE[voice_name])
    voice = np.zeros(length)
    for harmonic in np.arange(pitch, 3500, pitch):
        weight = sum(np.exp(-(((harmonic - formant) / 130.0) ** 2)) for formant in formants)
        if weight > 0.01:
            voice += weight * _tone(rng, harmonic, length)
    return voice * _envelope(length, 0.15, 1.0)


def synthesise_event(rng: np.random.Generator, sound: str, voice: str = "any", rising: bool = True) -> np.ndarray:
    """One event of the named sound: float64 in [-1, 1], shape (samples,) at 16 kHz.

    A vowel has the pitch of its voice; only a chirp can fall.
    """
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
        sweep = np.linspace(start, start * 5, length)
        event = _tone(rng, sweep if rising else sweep[::-1], length) * _envelope(length, 0.05, 0.5)
    elif sound == "aah":
        event = _vowel(rng, length, (750.0, 1250.0), voice)
    elif sound == "ooh":
        event = _vowel(rng, length, (320.0, 2600.0), voice)
    else:
        raise ValueError(f"sound {sound!r} is not one of {SOUNDS}")
    return event / max(np.abs(event).max(), 1e-9)


class SynthesisedSounds:
    """The eight sounds as the world's events."""

    words = Words(sounds=SOUNDS, task_of=TASK_OF_SOUND)
    event_seconds = EVENT_SECONDS[1]
    voices = ("low", "high")

    def voiced(self, sound: str) -> bool:
        """True if the sound is made by a voice."""
        return sound in VOWELS

    def event(self, rng: np.random.Generator, scene: Scene, index: int) -> np.ndarray:
        """The event of a scene at `index`, as loud as 1: float64, shape (samples,) at 16 kHz."""
        if scene.delivery is None:
            return synthesise_event(rng, scene.events[index])
        delivery = scene.delivery
        return synthesise_event(rng, scene.events[index], delivery.voices[index] or "any", delivery.rising)
