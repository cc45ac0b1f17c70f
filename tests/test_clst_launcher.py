"""`script/CLST.sh`: trains, then scores the checkpoint that the run chose, and nothing where training failed."""

import os
import subprocess

import pytest
from grpo_runs import arguments
from tiny_world import make_base, write_mmau, write_train_file

from omni_clst.runs import FINISHED_RUN_VARIABLE, notify_launcher
from omni_clst.settings import REPOSITORY


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("launcher world")
    make_base(folder / "base")
    write_train_file(folder, 12)
    write_mmau(folder / "data", 4)
    return folder


def training(world, run_name: str, **changes) -> list[str]:
    return arguments(
        world, run_name, rewards="format: 1.0", audio_root=world, max_steps=2, steps_per_generation=1, **changes
    )


def launch(world, *words: str) -> subprocess.CompletedProcess:
    environment = os.environ | {"NPROC_PER_NODE": "1"}
    command = ["bash", str(REPOSITORY / "script" / "CLST.sh"), *words]
    return subprocess.run(command, cwd=world, env=environment, capture_output=True, text=True, timeout=600)


def inference(world) -> list[str]:
    return ["--", "--data_root", "data", "--benchmarks", "mmau-mini", "--max_new_tokens", "4", "--num_workers", "0",
            "--device", "cpu"]  # fmt: skip


@pytest.mark.slow
def test_training_is_followed_by_inference_on_the_chosen_checkpoint(world):
    argv = training(world, "launched")
    result = launch(world, *argv, *inference(world))
    assert result.returncode == 0, result.stderr[-2000:]
    assert (world / "runs" / "launched" / "infer" / "mmau-mini" / "scores.json").exists()


@pytest.mark.slow
def test_training_without_a_benchmark_ends_well_and_says_so_before_its_first_step(world):
    result = launch(world, *training(world, "no benchmark"), "--", "--data_root", "nowhere", "--benchmarks", "mmau-mini")
    assert result.returncode == 0, result.stderr[-2000:]
    note = result.stdout.index(
        f"note: no inference after training: mmau-mini: no {world / 'nowhere'}/MMAU/mmau-test-mini.json"
    )
    assert note < result.stdout.index("step 1/2")
    assert (world / "runs" / "no benchmark" / "chosen.json").exists()


@pytest.mark.slow
def test_mistake_in_the_settings_of_inference_is_found_before_training(world):
    result = launch(world, *training(world, "mistaken"), "--", "--data_root", "data", "--max_new_token", "4")
    assert result.returncode == 2
    assert "unknown key 'max_new_token' (did you mean 'max_new_tokens'?)" in result.stderr
    assert not (world / "runs" / "mistaken").exists()


@pytest.mark.slow
def test_failed_training_is_not_followed_by_inference(world):
    argv = training(world, "failed", model=world / "nowhere")
    result = launch(world, *argv, *inference(world))
    assert result.returncode == 2
    assert "no such checkpoint" in result.stderr
    assert not list(world.glob("runs/failed/**/scores.json"))
    assert "questions" not in result.stdout


@pytest.mark.slow
def test_dry_run_is_not_followed_by_inference(world):
    result = launch(world, *training(world, "dry"), "--dry_run", *inference(world))
    assert result.returncode == 0, result.stderr[-2000:]
    assert "samples      12" in result.stdout
    assert not (world / "runs" / "dry").exists()


@pytest.mark.parametrize(("rank", "told"), [(None, True), ("0", True), ("1", False)])
def test_one_process_per_node_notifies_the_launcher(tmp_path, monkeypatch, rank, told):
    monkeypatch.setenv(FINISHED_RUN_VARIABLE, str(tmp_path / "told"))
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    if rank is not None:
        monkeypatch.setenv("LOCAL_RANK", rank)
    notify_launcher(tmp_path / "run")
    assert (tmp_path / "told").exists() is told
    monkeypatch.delenv(FINISHED_RUN_VARIABLE)
    notify_launcher(tmp_path / "run")  # started without a launcher: nothing to write
