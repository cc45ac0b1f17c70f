"""Which clips may hold the same sound, whole or in part: constellations of spectral peaks (Wang 2003).

A landmark is three peaks of a clip's spectrogram: their frequencies and the times between them, as one number. It outlives
codecs, rates, loudness and cutting, so that a clip and a piece of it have landmarks in common, all at one distance in time.
Clips are never compared pairwise: landmarks are sorted, and only neighbours of one value meet.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RATE = 8_000
WINDOW, HOP = 1_024, 128  # samples: 7.8 Hz and 16 ms
MAX_SECONDS = 600.0  # of a clip that are looked at
LOWEST_HZ, HIGHEST_HZ = 150.0, 3_400.0  # what a telephone, and every codec, leaves alone
PEAK_FRAMES, PEAK_BINS = 24, 20  # no peak has a higher one so near
FLOOR_DB = 50.0  # below the clip's highest peak
REACH_FRAMES = 120  # from a landmark's first peak to its last
STEP_FRAMES = 4  # to which the times between peaks are rounded: where a clip is cut moves its frames
FOLLOWING = 4  # peaks that a landmark's other two are chosen from
MIN_SHARED = 3  # landmarks at one distance in time, for a pair to be compared
PARTS = 16  # in which landmarks are sorted, for the memory's sake
NEIGHBOURS = 16  # of the same landmark, that a clip is paired with
MAX_PARTNERS = 12  # clips that a clip is compared with, at most


@dataclass(frozen=True)
class Landmarks:
    """`values` uint32 and `times` uint16 (landmarks,): what they are, and when they begin, in steps of 64 ms."""

    values: np.ndarray
    times: np.ndarray


def find_landmarks(waveform: np.ndarray) -> Landmarks:
    """Landmarks of a mono clip (samples,) at 8 kHz."""
    frames, bins = _peaks(waveform[: int(MAX_SECONDS * RATE)])
    return _constellations(frames, bins)


def _peaks(waveform: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(frames, bins) of the spectrogram's peaks, in the order of time."""
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
    while 2 * span <= 2 * reach + 1:  # doubled until it covers the window: a few maxima instead of one a row
        padded = np.maximum(padded[:-span], padded[span:])
        span *= 2
    rest = 2 * reach + 1 - span
    return np.maximum(padded[: len(padded) - rest], padded[rest:])


def _constellations(frames: np.ndarray, bins: np.ndarray) -> Landmarks:
    values, begins = [], []
    for second in range(1, FOLLOWING):
        for third in range(second + 1, FOLLOWING + 1):
            count = max(0, len(frames) - third)
            first = slice(0, count)
            to_second = frames[second : second + count] - frames[first]
            to_third = frames[third : third + count] - frames[first]
            near = to_third <= REACH_FRAMES
            code = bins[first].astype(np.uint64)
            steps = (to_second // STEP_FRAMES, to_third // STEP_FRAMES)
            for part in (bins[second : second + count], bins[third : third + count], *steps):
                code = code * np.uint64(512) + part.astype(np.uint64)
            values.append(_mixed(code)[near])
            begins.append(frames[first][near] // STEP_FRAMES)
    return Landmarks(np.concatenate(values).astype(np.uint32), np.concatenate(begins).astype(np.uint16))


def _mixed(code: np.ndarray) -> np.ndarray:
    """45 bits mixed and cut to 32."""
    with np.errstate(over="ignore"):
        return (code * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32)


def candidate_pairs(clips: Sequence[Landmarks]) -> list[tuple[int, int]]:
    """Pairs (earlier, later) of clips that have at least `MIN_SHARED` landmarks in common at one distance in time."""
    if not clips:
        return []
    owner = np.repeat(np.arange(len(clips), dtype=np.int32), [len(clip.values) for clip in clips])
    values = np.concatenate([clip.values for clip in clips])
    times = np.concatenate([clip.times for clip in clips])
    parts = [np.flatnonzero(values % PARTS == part) for part in range(PARTS)]
    met = np.concatenate([_meetings(values[part], owner[part], times[part], len(clips)) for part in parts])
    keys, counts = np.unique(met, return_counts=True)
    shared: dict[tuple[int, int], int] = {}
    for key, count in zip(keys[counts >= MIN_SHARED].tolist(), counts[counts >= MIN_SHARED].tolist(), strict=True):
        pair = divmod(key >> 16, len(clips))
        shared[pair] = max(shared.get(pair, 0), count)
    return _strongest(shared)


def _meetings(values: np.ndarray, owner: np.ndarray, times: np.ndarray, clips: int) -> np.ndarray:
    """For every landmark that two clips have in common one number: earlier clip, later clip, distance in time."""
    order = np.argsort(values, kind="stable")  # of one value: in the clips' order
    values, owner, times = values[order], owner[order].astype(np.int64), times[order].astype(np.int32)
    here = np.arange(len(values))
    first = np.maximum.accumulate(np.where(np.diff(values, prepend=~values[:1]) != 0, here, 0))  # of its value
    met = []
    for step in range(1, NEIGHBOURS + 2):
        before = here - step if step <= NEIGHBOURS else np.minimum(first, here - step)  # the first joins a large group
        meets = np.flatnonzero((before >= first) & (owner != owner[np.maximum(before, 0)]))
        distance = (times[meets] - times[before[meets]]) // 2 + 2**15  # halved: a peak may fall into the next step
        met.append((owner[before[meets]] * clips + owner[meets]) * 2**16 + distance)
    return np.concatenate(met)


def _strongest(shared: dict[tuple[int, int], int]) -> list[tuple[int, int]]:
    """Of every later clip the pairs that have most in common."""
    taken: Counter[int] = Counter()
    pairs = []
    for one, other in sorted(shared, key=lambda pair: (-shared[pair], pair)):
        if taken[other] < MAX_PARTNERS:
            taken[other] += 1
            pairs.append((one, other))
    return sorted(pairs)
