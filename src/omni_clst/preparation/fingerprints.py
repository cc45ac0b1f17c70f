"""Which clips sound the same: small spectral fingerprints that survive another name, format, rate or loudness.

A fingerprint is the clip's first seconds as levels of a few bands, in decibels below the loudest one. Candidates meet by
random hyperplanes (Charikar 2002) and are then compared level by level, so that the whole set is never compared pairwise.
A clip that was cut out of the middle of another is not found.
"""

from collections import defaultdict
from collections.abc import Iterable

import numpy as np
import soxr

from ..audio import SILENCE_PEAK

RATE = 8_000
HOP_SECONDS = 0.125
MAX_SECONDS = 10.0
MIN_SECONDS = 1.0
LOWEST_HZ, HIGHEST_HZ, BANDS = 200.0, 3400.0, 16  # what a telephone, and every codec, leaves alone
FLOOR_DB = 48.0
STEP_DB = 0.25
TABLES, BITS = 8, 16
MAX_DIFFERENCE_DB = 1.5  # mean over all levels: 38 real clips as MP3, Ogg or at 8 kHz are 0.4 dB off, others from 4.6 on
MAX_LENGTH_DIFFERENCE_SECONDS = 0.3
_FRAMES = round(MAX_SECONDS / HOP_SECONDS)


class Listener:
    """Collects what a fingerprint needs from a clip that is decoded block by block."""

    def __init__(self):
        self.blocks: list[np.ndarray] = []
        self.frames = 0

    def __call__(self, block: np.ndarray) -> None:
        if self.frames < 2**20:  # 10 s at 96 kHz
            self.blocks.append(block.copy())
            self.frames += len(block)

    def fingerprint(self, sampling_rate: int) -> np.ndarray | None:
        """See `fingerprint`."""
        return fingerprint(np.concatenate(self.blocks) if self.blocks else np.zeros(0, np.float32), sampling_rate)


def fingerprint(waveform: np.ndarray, sampling_rate: int) -> np.ndarray | None:
    """Levels of a mono clip (samples,), uint8 (frames, bands), in steps of 0.25 dB below its loudest one.

    None for a clip below 1 s, below 8 kHz, or silent: too little to tell it by.
    """
    waveform = waveform[: int(MAX_SECONDS * sampling_rate)]
    if len(waveform) < MIN_SECONDS * sampling_rate or sampling_rate < RATE or np.abs(waveform).max() < SILENCE_PEAK:
        return None
    if sampling_rate != RATE:
        waveform = soxr.resample(waveform, sampling_rate, RATE, quality="LQ")
    hop, window = round(HOP_SECONDS * RATE), round(2 * HOP_SECONDS * RATE)
    frames = np.lib.stride_tricks.sliding_window_view(waveform, window)[::hop][:_FRAMES]  # (frames, window)
    power = np.square(np.abs(np.fft.rfft(frames * np.hanning(window).astype(np.float32), axis=1)))
    edges = np.geomspace(LOWEST_HZ, HIGHEST_HZ, BANDS + 1) * window / RATE
    bands = np.add.reduceat(power, np.round(edges).astype(int), axis=1)[:, :BANDS]  # (frames, bands)
    below = np.minimum(-10 * np.log10(np.maximum(bands / max(bands.max(), 1e-20), 1e-12)), FLOOR_DB)
    return np.round(below / STEP_DB).astype(np.uint8)


def find_same(clips: Iterable[tuple[str, float, np.ndarray]]) -> list[list[str]]:
    """Groups of two or more clips that sound the same, from (key, seconds, fingerprint); in the order given.

    The first of a group is the one that came first.
    """
    keys, seconds, levels = [], [], []
    buckets: dict[tuple[int, int], list[int]] = defaultdict(list)
    parent: list[int] = []
    planes = np.random.default_rng(0).standard_normal((TABLES * BITS, _FRAMES * BANDS)).astype(np.float32)
    weights = 1 << np.arange(BITS, dtype=np.int64)

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    for key, length, own in clips:
        index = len(keys)
        keys.append(key)
        seconds.append(length)
        levels.append(own)
        parent.append(index)
        signs = (planes @ _centred(own)) > 0
        compared = set()
        for table, code in enumerate(signs.reshape(TABLES, BITS) @ weights):
            bucket = buckets[table, int(code)]
            for other in bucket:
                if root(other) == root(index) or other in compared:
                    continue
                compared.add(other)
                if abs(seconds[other] - length) <= MAX_LENGTH_DIFFERENCE_SECONDS and _sound_alike(levels[other], own):
                    older, newer = sorted((root(other), root(index)))
                    parent[newer] = older
            bucket.append(index)
    groups: dict[int, list[str]] = defaultdict(list)
    for index, key in enumerate(keys):
        groups[root(index)].append(key)
    return [group for group in groups.values() if len(group) > 1]


def _centred(levels: np.ndarray) -> np.ndarray:
    """Levels as one vector (frames * bands,) of mean 0, padded with 0 for a short clip."""
    values = levels.astype(np.float32)
    full = np.zeros((_FRAMES, BANDS), np.float32)
    full[: len(values)] = values - values.mean()
    return full.ravel()


def _sound_alike(first: np.ndarray, second: np.ndarray) -> bool:
    frames = min(len(first), len(second))
    difference = np.abs(first[:frames].astype(np.int16) - second[:frames].astype(np.int16))
    return float(difference.mean()) * STEP_DB <= MAX_DIFFERENCE_DB
