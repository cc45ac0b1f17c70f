"""Run on a GPU what only a GPU shows, within ten minutes, and write one Markdown table with the card's figures.

The parts, each in a process of its own with a limit of time: the tests that need a GPU; `card.py` at 0.5B, 3B and 7B
shapes, LoRA and full tuning where they fit; GRPO under ZeRO-3 with one process. A row is in the table as soon as it is
measured, so a part that is out of time or fails leaves what it had. Without a GPU it says what it would run, and runs the
smallest size.

    bash bench/gpu.sh
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from card import HEADER, as_row
from common import REPOSITORY, SIZES, describe_machine, make_model, make_processor
from memory import GIB
from tiny_world import write_train_file
from transformers import Qwen2_5OmniConfig

from omni_clst.demo.pretrain import save_base

BENCH = REPOSITORY / "bench"
TOTAL_SECONDS = 580.0
BYTES = {
    "lora": 2 + 2,
    "full": 4 + 2 + 4 + 8 + 2,
}  # a weight: with a merged copy; with gradient, AdamW, autocast, reference
CARD_SHARE = 0.9


@dataclass(frozen=True)
class Part:
    """One part: its name in the table, its command, its limit, and the memory that it needs at least."""

    size: str
    tuning: str
    name: str
    command: tuple[str, ...]
    seconds: float
    gib: float = 0.0


def parameters(size: str) -> int:
    """The number of weights of a size, without making them."""
    with torch.device("meta"):
        return sum(p.numel() for p in make_model(make_processor(), size, device="meta").parameters())


def card_part(size: str, tuning: str, seconds: float, more: tuple[str, ...] = ()) -> Part:
    command = (sys.executable, str(BENCH / "card.py"), "--size", size, "--tuning", tuning, *more)
    return Part(size, tuning, "card.py", command, seconds, BYTES[tuning] * parameters(size) / GIB)


def gpu_parts(new_tokens: int) -> list[Part]:
    """The parts on a GPU, the quick and telling ones first."""
    marked = [str(path) for path in sorted((REPOSITORY / "tests").glob("test_*.py")) if "mark.gpu" in path.read_text()]
    tests = (sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", *marked)
    tokens = ("--new_tokens", str(new_tokens))
    return [
        Part("tiny", "", "tests marked gpu", tests, 120),
        card_part("500m", "lora", 60, tokens),
        card_part("3b", "lora", 90, tokens),
        card_part("7b", "lora", 110, tokens),
        Part("500m", "full", "GRPO, ZeRO-3, one process", (sys.executable, str(BENCH / "gpu.py"), "--zero3", "500m"), 120),
        card_part("500m", "full", 60, tokens),
        card_part("3b", "full", 90, tokens),
        card_part("7b", "full", 110, tokens),
    ]


def cpu_parts(new_tokens: int, seconds: float) -> list[Part]:
    return [card_part("1m", "lora", seconds, ("--new_tokens", str(new_tokens), "--device", "cpu"))]


def append(table: Path, *cells: str) -> None:
    with table.open("a", encoding="utf-8") as file:
        print(as_row(cells), file=file)
    print(as_row(cells), flush=True)


def run_part(part: Part, table: Path, log: Path, seconds: float) -> None:
    """Run a part for at most `seconds`; rows come from itself, or here from its end."""
    start, before = time.monotonic(), len(table.read_text(encoding="utf-8"))
    writes_rows = part.name != "tests marked gpu"
    command = [*part.command, *(("--table", str(table)) if writes_rows else ())]
    with log.open("w", encoding="utf-8") as file:
        # a session of its own: what it started ends with it
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            status = process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    print(table.read_text(encoding="utf-8")[before:], end="", flush=True)
    taken = f"{time.monotonic() - start:.0f}"
    last = (log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or [""])[-1]
    if status is None:
        append(table, part.size, part.tuning, f"{part.name}: out of time, the rest is missing", taken, "", "", "")
    elif status or not writes_rows:
        append(table, part.size, part.tuning, f"{part.name}: {last[:150].replace('|', '/')}", taken, "", "", "")


def run_parts(parts: list[Part], table: Path, memory_gib: float, total: float) -> None:
    """All parts one after the other, within `total` seconds; what does not fit the card or the time gets a row too."""
    end = time.monotonic() + total
    for number, part in enumerate(parts):
        left = end - time.monotonic()
        if part.gib > CARD_SHARE * memory_gib:
            append(table, part.size, part.tuning, f"does not fit: {part.gib:.0f} GiB at least", "", "", "", "")
        elif left < 15:
            append(table, part.size, part.tuning, f"{part.name}: not run, no time was left", "", "", "", "")
        else:
            log = table.with_name(f"{number}_{part.size}_{part.tuning}.log")
            run_part(part, table, log, min(part.seconds, left))


def zero3_settings(folder: Path, size: str, device: str) -> Iterator[tuple[str, object]]:
    """The settings of four GRPO steps of a random model under ZeRO-3, whose data are made in `folder`."""
    processor = make_processor()
    model = make_model(processor, size, dtype=torch.bfloat16 if device == "cuda" else torch.float32, device=device)
    save_base(folder / "base", model, Qwen2_5OmniConfig(thinker_config=model.config.to_dict()), processor)
    yield from {
        "model": folder / "base", "train_file": write_train_file(folder, 32), "runs_dir": folder, "run_name": "zero3",
        "prompt": "selective", "rewards": "format: 1.0", "max_steps": 4, "save_steps": 1000, "logging_steps": 1,
        "deepspeed": REPOSITORY / "configs" / "zero3.json", "report_to": "none", "dataloader_num_workers": 0,
        "max_completion_length": 64, "engine": "hf", "device": device,
    }.items()  # fmt: skip


def measure_zero3(size: str, table: Path) -> None:
    """Train by `grpo.py` in one process under ZeRO-3, and write the row of its last step."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with tempfile.TemporaryDirectory() as name:
        words = [w for key, value in zero3_settings(Path(name), size, device) for w in (f"--{key}", str(value))]
        torch.cuda.empty_cache()
        launcher = [str(REPOSITORY / "src" / "launch.py"), "--standalone", "--local_addr", "127.0.0.1"]
        command = [sys.executable, *launcher, "--nproc_per_node", "1", str(REPOSITORY / "src" / "grpo.py"), *words]
        more = {"DS_ACCELERATOR": "cpu"} if device == "cpu" else {}
        subprocess.run(command, check=True, env={**os.environ, **more})
        lines = (Path(name) / "zero3" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    step = [row for row in map(json.loads, lines) if "loss" in row][-1]
    seconds = sum(step[f"time/{phase}"] for phase in ("rollout", "score", "update"))
    rate, memory = f"{step['speed/tokens_per_second']:,.0f}", f"{step['memory/peak_gib']:.1f}"
    append(table, size, "full", "GRPO step, ZeRO-3, one process", f"{seconds:.2f}", rate, "", memory)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=REPOSITORY / "runs" / "gpu", help="the folder of table and logs")
    parser.add_argument("--new_tokens", type=int, default=128)
    parser.add_argument("--seconds", type=float, default=TOTAL_SECONDS, help="after which the last part is ended")
    parser.add_argument("--zero3", choices=SIZES, help="this part alone, in this process")
    parser.add_argument("--table", type=Path, default=Path("/dev/null"), help="of --zero3")
    arguments = parser.parse_args()
    if arguments.zero3:
        measure_zero3(arguments.zero3, arguments.table)
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # the part under way ends, too
    has_gpu = torch.cuda.is_available()
    arguments.output.mkdir(parents=True, exist_ok=True)
    table = arguments.output / "table.md"
    memory = torch.cuda.get_device_properties(0).total_memory / GIB if has_gpu else float("inf")
    card = f"{describe_machine('cuda')}, {memory:.0f} GiB" if has_gpu else f"no GPU; {describe_machine('cpu')}"
    head = [
        f"{card}; torch {torch.__version__}, CUDA {torch.version.cuda}",
        "",
        as_row(HEADER),
        as_row(("---",) * len(HEADER)),
    ]
    table.write_text("\n".join(head) + "\n", encoding="utf-8")
    parts = gpu_parts(arguments.new_tokens)
    if not has_gpu:
        print("no GPU here. On one this would run, each within its limit:")
        for part in parts:
            print(f"  {part.size:<6}{part.tuning:<6}{part.name}, {part.seconds:.0f} s, {part.gib:.0f} GiB at least")
        parts = cpu_parts(min(arguments.new_tokens, 8), arguments.seconds)
        print("the smallest size on the CPU:")
    print("\n".join(head), flush=True)
    run_parts(parts, table, memory, arguments.seconds)
    print(f"written: {table}")


if __name__ == "__main__":
    main()
