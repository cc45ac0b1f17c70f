"""Find clips that may contain the same sound, whole or in part, by constellations of spectral peaks (Wang 2003).

A landmark is three peaks of a clip's spectrogram: their frequencies and the times between them, hashed to one number. It is
robust to codecs, sampling rates, loudness and cutting, so a clip and a part of it share landmarks, all at the same time
offset. Clips are not compared pairwise: landmarks are sorted, and only neighbours of equal value are paired.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RATE = 8_000
WINDOW, HOP = 1_024, 128  # samples: 7.8 Hz and 16 ms
MAX_SECONDS = 600.0  # only the beginning of a longer clip is used
LOWEST_HZ, HIGHEST_HZ = 150.0, 3_400.0  # every codec and telephone keeps this range
PEAK_FRAMES, PEAK_BINS = 24, 20  # a peak is the highest value within this distance
FLOOR_DB = 50.0  # below the clip's highest peak
MAX_SPAN_FRAMES = 120  # from a landmark's first peak to its last
STEP_FRAMES = 4  # times between peaks are rounded to this: cutting a clip shifts its frames
NEXT_PEAKS = 4  # a landmark's second and third peak are among this many after the first
MIN_SHARED = 3  # landmarks at one time offset, for a pair to be compared
SORT_PARTS = 16  # landmarks are sorted in this many parts, to save memory
MAX_NEIGHBOURS = 16  # clips with the same landmark that a clip is paired with
MAX_PARTNERS = 12  # clips that a clip is compared with


@dataclass(frozen=True)
class Landmarks:
    """`values` uint32 and `times` uint16, both (landmarks,): the hashes, and the times of first peaks in steps of 64 ms."""

    values: np.ndarray
    times: np.ndarray


def find_landmarks(waveform: np.ndarray) -> Landmarks:
    """Landmarks of a mono clip (samples,) at 8 kHz."""
    frames, bins = _peaks(waveform[: int(MAX_SECONDS * RATE)])
    return _constellations(frames, bins)


def _peaks(waveform: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(frames, bins) of the spectrogram's peaks, in order of time."""
    if len(waveform) < WINDOW:
        return np.zeros(0, int), np.zeros(0, int)
    low, high = (round(hertz * WINDOW / RATE) for hertz in (LOWEST_HZ, HIGHEST_HZ))
    windows = np.lib.stride_tricks.sliding_window_view(waveform, WINDOW)[::HOP]  # (frames, window)
    power = np.square(np.abs(np.fft.rfft(windows * np.hanning(WINDOW).astype(np.float32), axis=1)[:, low:high]))
    highest = _running_max(_running_max(power, PEAK_FRAMES).T, PEAK_BINS).T
    frames, bins = np.nonzero((power == highest) & (power > power.max() * 10 ** (-FLOOR_DB / 10)))
    return frames, bins + low


def _running_max(values: np.ndarray, reach: int) -> np.ndarray:
    """The highest value within `reach` rows above and below; values are not negative."""
    padded = np.pad(values, ((reach, reach), (0, 0)))
    span = 1
    while 2 * span <= 2 * reach + 1:  # doubling takes a logarithmic number of maxima
        padded = np.maximum(padded[:-span], padded[span:])
        span *= 2
    rest = 2 * reach + 1 - span
    return np.maximum(padded[: len(padded) - rest], padded[rest:])


def _constellations(frames: np.ndarray, bins: np.ndarray) -> Landmarks:
    values, begins = [], []
    for second in range(1, NEXT_PEAKS):
        for third in range(second + 1, NEXT_PEAKS + 1):
            count = max(0, len(frames) - third)
            first = slice(0, count)
            to_second = frames[second : second + count] - frames[first]
            to_third = frames[third : third + count] - frames[first]
            near = to_third <= MAX_SPAN_FRAMES
            code = bins[first].astype(np.uint64)
            steps = (to_second // STEP_FRAMES, to_third // STEP_FRAMES)
            for part in (bins[second : second + count], bins[third : third + count], *steps):
                code = code * np.uint64(512) + part.astype(np.uint64)
            values.append(_mixed(code)[near])
            begins.append(frames[first][near] // STEP_FRAMES)
    return Landmarks(np.concatenate(values).astype(np.uint32), np.concatenate(begins).astype(np.uint16))


def _mixed(code: np.ndarray) -> np.ndarray:
    """A 32-bit hash of 45-bit codes."""
    with np.errstate(over="ignore"):
        return (code * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32)


def candidate_pairs(clips: Sequence[Landmarks]) -> list[tuple[int, int]]:
    """Pairs (earlier, later) of clips that share at least `MIN_SHARED` landmarks at one time offset."""
    if not clips:
        return []
    clip_of = np.repeat(np.arange(len(clips), dtype=np.int32), [len(clip.values) for clip in clips])
    values = np.concatenate([clip.values for clip in clips])
    times = np.concatenate([clip.times for clip in clips])
    parts = [np.flatnonzero(values % SORT_PARTS == part) for part in range(SORT_PARTS)]
    matches = np.concatenate([_matches(values[part], clip_of[part], times[part], len(clips)) for part in parts])
    keys, counts = np.unique(matches, return_counts=True)
    shared: dict[tuple[int, int], int] = {}
    for key, count in zip(keys[counts >= MIN_SHARED].tolist(), counts[counts >= MIN_SHARED].tolist(), strict=True):
        pair = divmod(key >> 16, len(clips))
        shared[pair] = max(shared.get(pair, 0), count)
    return _strongest(shared)


def _matches(values: np.ndarray, clip_of: np.ndarray, times: np.ndarray, clips: int) -> np.ndarray:
    """For every landmark that two clips share one number that encodes (earlier clip, later clip, time offset)."""
    order = np.argsort(values, kind="stable")  # equal values stay in the clips' order
    values, clip_of, times = values[order], clip_of[order].astype(np.int64), times[order].astype(np.int32)
    index = np.arange(len(values))
    first = np.maximum.accumulate(np.where(np.diff(values, prepend=~values[:1]) != 0, index, 0))  # of the same value
    matches = []
    for step in range(1, MAX_NEIGHBOURS + 2):
        # the last step pairs with the first of the same value, so that a large group stays connected
        before = index - step if step <= MAX_NEIGHBOURS else np.minimum(first, index - step)
        later = np.flatnonzero((before >= first) & (clip_of != clip_of[np.maximum(before, 0)]))
        offset = (times[later] - times[before[later]]) // 2 + 2**15  # halved: a peak may fall into the next step
        matches.append((clip_of[before[later]] * clips + clip_of[later]) * 2**16 + offset)
    return np.concatenate(matches)


def _strongest(shared: dict[tuple[int, int], int]) -> list[tuple[int, int]]:
    """For every later clip the pairs that share the most landmarks."""
    partners: Counter[int] = Counter()
    pairs = []
    for earlier, later in sorted(shared, key=lambda pair: (-shared[pair], pair)):
        if partners[later] < MAX_PARTNERS:
            partners[later] += 1
            pairs.append((earlier, later))
    return sorted(pairs)
