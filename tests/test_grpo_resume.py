"""GRPO killed or not, on one process or two, plain or sharded: the same completions, losses and weights."""

import grpo_runs
import pytest
import torch
from grpo_runs import arguments, completions, is_killed, losses, metric, rows_of, run_driver, succeeds
from safetensors.torch import load_file
from tiny_world import write_zero_settings

from omni_clst.model.checkpoints import MARKER

spelling_earns, world, undisturbed = grpo_runs.spelling_earns, grpo_runs.world, grpo_runs.undisturbed  # fixtures


@pytest.mark.slow
def test_killed_run_resumes_like_an_uninterrupted_one(world, undisturbed):
    """Killed before a marker, inside the saving of a checkpoint, and between two steps."""
    argv = arguments(world, "killed")
    is_killed("kill_before_marker:1", argv, forked=False)
    is_killed("kill_while_saving:2", argv)
    run_dir = world / "runs" / "killed"
    assert (run_dir / "checkpoint-2" / MARKER).exists()
    assert not (run_dir / "checkpoint-4" / MARKER).exists()
    is_killed("kill_after_step:3", argv)
    succeeds("none", argv)
    assert completions(run_dir) == completions(undisturbed)
    assert losses(run_dir) == pytest.approx(losses(undisturbed), abs=1e-5)


@pytest.mark.slow
def test_killed_run_with_several_inner_steps_resumes_like_an_uninterrupted_one(world):
    """Two generations of two micro-batches, each used twice: a checkpoint due inside one waits for its end."""
    settings = {"num_iterations": 2, "steps_per_generation": 2, "max_steps": 8, "save_steps": 3, "dynamic_sampling": "true"}
    succeeds("none", arguments(world, "inner", **settings))
    argv = arguments(world, "inner killed", **settings)
    is_killed("kill_after_step:7", argv)
    whole, killed = world / "runs" / "inner", world / "runs" / "inner killed"
    assert [path.name for path in sorted(killed.glob("checkpoint-*"))] == ["checkpoint-4"]
    succeeds("none", argv)
    assert completions(killed) == completions(whole)
    assert losses(killed) == pytest.approx(losses(whole), abs=1e-5)
    assert len(losses(whole)) == 8


@pytest.mark.slow
@pytest.mark.parametrize("stage", [0, 3])
def test_killed_run_resumes_with_the_synced_reference(world, stage):
    settings = {"tuning": "full", "sync_ref_model": "true", "ref_model_sync_steps": 1, "learning_rate": 0.001}
    if stage:
        settings |= {"deepspeed": write_zero_settings(world, stage), "per_device_train_batch_size": 2}
    whole, killed = (world / "runs" / f"{name} {stage}" for name in ("follows", "follows killed"))
    succeeds("none", arguments(world, whole.name, **settings), 1 + bool(stage))
    argv = arguments(world, killed.name, **settings)
    assert run_driver("kill_after_step:3", argv, 1 + bool(stage)).returncode != 0
    succeeds("none", argv, 1 + bool(stage))
    assert metric(killed, "kl") == pytest.approx(metric(whole, "kl"), rel=1e-3, abs=1e-7)
    assert losses(killed) == pytest.approx(losses(whole), abs=1e-6)
    assert metric(whole, "kl")[3] > 1e-6


@pytest.mark.slow
def test_two_processes_train_like_one(world, tmp_path):
    """Five steps of four prompts: two processes of two against one that adds up two batches of two."""
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder, processes, accumulated in zip(folders, (1, 2), (2, 1), strict=True):
        folder.mkdir()
        argv = arguments(
            world, f"{processes} processes", max_steps=5, save_steps=100, gradient_accumulation_steps=accumulated
        )
        succeeds(f"dump_weights:{folder}", argv, processes, forked=processes == 1)
    single, *ranks = (torch.load(path) for path in (folders[0] / "rank0.pt", *sorted(folders[1].glob("*.pt"))))
    assert len(ranks) == 2
    assert completions(world / "runs" / "1 processes") == completions(world / "runs" / "2 processes")
    assert any(tensor.abs().max() > 1e-3 for name, tensor in single.items() if "lora_B" in name)
    for name, tensor in single.items():
        assert torch.equal(ranks[0][name], ranks[1][name])
        assert torch.allclose(ranks[0][name], tensor, atol=1e-5), name


@pytest.mark.slow
@pytest.mark.parametrize("stage", [2, 3])
def test_killed_zero_run_trains_like_plain_training(world, stage):
    """Two gloo processes through DeepSpeed against one plain process, with a reference; ZeRO-3 is killed once.

    Completions differ in length, and logits are made for three tokens at a time: processes with fewer tokens must still
    use the head as often, or ZeRO-3 waits for ever. Of ZeRO-3 the rollout's decoding is static.
    """
    common = {"tuning": "full", "learning_rate": 0.001, "max_steps": 4, "save_steps": 2}
    plain = world / "runs" / "plain full"
    if not plain.exists():
        succeeds("ends_often", arguments(world, plain.name, **common))
    zero = {"deepspeed": write_zero_settings(world, stage), "per_device_train_batch_size": 2}
    zero |= {"decoding": "static"} if stage == 3 else {}
    argv = arguments(world, f"zero{stage}", **common, **zero)
    run_dir = world / "runs" / f"zero{stage}"
    if stage == 3:
        assert "SIGKILL" in run_driver("ends_often+tokens_at_once:3+kill_after_step:3", argv, processes=2).stderr
        assert (run_dir / "checkpoint-2" / MARKER).exists()
    succeeds("ends_often+tokens_at_once:3", argv, processes=2)
    assert completions(run_dir) == completions(plain)
    assert losses(run_dir) == pytest.approx(losses(plain), abs=1e-5)
    assert len({row["tokens"] for row in rows_of(run_dir / "completions.jsonl")}) > 1
    found, expected = (load_file(folder / "checkpoint-4" / "model.safetensors") for folder in (run_dir, plain))
    assert found.keys() == expected.keys()
    for key, tensor in expected.items():
        assert torch.allclose(found[key].float(), tensor.float(), atol=1e-5), key


@pytest.mark.slow
def test_out_of_memory_on_one_process_ends_all_and_says_what_to_lower(world):
    argv = arguments(world, "oom", max_steps=20, save_steps=20)
    result = run_driver("out_of_memory:3", argv, processes=2)
    assert result.returncode not in (0, None)
    assert "error: out of memory in the rollout of 'row" in result.stderr
    assert "lower completions_per_rollout" in result.stderr
