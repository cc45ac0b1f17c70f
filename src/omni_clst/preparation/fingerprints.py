"""Find clips that sound alike, by small spectral fingerprints that do not depend on format, rate or loudness.

A fingerprint is the levels of a few frequency bands over the clip's first seconds, in decibels below the loudest level.
Candidates are found by hashing with random hyperplanes (Charikar 2002) and are then compared level by level, so that the
set is not compared pairwise. Clips that sound alike may still differ (notes a semitone apart, two noises): `agreement`
decides by their waveforms.
"""

from collections import defaultdict
from collections.abc import Iterable

import numpy as np
import soxr

from ..data.audio import SILENCE_PEAK
from .landmarks import MAX_SECONDS as MAX_LANDMARK_SECONDS
from .landmarks import Landmarks, find_landmarks

RATE = 8_000
HOP_SECONDS = 0.125
MAX_SECONDS = 10.0
MIN_SECONDS = 1.0
LOWEST_HZ, HIGHEST_HZ, BANDS = 200.0, 3400.0, 16  # every codec and telephone keeps this range
FLOOR_DB = 48.0
STEP_DB = 0.25
TABLES, BITS = 16, 14  # a copy whose levels correlate at 0.95 is found with a probability of 98 %
MAX_DIFFERENCE_DB = 1.5  # mean over all levels: copies of 38 real clips (MP3, Ogg, 8 kHz) differ by 0.4, others by 4.6
MAX_LENGTH_DIFFERENCE_SECONDS = 0.3
MAX_COMPARED = 64  # clips of one bucket that a clip is compared with: thousands may sound alike
MAX_ALIKE = 8  # clips that a clip is reported to sound like, the most similar ones
_FRAMES = round(MAX_SECONDS / HOP_SECONDS)


class FeatureCollector:
    """Collects a clip that is decoded block by block at 8 kHz, and computes its fingerprint and landmarks."""

    def __init__(self):
        self._parts: list[np.ndarray] = []
        self._samples = 0
        self._stream: soxr.ResampleStream | None = None
        self._rate = 0

    def add(self, block: np.ndarray, sampling_rate: int) -> None:
        """Add the next mono block (frames,)."""
        if self._stream is None:
            self._rate = sampling_rate
            self._stream = soxr.ResampleStream(sampling_rate, RATE, 1, dtype="float32", quality="LQ")
        if self._samples < MAX_LANDMARK_SECONDS * RATE:
            self._keep(self._stream.resample_chunk(block.astype(np.float32)))

    def _keep(self, samples: np.ndarray) -> None:
        self._parts.append(samples)
        self._samples += len(samples)

    def _waveform(self) -> np.ndarray:
        """Mono, (samples,), at 8 kHz."""
        if self._stream is not None:
            self._keep(self._stream.resample_chunk(np.zeros(0, np.float32), last=True))
            self._stream = None
        return np.concatenate(self._parts) if self._parts else np.zeros(0, np.float32)

    def fingerprint(self) -> np.ndarray | None:
        """See `fingerprint`; None for a clip below 8 kHz."""
        return fingerprint(self._waveform(), RATE) if self._rate >= RATE else None

    def landmarks(self) -> Landmarks:
        """See `find_landmarks`."""
        return find_landmarks(self._waveform())


def fingerprint(waveform: np.ndarray, sampling_rate: int) -> np.ndarray | None:
    """Levels of a mono clip (samples,), uint8 (frames, bands), in steps of 0.25 dB below its loudest one.

    None for a clip below 1 s, below 8 kHz, or silent.
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


def find_alike(clips: Iterable[tuple[float, np.ndarray]]) -> list[tuple[int, int]]:
    """Pairs (earlier, later) of the indices of clips that sound alike, from (seconds, fingerprint) of every clip."""
    seconds, levels, pairs = [], [], []
    buckets: dict[tuple[int, int], list[int]] = defaultdict(list)
    planes = np.random.default_rng(0).standard_normal((TABLES * BITS, _FRAMES * BANDS)).astype(np.float32)
    weights = 1 << np.arange(BITS, dtype=np.int64)
    for index, (length, clip_levels) in enumerate(clips):
        signs = (planes @ _centred(clip_levels)) > 0
        near: set[int] = set()
        for table, code in enumerate(signs.reshape(TABLES, BITS) @ weights):
            bucket = buckets[table, int(code)]
            near.update(bucket[-MAX_COMPARED:])
            bucket.append(index)
        near = {other for other in near if abs(seconds[other] - length) <= MAX_LENGTH_DIFFERENCE_SECONDS}
        differences = sorted((_difference_db(levels[other], clip_levels), other) for other in near)
        pairs += [(other, index) for decibels, other in differences[:MAX_ALIKE] if decibels <= MAX_DIFFERENCE_DB]
        seconds.append(length)
        levels.append(clip_levels)
    return pairs


def _centred(levels: np.ndarray) -> np.ndarray:
    """Levels as a vector (frames * bands,) of mean 0, padded with 0 for a short clip."""
    values = levels.astype(np.float32)
    full = np.zeros((_FRAMES, BANDS), np.float32)
    full[: len(values)] = values - values.mean()
    return full.ravel()


def _difference_db(first: np.ndarray, second: np.ndarray) -> float:
    """Mean difference of levels over the frames that both clips have."""
    frames = min(len(first), len(second))
    difference = np.abs(first[:frames].astype(np.int16) - second[:frames].astype(np.int16))
    return float(difference.mean()) * STEP_DB
