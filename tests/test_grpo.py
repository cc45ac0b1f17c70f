"""What a GRPO run leaves: metrics by level, checkpoints in the Omni layout, the best one."""

from pathlib import Path

import grpo_runs
import pytest
import torch
from grpo_runs import arguments, metric, rows_of
from safetensors.torch import load_file
from tiny_world import write_mmau

import grpo
from omni_clst.model.checkpoints import find_checkpoint

spelling_earns, world, undisturbed = grpo_runs.spelling_earns, grpo_runs.world, grpo_runs.undisturbed  # fixtures


def test_unweighted_rewards_are_logged_and_weights_apply(world):
    grpo.main(arguments(world, "weights", rewards="spelling: 3.0, format: 1.0", max_steps=1, save_steps=1))
    rows = rows_of(world / "runs" / "weights" / "completions.jsonl")
    mean = sum(row["rewards"]["spelling"] for row in rows) / len(rows)
    assert metric(world / "runs" / "weights", "reward/spelling") == [pytest.approx(mean)]
    assert metric(world / "runs" / "weights", "reward") == [pytest.approx(3.0 * mean)]


def test_log_has_metrics_by_level(undisturbed):
    row = rows_of(undisturbed / "metrics.jsonl")[0]
    for name in ("think_rate/easy", "accuracy/easy", "think_words/easy", "kl", "entropy", "completions/clipped_ratio",
                 "time/rollout", "time/score", "time/update", "speed/tokens_per_second", "memory/peak_gib",
                 "speed/audio_seconds_per_second", "groups/uninformative", "reward/spelling"):  # fmt: skip
        assert name in row, name


def test_finished_run_has_nothing_to_do_and_resolves_to_its_checkpoint(world, undisturbed, capsys):
    grpo.main(arguments(world, "undisturbed"))
    assert "is finished: nothing to do" in capsys.readouterr().out
    assert find_checkpoint(str(undisturbed)).source.endswith("checkpoint-4")


def test_infer_takes_the_run_as_it_is(world, undisturbed, tmp_path):
    import infer

    write_mmau(tmp_path, 4)
    infer.main([str(undisturbed), "--data_root", str(tmp_path), "--benchmarks", "mmau-mini", "--max_new_tokens", "4",
                "--device", "cpu", "--num_workers", "0", "--output", str(tmp_path / "out")])  # fmt: skip
    assert len(rows_of(tmp_path / "out" / "mmau-mini" / "predictions.jsonl")) == 4


def test_full_fine_tuning_is_saved_in_the_omni_layout(world):
    grpo.main(arguments(world, "full", tuning="full", learning_rate=0.001, max_steps=2))
    checkpoint = find_checkpoint(str(world / "runs" / "full"))
    assert not checkpoint.is_adapter
    before, after = (load_file(Path(folder) / "model.safetensors") for folder in (world / "base", checkpoint.source))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert "thinker.lm_head.weight" in changed
    assert not any(name.startswith(("thinker.audio_tower", "thinker.visual")) for name in changed)


def test_evaluation_keeps_the_best_checkpoint_and_stops_early(world):
    """Nothing is ever right, so the first step stays the best and patience runs out at the third."""
    settings = {"valid_file": world / "train.jsonl", "eval_steps": 1, "save_steps": 1, "save_total_limit": 1}
    grpo.main(arguments(world, "stops", max_steps=9, early_stopping_patience=2, **settings))
    run_dir = world / "runs" / "stops"
    assert {path.name for path in run_dir.glob("checkpoint-*")} == {"checkpoint-1", "checkpoint-3"}
    assert find_checkpoint(str(run_dir)).source.endswith("checkpoint-1")
    assert metric(run_dir, "eval_accuracy") == [0.0] * 4
    assert "eval_think_rate/hard" in rows_of(run_dir / "metrics.jsonl")[0]  # before the first step
