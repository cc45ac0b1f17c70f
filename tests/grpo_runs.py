"""GRPO runs of a tiny model in tests: their settings, their start, and what they wrote."""

import json
import signal
import subprocess
from pathlib import Path

import fork_server
import pytest
from hooks.computing import reward_spelling
from hooks.logs import hash_clips
from tiny_world import make_base, write_train_file

import grpo
from omni_clst.data.encoder import OmniEncoder, collate
from omni_clst.data.layouts import read_samples
from omni_clst.data.prompts import make_prompt
from omni_clst.method.rewards import REWARDS
from omni_clst.model.checkpoints import find_checkpoint, load_processor

DRIVER = Path(__file__).with_name("driver.py")
ROWS = 36


@pytest.fixture(scope="module", autouse=True)
def spelling_earns():
    """A reward that random text earns now and then."""
    reward_spelling()
    yield
    REWARDS.pop("spelling")
    REWARDS.pop("seldom")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("grpo world")  # a space in every path
    make_base(folder / "base")
    write_train_file(folder, ROWS)
    return folder


def arguments(world: Path, run_name: str, **changes) -> list[str]:
    """Two prompts of two completions per step, one process; a checkpoint every two steps."""
    settings = {
        "model": world / "base",
        "train_file": world / "train.jsonl",
        "runs_dir": world / "runs",
        "run_name": run_name,
        "prompt": "demo_selective",
        "system_prompt": "",
        "tuning": "lora",
        "rewards": "spelling: 1.0",
        "num_generations": 2,
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 1,
        "max_completion_length": 6,
        "beta": 0.1,
        "gradient_checkpointing": "false",
        "max_steps": 4,
        "save_steps": 2,
        "logging_steps": 1,
        "dataloader_num_workers": 0,
        "learning_rate": 0.01,
        "lr_scheduler_type": "constant",
        "device": "cpu",
        "report_to": "none",
    } | changes
    return [word for key, value in settings.items() for word in (f"--{key}", str(value))]


def run_driver(hook: str, argv: list[str], processes: int = 1, forked: bool = True) -> subprocess.CompletedProcess:
    return fork_server.run([DRIVER, "grpo", f"spell+{hook}", *argv], processes, forked)


def succeeds(hook: str, argv: list[str], processes: int = 1, forked: bool = True) -> None:
    result = run_driver(hook, argv, processes, forked)
    assert result.returncode == 0, result.stderr[-3000:]


def is_killed(hook: str, argv: list[str], forked: bool = True) -> None:
    result = run_driver(hook, argv, forked=forked)
    assert result.returncode == -signal.SIGKILL, result.stderr[-3000:]


def rows_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def losses(run_dir: Path) -> dict[int, float]:
    return {row["step"]: row["loss"] for row in rows_of(run_dir / "metrics.jsonl") if "loss" in row}


def metric(run_dir: Path, name: str) -> list[float]:
    return [row[name] for row in rows_of(run_dir / "metrics.jsonl") if name in row]


def completions(run_dir: Path) -> list[tuple]:
    return [(r["step"], r["position"], r["id"], r["completion"]) for r in rows_of(run_dir / "completions.jsonl")]


def hashes_of_the_file(world: Path) -> list[str]:
    """The hash of every row's clip, in the file's order."""
    encoder = OmniEncoder(load_processor(find_checkpoint(str(world / "base"))), make_prompt("demo_selective", ""), 30.0)
    hashes = []
    for sample in read_samples(str(world / "train.jsonl"), None):
        batch = collate([encoder.encode(sample)], 0, "left")
        hashes += hash_clips(batch["input_features"], batch["feature_attention_mask"])
    assert len(set(hashes)) == ROWS
    return hashes


def logged_clips(file: Path, phase: str, rank: int = 0) -> list[str]:
    """Hashes of the clips that reached the model in a phase, in the order in which they did."""
    rows = rows_of(file.with_suffix(f".rank{rank}"))
    return [hash_ for row in rows if row["phase"] == phase for hash_ in row["clips"]]


@pytest.fixture(scope="module")
def undisturbed(world):
    grpo.main(arguments(world, "undisturbed"))
    return world / "runs" / "undisturbed"
