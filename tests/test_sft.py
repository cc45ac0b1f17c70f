"""Supervised fine-tuning: one process or two, killed or not, the same weights and losses."""

import json
import re
import shutil
import signal

import pytest
import sft_runs
import torch
from safetensors.torch import load_file
from sft_runs import STEPS, arguments, losses, run_driver

import sft
from omni_clst.errors import InputError
from omni_clst.model.checkpoints import MARKER, find_checkpoint
from omni_clst.settings import REPOSITORY, load_config
from omni_clst.training.config import SFTConfig
from omni_clst.training.sft import SFTRun, SFTTrainer
from omni_clst.training.trainer_settings import trainer_keys

world, undisturbed = sft_runs.world, sft_runs.undisturbed  # fixtures


def test_run_directory_holds_what_is_promised(undisturbed):
    names = {path.name for path in undisturbed.iterdir()}
    assert {"config.yaml", "environment.json", "metrics.jsonl", "checkpoint-4", "checkpoint-6", "merged"} <= names
    assert "checkpoint-2" not in names  # save_total_limit 2
    assert (undisturbed / "merged" / MARKER).exists()


def test_loss_falls(undisturbed):
    found = losses(undisturbed)
    assert list(found) == list(range(1, STEPS + 1))
    assert found[STEPS] < found[1]


def test_second_start_has_nothing_to_do(world, undisturbed, capsys):
    before = (undisturbed / "merged" / "model.safetensors").stat().st_mtime_ns
    sft.main(arguments(world, "undisturbed"))
    assert "exists: nothing to do" in capsys.readouterr().out
    assert (undisturbed / "merged" / "model.safetensors").stat().st_mtime_ns == before


def test_run_killed_while_merging_only_merges_again(world, undisturbed, tmp_path):
    copied = world / "runs" / "merging"
    shutil.copytree(undisturbed, copied, ignore=shutil.ignore_patterns("merged"))
    config = (copied / "config.yaml").read_text().replace("run_name: undisturbed", "run_name: merging")
    (copied / "config.yaml").write_text(config)
    sft.main(arguments(world, "merging"))
    expected = (undisturbed / "merged" / "model.safetensors").read_bytes()
    assert (copied / "merged" / "model.safetensors").read_bytes() == expected
    assert losses(copied) == losses(undisturbed)


@pytest.mark.slow
def test_killed_run_resumes_like_an_uninterrupted_one(world, undisturbed):
    """Killed before the marker of the second checkpoint, inside the writing of it, and between two steps."""
    run_dir = world / "runs" / "killed"
    argv = arguments(world, "killed")
    assert run_driver("kill_before_marker:2", argv) == -signal.SIGKILL
    assert (run_dir / "checkpoint-2" / MARKER).exists()
    assert (run_dir / "checkpoint-4").exists()
    assert not (run_dir / "checkpoint-4" / MARKER).exists()
    assert run_driver("kill_while_saving:1", argv) == -signal.SIGKILL
    assert not (run_dir / "checkpoint-4" / MARKER).exists()
    assert run_driver("kill_after_step:5", argv) == -signal.SIGKILL
    assert (run_dir / "checkpoint-4" / MARKER).exists()
    sft.main(argv)
    expected = losses(undisturbed)
    assert losses(run_dir) == pytest.approx(expected, abs=1e-6)
    merged = [torch.load(path) if path.suffix == ".pt" else path.read_bytes() for path in
              (folder / "merged" / "model.safetensors" for folder in (run_dir, undisturbed))]  # fmt: skip
    assert merged[0] == merged[1]


