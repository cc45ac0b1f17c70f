"""GRPO runs with tables of completions, and a small table, for tests of what trackers get."""

from pathlib import Path

import grpo_runs
import numpy as np
import pytest
import soundfile
from tiny_world import make_base, write_train_file

from omni_clst.data.samples import AudioQASample
from omni_clst.grpo.completion_table import HEADER, tabulate

DRIVER = Path(__file__).with_name("driver.py")
REWARDS = "spelling: 2.0, format: 1.0"
COLUMNS = [*HEADER, "reward/spelling", "reward/format", "advantage"]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tracked world")  # a space in every path
    make_base(folder / "base")
    write_train_file(folder, 12)
    return folder


def arguments(world: Path, run_name: str, **changes) -> list[str]:
    """Three steps of two prompts, shuffled so that levels mix; a table with the first and the third."""
    settings = {"rewards": REWARDS, "max_steps": 3, "save_steps": 3, "order": "shuffled", "completion_table_steps": 2}
    return grpo_runs.arguments(world, run_name, **settings | changes)


def sample(number: int, folder: Path) -> AudioQASample:
    path = folder / f"{number}.wav"
    soundfile.write(path, np.full(4_000 * number, 0.1), 8_000)
    return AudioQASample(f"q{number}", str(path), "what is heard ?", ("a cat", "a dog"), "a dog", level="hard")


def row(position: int, completion: str, earned: float, advantage: float) -> dict:
    rewards = {"accuracy": earned, "format": 1.0}
    of_sample = {"id": f"q{position}", "level": "hard", "position": position}
    return of_sample | {"completion": completion, "finished": True, "rewards": rewards, "advantage": advantage}


def small_table(folder: Path, max_audio_seconds: float = 30.0):
    samples = {number: sample(number, folder) for number in (1, 2)}
    rows = [
        row(2, "<think>it barks</think><answer>a dog</answer>", 1.0, 0.5),
        row(1, "<think>\n\n</think><answer>a cat</answer>", 0.0, -1.0),
        row(2, "woof", 0.0, -0.5),
    ]
    return tabulate(rows, 21, samples.__getitem__, max_audio_seconds)
