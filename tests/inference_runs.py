"""Answers of a tiny model to a tiny MMAU in tests: their settings, their start, and what was written."""

import signal
from pathlib import Path

import fork_server
import pytest
from tiny_world import make_base, write_mmau

import infer
from omni_clst.files import read_jsonl

DRIVER = Path(__file__).with_name("driver.py")
QUESTIONS = 22


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("infer world")
    make_base(folder / "base")
    write_mmau(folder / "data", QUESTIONS)
    return folder


def arguments(world: Path, output: str, **changes) -> list[str]:
    settings = {
        "data_root": world / "data",
        "benchmarks": "mmau-mini",
        "output": world / output,
        "batch_tokens": 300,
        "max_new_tokens": 8,
        "num_workers": 0,
        "device": "cpu",
    } | changes
    return [str(world / "base")] + [word for key, value in settings.items() for word in (f"--{key}", str(value))]


@pytest.fixture(scope="module")
def undisturbed(world):
    infer.main(arguments(world, "undisturbed"))
    return world / "undisturbed" / "mmau-mini"


def rows(path: Path) -> list[dict]:
    return [row for _, row in read_jsonl(path)]


def run_driver(hook: str, argv: list[str], processes: int = 1) -> int:
    result = fork_server.run([DRIVER, "infer", hook, *argv], processes)
    if result.returncode not in (0, -signal.SIGKILL):
        raise AssertionError(result.stderr[-3000:])
    return result.returncode


@pytest.fixture(scope="module")
def thoughtless(world):
    infer.main(arguments(world, "thoughtless", prompt="demo_selective", thought="empty"))
    return world / "thoughtless" / "mmau-mini.empty_thought"
