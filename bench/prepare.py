"""Measure speed and memory of preparing data sets, against a plain loop over librosa.load.

Makes AVQA (JSON and 44.1 kHz clips), AudSem (a webdataset tar with the audio inside) and AudioMCQ (JSON Lines) of --rows
rows each, over --clips different clips of two seconds; prepares each in a process of its own, and then the plain loop
over the same clips. All in one run on one machine.

    python bench/prepare.py
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY / "tests"), str(REPOSITORY / "src")]

from foreign_sets import audiomcq_row, audsem_row, avqa_row, write_audsem_tar, write_clip  # noqa: E402

SECONDS, RATE = 2.0, 44_100
PLAIN_CLIPS = 400  # enough for the loop's rate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--clips", type=int, default=2_000, help="different clips a set")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        print(f"{arguments.rows} rows and {arguments.clips} different clips a set, {os.cpu_count()} cores")
        print(f"{'set':<10} {'rows':>7} {'clips':>7} {'seconds':>8} {'rows/s':>7} {'clips/s':>8} {'peak MiB':>9}  again")
        rates = {}
        for source, make in (("avqa", make_avqa), ("audsem", make_audsem), ("audiomcq", make_audiomcq)):
            path = make(root / source, arguments.rows, arguments.clips)
            seconds, peak = prepare(source, path, root / "out" / source)
            again, _ = prepare(source, path, root / "out" / source)
            report = json.loads((root / "out" / source / "report" / "audit.json").read_text())
            clips = len((root / "out" / source / "audit.jsonl").read_text().splitlines())
            rates[source] = clips / seconds, clips / (seconds - again)
            print(
                f"{source:<10} {report['rows_in']:>7} {clips:>7} {seconds:>8.1f} {report['rows_in'] / seconds:>7.0f} "
                f"{clips / seconds:>8.0f} {peak:>9.0f}  {again:.1f} s",
                flush=True,
            )
        plain = plain_rate(sorted((root / "avqa" / "audio").glob("*.wav"))[:PLAIN_CLIPS])
        print(f"plain loop over librosa.load, first call not counted: {plain:.0f} clips/s")
        whole, inspection = rates["avqa"]
        ratio = inspection / plain
        print(f"avqa, inspection alone (hash, decode, peak, fingerprint): {inspection:.0f} clips/s, ratio {ratio:.1f}")
        print(f"avqa, all of it (start, rows, splits and report included): {whole:.0f} clips/s, ratio {whole / plain:.1f}")


def make_avqa(folder: Path, rows: int, clips: int) -> Path:
    for number in range(clips):
        write_clip(folder / "audio" / f"vid{number:04d}_30.wav", number, seconds=SECONDS, rate=RATE)
    named = [avqa_row(number, video_name=f"vid{number % clips:04d}_{30:06d}") for number in range(rows)]
    (folder / "train_qa.json").write_text(json.dumps(named))
    return folder / "train_qa.json"


def make_audsem(folder: Path, rows: int, clips: int) -> Path:
    return write_audsem_tar(folder / "a.tar", [audsem_row(number) for number in range(rows)], lambda number: number % clips)


def make_audiomcq(folder: Path, rows: int, clips: int) -> Path:
    for number in range(clips):
        write_clip(folder / "audios" / f"mcq{number:05d}.wav", 5_000 + number, seconds=SECONDS)
    named = [audiomcq_row(number, audio_path=f"audios/mcq{number % clips:05d}.wav") for number in range(rows)]
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in named))
    return folder / "data.jsonl"


# A process's peak includes its parent's memory when it was started, hence a small process in between.
MEASURE = """
import resource, subprocess, sys, time
start = time.perf_counter()
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
"""


def prepare(source: str, path: Path, output: Path) -> tuple[float, float]:
    """Seconds and peak memory (MiB, the largest process) of one preparation."""
    command = [sys.executable, str(REPOSITORY / "src" / "prepare.py"), source]
    command += ["--input", str(path), "--output", str(output), "--against", "none"]
    measured = subprocess.run([sys.executable, "-c", MEASURE, *command], check=True, capture_output=True, text=True)
    seconds, peak = map(float, measured.stdout.split())
    return seconds, peak


def plain_rate(paths: list[Path]) -> float:
    """Clips per second of the usual loop: load one after the other, at the model's rate."""
    import librosa

    librosa.load(paths[0], sr=16_000)  # imports and compiles
    start = time.perf_counter()
    for path in paths:
        librosa.load(path, sr=16_000)
    return len(paths) / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