@pytest.mark.slow
def test_two_processes_train_like_one(world, tmp_path):
    """Five steps of four rows: two processes of two rows against one process that adds up two batches of two."""
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    common = {"max_steps": 5, "save_steps": 100, "merge": "false"}
    run_driver(f"dump_weights:{one}", arguments(world, "one", **common))
    run_driver(f"dump_weights:{two}", arguments(world, "two", **common, gradient_accumulation_steps=1), processes=2)
    single = torch.load(one / "rank0.pt")
    ranks = [torch.load(two / f"rank{rank}.pt") for rank in (0, 1)]
    assert any(tensor.abs().max() > 0 for name, tensor in single.items() if "lora_B" in name)
    for name, tensor in single.items():
        assert torch.equal(ranks[0][name.replace("module.", "")], ranks[1][name.replace("module.", "")])
        assert torch.allclose(ranks[0][name], tensor, atol=1e-5), name


@pytest.mark.slow
def test_run_under_zero2_merges_the_same_as_plain_training(world, undisturbed):
    """Two gloo processes through DeepSpeed against one plain process; the adapter is merged at the end of both."""
    settings = {"deepspeed": REPOSITORY / "configs" / "zero2.json", "gradient_accumulation_steps": 1}
    run_driver("none", arguments(world, "zero2", **settings), processes=2, forked=False)
    run_dir = world / "runs" / "zero2"
    assert losses(run_dir) == pytest.approx(losses(undisturbed), abs=1e-5)
    merged = [load_file(folder / "merged" / "model.safetensors") for folder in (run_dir, undisturbed)]
    assert all(torch.allclose(merged[0][name], tensor, atol=1e-5) for name, tensor in merged[1].items())


def test_gradient_that_is_not_finite_ends_the_run_before_the_optimiser_steps(world, monkeypatch):
    """The loss of the same step is finite."""
    step = SFTTrainer.training_step

    def poisoned(self, model, inputs, *more):
        loss = step(self, model, inputs, *more)
        if self.state.global_step == 3:
            next(p for p in model.parameters() if p.grad is not None).grad[0] = float("nan")
        return loss

    monkeypatch.setattr(SFTTrainer, "training_step", poisoned)
    with pytest.raises(InputError, match="step 4: the gradient norm is nan.*lower learning_rate"):
        sft.main(arguments(world, "poisoned", max_grad_norm=0))
    assert list(losses(world / "runs" / "poisoned")) == [1, 2, 3]
    monkeypatch.undo()
    sft.main(arguments(world, "poisoned", max_grad_norm=0))
    assert len(losses(world / "runs" / "poisoned")) == STEPS


def test_single_process_keeps_to_one_of_several_gpus(world, monkeypatch):
    from transformers import TrainingArguments

    made = TrainingArguments.__post_init__

    def on_four_gpus(self):
        made(self)
        self._n_gpu = 4  # as transformers counts them without torchrun

    monkeypatch.setattr(TrainingArguments, "__post_init__", on_four_gpus)
    config = load_config(SFTConfig, arguments(world, "one of four"), trainer_keys)
    run = SFTRun(config, find_checkpoint(config.model), torch.device("cpu"))
    run.load_samples()
    given = run.training_arguments()
    assert given.n_gpu == 1
    assert given.train_batch_size == config.per_device_train_batch_size


def test_run_needs_the_disk_only_for_what_is_not_written_yet(world, undisturbed, monkeypatch, capsys):
    """A finished run needs none; one that goes on counts the checkpoints that it has."""
    copied = world / "runs" / "short of disk"
    shutil.copytree(undisturbed, copied)
    config = (copied / "config.yaml").read_text().replace("run_name: undisturbed", "run_name: short of disk")
    (copied / "config.yaml").write_text(config)
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Disk", (), {"free": 0}))
    sft.main(arguments(world, "short of disk"))
    assert "nothing to do" in capsys.readouterr().out
    shutil.rmtree(copied / "merged")
    needed = []
    for run_name in ("short of disk", "anew"):
        with pytest.raises(InputError, match="this run needs") as caught:
            sft.main(arguments(world, run_name))
        needed.append(float(re.search(r"needs (\S+) GB", str(caught.value))[1]))
    held = sum(path.stat().st_size for folder in copied.glob("checkpoint-*") for path in folder.rglob("*")) / 1e9
    assert held > 0
    assert needed[1] - needed[0] == pytest.approx(held, abs=0.11)


