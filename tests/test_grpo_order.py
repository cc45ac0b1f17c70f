"""Clips are trained on in the curriculum's order: in one process or two, after a kill, where groups are replaced."""

import shutil

import grpo_runs
import pytest
from grpo_runs import ROWS, arguments, completions, hashes_of_the_file, is_killed, logged_clips, metric, rows_of, succeeds

import grpo
from omni_clst.model.checkpoints import CHOSEN_FILE, find_checkpoint

spelling_earns, world = grpo_runs.spelling_earns, grpo_runs.world  # fixtures


@pytest.mark.parametrize(("workers", "steps"), [(0, 1), (2, 1), (0, 5)])
def test_model_is_trained_on_the_file_in_its_order(world, workers, steps):
    """Also where a rollout has the prompts of several optimiser steps."""
    log = world / f"order {workers} {steps}"
    settings = {"max_steps": 5, "dataloader_num_workers": workers, "steps_per_generation": steps}
    succeeds(f"log_clips:{log}", arguments(world, log.name, **settings))
    expected = hashes_of_the_file(world)[:10]
    for phase in ("tower", "rollout", "score", "policy"):  # the tower encodes each clip once
        # the policy is scored, too, where it will have been updated by the time a completion is trained on
        times = 2 if phase == "score" and steps > 1 else 1
        assert logged_clips(log, phase) == times * expected, phase
    by_row = [row["id"] for row in rows_of(world / "runs" / log.name / "completions.jsonl")]
    assert by_row == [f"row{number}" for number in range(10) for _ in range(2)]


def test_accumulation_keeps_the_order(world):
    log = world / "accumulated"
    argv = arguments(world, log.name, max_steps=2, gradient_accumulation_steps=3, per_device_train_batch_size=2)
    succeeds(f"log_clips:{log}", argv)
    expected = hashes_of_the_file(world)[:6]
    assert logged_clips(log, "rollout") == logged_clips(log, "policy") == expected


def test_two_processes_share_the_file_in_its_order(world):
    """Two micro-batches of two prompts a process: rows 0 1 | 4 5 on the first, 2 3 | 6 7 on the second, then 8 9 ..."""
    log = world / "two in order"
    argv = arguments(world, log.name, max_steps=2, gradient_accumulation_steps=2, per_device_train_batch_size=4)
    succeeds(f"log_clips:{log}", argv, processes=2)
    file = hashes_of_the_file(world)
    for rank, places in enumerate(([0, 1, 4, 5, 8, 9, 12, 13], [2, 3, 6, 7, 10, 11, 14, 15])):
        for phase in ("rollout", "score", "policy"):
            assert logged_clips(log, phase, rank) == [file[place] for place in places], (rank, phase)
    assert [row["position"] for row in rows_of(world / "runs" / log.name / "completions.jsonl")] == [
        position for position in range(16) for _ in range(2)
    ]


def test_killed_run_resumes_at_its_position_in_the_file(world):
    log = world / "killed in order"
    argv = arguments(world, log.name, max_steps=6)
    is_killed(f"log_clips:{log}+kill_after_step:5", argv)
    assert logged_clips(log, "rollout") == hashes_of_the_file(world)[:10]
    log.with_suffix(".rank0").unlink()
    succeeds(f"log_clips:{log}", argv)
    assert logged_clips(log, "rollout") == hashes_of_the_file(world)[8:12]  # from the checkpoint of step 4 on
    assert [row["position"] for row in rows_of(world / "runs" / log.name / "completions.jsonl")][::2] == list(range(12))


def test_dynamic_sampling_replaces_uninformative_groups_by_the_next_rows(world):
    """The format reward is 0 for a random model's noise, so that every group must be drawn again, in order."""
    log = world / "dynamic"
    argv = arguments(world, log.name, rewards="format: 1.0", dynamic_sampling="true", max_redraws=2, max_steps=2)
    succeeds(f"log_clips:{log}", argv)
    expected = hashes_of_the_file(world)
    assert logged_clips(log, "rollout") == expected[:12]
    assert logged_clips(log, "policy") == [*expected[4:6], *expected[10:12]]
    assert metric(world / "runs" / log.name, "groups/uninformative") == [6, 6]
    assert metric(world / "runs" / log.name, "groups/drawn") == [6, 6]


