"""A run says the time left while it goes on, and what it cost at its end."""

import json

import fork_server
import grpo_runs
import pytest
import sft_runs
import tracked_runs
from tracked_runs import DRIVER, arguments

import grpo
import sft
from omni_clst.answering import progress
from omni_clst.data import time_left
from omni_clst.data.time_left import TimeLeft, duration

spelling_earns, world = grpo_runs.spelling_earns, tracked_runs.world  # fixtures


# Time left


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (3_599, "59 min 59 s"),
        (3_600, "1 h 0 min"),
        (86_399, "23 h 59 min"),
        (187_200, "2 d 4 h"),
    ],
)
def test_duration_in_its_two_largest_units(seconds, words):
    assert duration(seconds) == words


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass only when a test says so."""
    now = [100.0]
    for module in (time_left, progress):
        monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def test_time_left_counts_the_parts_of_this_start(clock):
    left = TimeLeft(total=100, first=40)
    assert left.in_words(40) == ""
    clock[0] += 30
    assert left.in_words(50) == "2 min 30 s left"  # ten parts took 30 s, 50 are to come
    assert left.in_words(100) == ""


def test_answering_says_the_time_left(clock, capsys):
    said = progress.Progress(100)
    clock[0] += 8
    said.advance(20)
    clock[0] += 32
    said.advance(80)
    assert capsys.readouterr().out == "  20/100 samples, 2.5 per second, 32 s left\n  100/100 samples, 2.5 per second\n"


@pytest.mark.parametrize("stage", ["sft", "grpo"])
def test_training_says_the_time_left_and_the_cost_at_its_end(world, capsys, stage):
    if stage == "grpo":
        grpo.main(arguments(world, "lines"))
    else:
        sft.main(sft_runs.arguments(world, "lines of sft"))
    lines = capsys.readouterr().out.splitlines()
    steps = [line for line in lines if line.startswith("  step ")]
    assert len(steps) >= 3
    assert all(line.endswith(" left") for line in steps[:-1])
    assert not steps[-1].endswith(" left")
    assert [line for line in lines if line.startswith("this run cost ")]


# Cost


def test_cost_of_grpo_counts_what_was_generated(world, capsys):
    """Every prompt once with its clip, and all its completions."""
    grpo.main(arguments(world, "cost"))
    run_dir = world / "runs" / "cost"
    rows = grpo_runs.rows_of(run_dir / "completions.jsonl")
    prompts = {row["position"]: row for row in rows}.values()
    cost = json.loads((run_dir / "cost.json").read_text())
    assert cost["device_hours"] > 0
    del cost["device_hours"]
    seconds = sum(row["audio_seconds"] for row in prompts)
    assert cost == {
        "device": "cpu",
        "starts": 1,
        "samples": 6,
        "completions": 12,
        "read_tokens": sum(row["prompt_tokens"] for row in prompts),
        "generated_tokens": sum(row["tokens"] for row in rows),
        "audio_seconds": pytest.approx(seconds, abs=0.01),
    }
    words = f"12 completions of 6 samples, {cost['read_tokens']} tokens read, {cost['generated_tokens']} generated, "
    assert f"{words}{seconds:.0f} s of audio\n" in capsys.readouterr().out


def test_cost_counts_completions_that_dynamic_sampling_replaced(world):
    grpo.main(arguments(world, "redrawn", rewards="format: 1.0", dynamic_sampling="true", max_redraws=1, max_steps=1,
                        save_steps=1))  # fmt: skip
    cost = json.loads((world / "runs" / "redrawn" / "cost.json").read_text())
    assert (cost["samples"], cost["completions"]) == (4, 8)  # two groups in two rounds


def test_cost_is_that_of_all_processes(world):
    argv = arguments(world, "cost of two", per_device_train_batch_size=2)
    result = fork_server.run([DRIVER, "grpo", "spell", *argv], processes=2)
    assert result.returncode == 0, result.stderr[-3000:]
    cost = json.loads((world / "runs" / "cost of two" / "cost.json").read_text())
    assert (cost["samples"], cost["completions"]) == (6, 12)


def test_cost_of_sft_goes_on_over_starts_and_counts_repeated_steps(world):
    """Killed after step 3 of 6 with a checkpoint at 2: steps 1 to 3, and then 3 to 6; a batch has four rows."""
    name = "killed sft"
    argv = sft_runs.arguments(world, name)
    assert fork_server.run([DRIVER, "sft", "kill_after_step:3", *argv]).returncode < 0
    before = json.loads((world / "runs" / name / "cost.json").read_text())
    assert fork_server.run([DRIVER, "sft", "none", *argv]).returncode == 0
    after = json.loads((world / "runs" / name / "cost.json").read_text())
    assert (before["starts"], after["starts"]) == (1, 2)
    assert after["device_hours"] > before["device_hours"]
    assert after["samples"] == before["samples"] + 4 * 4
    assert after["audio_seconds"] > before["audio_seconds"] > 0
    assert after["read_tokens"] > before["read_tokens"] > 0
