"""SFT runs of a tiny model in tests: their settings, their start, and what they wrote."""

import json
import signal
from pathlib import Path

import fork_server
import pytest
from tiny_world import make_base, write_train_file

import sft

DRIVER = Path(__file__).with_name("driver.py")
STEPS = 6


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sft world")  # a space in every path
    make_base(folder / "base")
    write_train_file(folder, 24)
    return folder


def arguments(world: Path, run_name: str, **changes) -> list[str]:
    settings = {
        "model": world / "base",
        "train_file": world / "train.jsonl",
        "runs_dir": world / "runs",
        "run_name": run_name,
        "prompt": "demo_selective",
        "system_prompt": "",
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 2,
        "gradient_checkpointing": "false",
        "max_steps": STEPS,
        "eval_steps": 2,
        "save_steps": 2,
        "logging_steps": 1,
        "dataloader_num_workers": 0,
        "learning_rate": 0.01,
        "device": "cpu",
        "report_to": "none",
    } | changes
    return [word for key, value in settings.items() for word in (f"--{key}", str(value))]


def losses(run_dir: Path) -> dict[int, float]:
    rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return {row["step"]: row["loss"] for row in rows if "loss" in row}


def run_driver(hook: str, argv: list[str], processes: int = 1, forked: bool = True) -> int:
    result = fork_server.run([DRIVER, "sft", hook, *argv], processes, forked)
    if result.returncode not in (0, -signal.SIGKILL):
        raise AssertionError(result.stderr[-3000:])
    return result.returncode


@pytest.fixture(scope="module")
def undisturbed(world):
    sft.main(arguments(world, "undisturbed"))
    return world / "runs" / "undisturbed"