def test_dynamic_sampling_trains_on_informative_groups_on_one_process_or_two(world):
    """Some groups differ in reward and some do not; both launches generate for and train on the same rows."""
    settings = {"dynamic_sampling": "true", "max_redraws": 9, "max_steps": 4}
    one, two = world / "dynamic one", world / "dynamic two"
    succeeds(f"log_clips:{one}", arguments(world, one.name, **settings))
    succeeds(f"log_clips:{two}", arguments(world, two.name, per_device_train_batch_size=2, **settings), processes=2)
    file = hashes_of_the_file(world)
    drawn = int(sum(metric(world / "runs" / one.name, "groups/drawn")))
    assert drawn > 8  # something was replaced
    assert logged_clips(one, "rollout") == file[:drawn]
    assert sorted(logged_clips(two, "rollout") + logged_clips(two, "rollout", 1)) == sorted(file[:drawn])
    assert completions(world / "runs" / one.name) == completions(world / "runs" / two.name)
    trained = rows_of(world / "runs" / one.name / "completions.jsonl")
    assert len(trained) == 16
    for first, second in zip(trained[::2], trained[1::2], strict=True):
        assert first["id"] == second["id"]
        assert first["rewards"] != second["rewards"]


def test_dynamic_sampling_ends_with_the_curriculum(world):
    argv = arguments(world, "ends", rewards="format: 1.0", dynamic_sampling="true", max_redraws=3, max_steps=-1)
    grpo.main(argv)
    positions = {row["position"] for row in rows_of(world / "runs" / "ends" / "completions.jsonl")}
    assert metric(world / "runs" / "ends", "curriculum/epoch")[-1] <= 1.0
    assert max(positions) >= ROWS - 8
    assert find_checkpoint(str(world / "runs" / "ends")).source.endswith("checkpoint-5")  # 36 rows, 8 a step


def test_learning_rate_of_dynamic_sampling_falls_with_the_curriculum(world):
    """8 of 36 rows a step, as all groups are drawn four times: 1 - 8/36, 1 - 16/36, ... of a linear schedule."""
    changes = {"rewards": "format: 1.0", "dynamic_sampling": "true", "max_redraws": 3, "max_steps": -1}
    argv = arguments(world, "schedule", **changes, lr_scheduler_type="linear", learning_rate=0.36, save_steps=1)
    grpo.main(argv)
    expected = [0.36, 0.28, 0.20, 0.12, 0.04]
    run_dir = world / "runs" / "schedule"
    assert metric(run_dir, "learning_rate") == pytest.approx(expected)
    (run_dir / CHOSEN_FILE).unlink()
    shutil.rmtree(run_dir / "checkpoint-5")  # as if killed before it: the schedule goes on where it was
    grpo.main(argv)
    assert metric(run_dir, "learning_rate") == pytest.approx(expected)


@pytest.mark.parametrize("order", ["shuffled", "shuffled_within_level", "overlapping"])
def test_other_orders_are_permutations(world, order):
    grpo.main(arguments(world, order, order=order, max_steps=-1, num_train_epochs=1))
    rows = rows_of(world / "runs" / order / "completions.jsonl")[::2]
    assert sorted(row["id"] for row in rows) == sorted(f"row{number}" for number in range(ROWS))
    assert [row["id"] for row in rows] != [f"row{number}" for number in range(ROWS)]
    levels = [row["level"] for row in rows]
    assert (levels == sorted(levels, key=["easy", "medium", "hard"].index)) == (order == "shuffled_within_level")


def test_repeated_clip_is_encoded_once(world):
    """Two rows, three epochs of one step each."""
    file = world / "two rows.jsonl"
    file.write_text("".join((world / "train.jsonl").read_text().splitlines(keepends=True)[:2]))
    expected = hashes_of_the_file(world)[:2]
    for gib, encoded in ((0, 3 * expected), (1, expected)):
        log = world / f"cache of {gib}"
        succeeds(
            f"log_clips:{log}", arguments(world, log.name, train_file=file, max_steps=3, save_steps=3, audio_cache_gib=gib)
        )
        assert logged_clips(log, "tower") == encoded
        assert logged_clips(log, "rollout") == logged_clips(log, "policy") == 3 * expected
