"""Measure how copies of a clip differ from other clips: shared landmarks, correlation of the waveforms, cost of the search.

Takes the clips of a folder (real ones, else 40 that it makes), encodes each in several ways and cuts 5 s out of it, and
prints for each way the least that a copy has in common with its original, and the most that other clips have. Then it
searches pairs among many made-up clips' landmarks.

    python bench/clip_equality.py --clips data/MMAU/test-mini-audios
"""

import argparse
import io
import resource
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import soundfile
import soxr

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY / "tests"), str(REPOSITORY / "src")]

from foreign_sets import waveform  # noqa: E402

from omni_clst.data.audio import SAMPLING_RATE, load_audio  # noqa: E402
from omni_clst.preparation.agreement import Agreement, compare  # noqa: E402
from omni_clst.preparation.landmarks import RATE, Landmarks, candidate_pairs, find_landmarks  # noqa: E402


def encoded(wave: np.ndarray, rate: int, **options) -> np.ndarray:
    """A clip encoded in another format and rate, and decoded at 16 kHz."""
    buffer = io.BytesIO()
    soundfile.write(buffer, soxr.resample(wave, SAMPLING_RATE, rate), rate, **options)
    buffer.seek(0)
    decoded, rate = soundfile.read(buffer, dtype="float32")
    return soxr.resample(decoded, rate, SAMPLING_RATE)


def cut(wave: np.ndarray) -> np.ndarray:
    start = len(wave) // 3
    return wave[start : start + 5 * SAMPLING_RATE]


WAYS = {
    "MP3": lambda wave: encoded(wave, 44_100, format="MP3"),
    "Ogg Vorbis": lambda wave: encoded(wave, 44_100, format="OGG"),
    "Ogg Vorbis, lowest": lambda wave: encoded(wave, 16_000, format="OGG", compression_level=1.0),
    "Opus": lambda wave: encoded(wave, 48_000, format="OGG", subtype="OPUS"),
    "WAV at 8 kHz": lambda wave: encoded(wave, 8_000, format="WAV"),
    "FLAC at 22.05 kHz": lambda wave: encoded(wave, 22_050, format="FLAC"),
    "0.3 s later": lambda wave: np.concatenate([np.zeros(4_777, np.float32), wave]),
    "turned over, quieter": lambda wave: -0.2 * wave,
    "5 s cut out": cut,
    "5 s cut out, MP3": lambda wave: encoded(cut(wave), 44_100, format="MP3"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, help="a folder of clips")
    parser.add_argument("--many", type=int, default=100_000, help="made-up clips of 10 s, for the cost of the search")
    arguments = parser.parse_args()
    if arguments.clips:
        waves = [load_audio(path) for path in sorted(arguments.clips.iterdir())]
    else:
        waves = [waveform(number, seconds=10.0) for number in range(40)]
    originals = [landmarks_of(wave) for wave in waves]
    seconds = sum(map(len, waves)) / SAMPLING_RATE
    print(
        f"{len(waves)} clips, {seconds:.0f} s, {sum(len(one.values) for one in originals) / seconds:.0f} landmarks a second"
    )
    print(f"{'':<22} {'candidates':>10} {'landmarks':>9} {'correlation':>11} {'worst window':>12} {'high':>6}  relations")
    for name, way in WAYS.items():
        copies = [way(wave) for wave in waves]
        of_copies = [landmarks_of(copy) for copy in copies]
        pairs = set(candidate_pairs(originals + of_copies))
        met = sum((place, place + len(waves)) in pairs for place in range(len(waves)))
        fewest = min(map(in_common, originals, of_copies))
        agreements = [compare(wave, copy) for wave, copy in zip(waves, copies, strict=True)]
        print(f"{name:<22} {met:>10} {fewest:>9} {figures(agreements, min)}")
    others = [(a, b) for a in range(len(waves)) for b in range(a)][::5]
    most = max(in_common(originals[a], originals[b]) for a, b in others)
    agreements = [compare(waves[a], waves[b]) for a, b in others]
    print(f"{f'{len(others)} other pairs':<22} {'':>10} {most:>9} {figures(agreements, max)}")
    search(arguments.many)


def landmarks_of(wave: np.ndarray) -> Landmarks:
    return find_landmarks(soxr.resample(wave, SAMPLING_RATE, RATE, quality="LQ"))


def in_common(first: Landmarks, second: Landmarks) -> int:
    """The number of landmarks that two clips share at their most frequent time offset."""
    times = dict(zip(first.values.tolist(), first.times.tolist(), strict=True))
    met = Counter(
        (time - times[value]) // 2
        for value, time in zip(second.values.tolist(), second.times.tolist(), strict=True)
        if value in times
    )
    return max(met.values(), default=0)


def figures(agreements: list[Agreement], extreme) -> str:
    correlation = extreme(agreement.correlation for agreement in agreements)
    lowest = extreme(agreement.lowest for agreement in agreements)
    relations = Counter(agreement.relation or "none" for agreement in agreements)
    high = extreme((agreement.high for agreement in agreements if agreement.high is not None), default=float("nan"))
    listed = ", ".join(f"{count} {name}" for name, count in relations.items())
    return f"{correlation:>11.3f} {lowest:>12.3f} {high:>6.3f}  {listed}"


def search(count: int) -> None:
    """Time and memory of the search among clips whose landmarks are equal by chance as often as in 38 real ones: 7e-9."""
    rng = np.random.default_rng(0)
    clips = []
    for _ in range(count):
        values = (rng.geometric(1.4e-8, 580) % 2**32).astype(np.uint32)
        clips.append(Landmarks(values, np.sort(rng.integers(0, 156, 580)).astype(np.uint16)))
    start = time.perf_counter()
    pairs = candidate_pairs(clips)
    seconds, peak = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{count} clips of 10 s: {len(pairs)} pairs to compare, found in {seconds:.1f} s, {peak:.1f} GiB")


if __name__ == "__main__":
    main()
