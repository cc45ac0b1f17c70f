"""Measure the start of a training over many rows: time, memory, and how many audio headers are read.

    python bench/start.py --rows 20000 200000 --clips 20000
    python bench/start.py --rows 200000 --clips 100000 --slow_ms 10      # as on a slow network disk

Writes a training file of so many rows over tiny wav files, then starts SFT twice up to the loaded weights, in fresh
processes (`--processes` at once, as the ranks of a launch). Prints for each start its seconds, the headers that all of them
read together, the memory of one process at its peak and what its samples keep of it, and the size of the headers' file.
With `--slow_ms` every opening of a clip and every look at its size takes so much longer.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import wave
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY / "tests"), str(REPOSITORY / "src")]

CHOICES = ["hiss", "drum", "click", "beep"]


def write_rows(folder: Path, rows: int, clips: int) -> None:
    """A training file in our own format; the clips are spread over folders of 1,000."""
    names = [f"clips/{number // 1000:03d}/clip{number:06d}.wav" for number in range(min(rows, clips))]
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        with wave.open(str(folder / name), "wb") as file:
            file.setparams((1, 2, 8000, 0, "NONE", ""))
            file.writeframes(bytes(2 * (400 + number % 400)))
    with open(folder / "train.jsonl", "w", encoding="utf-8") as file:
        for number in range(rows):
            row = {
                "id": f"row{number}",
                "audio_path": names[number % len(names)],
                "question": f"which of the sounds comes first in recording {number} ?",
                "choices": CHOICES,
                "answer": CHOICES[number % 4],
                "think": "" if number % 2 else "the first sound is short and loud , so that it is no hiss",
                "source": "bench",
                "level": ("easy", "medium", "hard")[3 * number // rows],
            }
            file.write(json.dumps(row) + "\n")


def resident_mib() -> float:
    """Memory of this process now, without pages of files."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0]) / 1024


def start(folder: Path, slow_ms: float) -> None:
    """Start a training up to its weights, and print the figures as JSON."""
    import torch
    from sft_runs import arguments

    from omni_clst.data import audio, header_cache
    from omni_clst.model.checkpoints import find_checkpoint
    from omni_clst.settings import load_config
    from omni_clst.training.config import SFTConfig
    from omni_clst.training.sft import SFTRun
    from omni_clst.training.trainer_settings import trainer_keys

    opened, open_clip, look = [], audio.open_clip, header_cache._stamp
    audio.open_clip = lambda path: (opened.append(1), time.sleep(slow_ms / 1000), open_clip(path))[-1]
    header_cache._stamp = lambda clip: (time.sleep(slow_ms / 1000), look(clip))[-1]
    config = load_config(SFTConfig, arguments(folder, "run"), trainer_keys)
    run = SFTRun(config, find_checkpoint(config.model), torch.device("cpu"))
    before, began = resident_mib(), time.monotonic()
    run.load_samples()
    _ = run.workload
    seconds = time.monotonic() - began
    run.load_model()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "headers": len(opened), "peak": peak, "kept": resident_mib() - before}))


def start_all(folder: Path, processes: int, slow_ms: float) -> list[dict]:
    words = [sys.executable, __file__, "--start", str(folder), "--slow_ms", str(slow_ms)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    started = [
        subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for _ in range(processes)
    ]
    return [json.loads(process.communicate()[0].splitlines()[-1]) for process in started]


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", nargs="+", type=int, default=[20_000, 200_000])
    parser.add_argument("--clips", type=int, default=20_000)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--slow_ms", type=float, default=0.0)
    parser.add_argument("--start", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.start:
        start(Path(options.start), options.slow_ms)
        return
    from tiny_world import make_base

    print(f"{options.processes} processes, {options.clips} clips; memory in MiB, that of the samples in one process")
    print("   rows  start  seconds  headers read  peak  kept  file of headers")
    for rows in options.rows:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            make_base(folder / "base")
            write_rows(folder, rows, options.clips)
            for number in ("first", "second"):
                figures = start_all(folder, options.processes, options.slow_ms)
                slowest, read = max(one["seconds"] for one in figures), sum(one["headers"] for one in figures)
                peak, kept = max(one["peak"] for one in figures), max(one["kept"] for one in figures)
                size = sum(path.stat().st_size for path in folder.glob(".*.headers")) / 2**20
                print(f"{rows:7}  {number:6} {slowest:7.1f} {read:13} {peak:5.0f} {kept:5.0f}  {size:.1f}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