@pytest.mark.parametrize("change", [{"gradient_checkpointing": "true"}, {"dataloader_num_workers": 2}])
def test_what_saves_memory_or_time_does_not_change_the_losses(world, undisturbed, change):
    name = f"with {next(iter(change))}"
    sft.main(arguments(world, name, **change))
    assert losses(world / "runs" / name) == pytest.approx(losses(undisturbed), abs=1e-6)


def test_full_fine_tuning_is_saved_in_the_omni_layout_and_resumes(world, monkeypatch):
    from omni_clst.model.checkpoints import find_checkpoint, load_thinker
    from omni_clst.training.metrics_log import MetricsLog

    def fail(self, args, state, control, **kwargs):
        if state.global_step == 3:
            raise RuntimeError("stopped")

    settings = {"tuning": "full", "learning_rate": 0.001, "merge": "false"}
    sft.main(arguments(world, "full", **settings))
    monkeypatch.setattr(MetricsLog, "on_step_end", fail)
    with pytest.raises(RuntimeError, match="stopped"):
        sft.main(arguments(world, "full again", **settings))
    monkeypatch.undo()
    sft.main(arguments(world, "full again", **settings))
    assert losses(world / "runs" / "full again") == pytest.approx(losses(world / "runs" / "full"), abs=1e-6)

    checkpoint = find_checkpoint(str(world / "runs" / "full" / "checkpoint-6"))
    assert not checkpoint.is_adapter
    before = load_thinker(find_checkpoint(str(world / "base")), torch.float32).state_dict()
    after = load_thinker(checkpoint, torch.float32).state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert "lm_head.weight" in changed
    assert not any(name.startswith(("audio_tower", "visual")) for name in changed)


def test_evaluation_chooses_the_best_checkpoint(world):
    argv = arguments(world, "valid", valid_file=world / "train.jsonl", learning_rate=0.3, save_total_limit=1)
    sft.main(argv)
    run_dir = world / "runs" / "valid"
    rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    best = min((row for row in rows if "eval_loss" in row), key=lambda row: row["eval_loss"])
    kept = {path.name for path in run_dir.glob("checkpoint-*")}
    assert kept == {f"checkpoint-{best['step']}", f"checkpoint-{STEPS}"}


def test_rows_over_the_length_limit_are_left_out_and_counted(world, capsys):
    lengths = []
    for limit in (60, 2048):
        sft.main([*arguments(world, "dry"), "--max_length", str(limit), "--dry_run"])
        lengths.append(capsys.readouterr().out)
    assert "24 rows, 12 with a thought\n" in lengths[1]
    assert "over 60 tokens left out" in lengths[0]


def test_dry_run_prints_the_plan_and_writes_nothing(world, capsys):
    sft.main([*arguments(world, "dry"), "--dry_run"])
    out = capsys.readouterr().out
    for word in (
        "samples      24 (easy 8, medium 8, hard 8)",
        "steps        6, 4 samples each",
        "parameters ",
        "memory ",
        "disk ",
    ):
        assert word in out
    assert not (world / "runs" / "dry").exists()


def test_run_that_was_ended_after_its_last_checkpoint_trains_no_step_more(world):
    """Inside an epoch: at the end of one there is no batch left."""
    argv = arguments(world, "after the last", max_steps=4)
    sft.main(argv)
    run_dir = world / "runs" / "after the last"
    merged = (run_dir / "merged" / "model.safetensors").read_bytes()
    shutil.rmtree(run_dir / "merged")
    sft.main(argv)
    assert list(losses(run_dir)) == [1, 2, 3, 4]
    assert not list(run_dir.glob("checkpoint-[5-9]"))
    assert (run_dir / "merged" / "model.safetensors").read_bytes() == merged
