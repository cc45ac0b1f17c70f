"""Runs of a tiny base that speaks, and their export, for tests of it."""

from pathlib import Path

import grpo_runs
import pytest
import sft_runs
from speaking_base import make_speaking_base
from tiny_world import write_train_file

import export
import grpo
import sft

STEPS = {"max_steps": 2, "save_steps": 2}


@pytest.fixture(scope="module")
def world(tmp_path_factory, spelling_earns):
    """SFT of a base that speaks, GRPO with LoRA and of all weights from it, and SFT of all weights."""
    folder = tmp_path_factory.mktemp("exported world")  # a space in every path
    make_speaking_base(folder / "base")
    write_train_file(folder, 12)
    sft.main(sft_runs.arguments(folder, "sft", **STEPS, eval_steps=2, valid_file=folder / "train.jsonl"))
    sft.main(sft_runs.arguments(folder, "sft full", **STEPS, eval_steps=2, tuning="full"))
    merged = folder / "runs" / "sft" / "merged"
    for tuning in ("lora", "full"):
        grpo.main(grpo_runs.arguments(folder, f"grpo {tuning}", **STEPS, tuning=tuning, model=merged))
    return folder


def run_export(world: Path, run: str, output: Path, *words: str) -> Path:
    export.main([str(world / "runs" / run), str(output), "--dtype", "float32", *words])
    return output
