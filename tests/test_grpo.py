"""GRPO: clips are trained on in the curriculum's order, on one process or two, killed or not; the numbers are GRPO's."""

import json
import math
import shutil
import signal
import subprocess
from pathlib import Path

import fork_server
import pytest
import torch
from hooks.computing import reward_spelling
from hooks.logs import hash_clips
from safetensors.torch import load_file
from tiny_world import make_base, write_mmau, write_train_file, write_zero_settings

import grpo
from omni_clst.data.encoder import OmniEncoder, collate
from omni_clst.data.layouts import read_samples
from omni_clst.data.prompts import make_prompt
from omni_clst.errors import InputError
from omni_clst.method.rewards import REWARDS
from omni_clst.model.checkpoints import CHOSEN_FILE, MARKER, find_checkpoint, load_processor

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


# The order


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


# The numbers


@pytest.mark.parametrize("filters", [{}, {"top_k": 10}, {"top_p": 0.8}], ids=["all tokens", "top-k", "top-p"])
def test_sampling_and_log_probs_agree(world, filters):
    name = "agrees " + "".join(filters)
    grpo.main(arguments(world, name, temperature=1.2, **filters))
    apart = metric(world / "runs" / name, "sampling/logp_difference")
    assert len(apart) == 4
    assert max(apart) < 1e-3


def test_advantages_kl_and_loss_equal_a_plain_computation(world, monkeypatch):
    """GRPO (arXiv 2402.03300, equations 3 and 4) from the log-probabilities alone, by hand."""
    from omni_clst.grpo.trainer import AudioGRPOTrainer

    seen = []
    compute = AudioGRPOTrainer._compute_loss

    def spy(self, model, inputs):
        loss = compute(self, model, inputs)
        mask = inputs["completion_mask"]
        ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1)
        full = torch.cat([inputs["prompt_mask"], mask], dim=1)
        with torch.no_grad(), self.computing_on([inputs["micro_batch"]]):
            policy = self._get_per_token_logps_and_entropies(model, ids, full, mask.shape[1])[0]
            with model.disable_adapter():
                reference = self._get_per_token_logps_and_entropies(model, ids, full, mask.shape[1])[0]
        earned = [value for group in inputs["micro_batch"].groups for value in group.totals({"spelling": 1.0})]
        seen.append((loss.item(), inputs["advantages"], policy, reference, mask, torch.tensor(earned)))
        return loss

    monkeypatch.setattr(AudioGRPOTrainer, "_compute_loss", spy)
    grpo.main(arguments(world, "plain", num_generations=4, per_device_train_batch_size=8, max_steps=3))
    assert any(earned.std() > 0 for *_, earned in seen)
    for loss, advantages, policy, reference, mask, earned in seen:
        for group, found in zip(earned.view(-1, 4), advantages.view(-1, 4), strict=True):
            expected = (group - group.mean()) / (group.std() + 1e-4)
            assert torch.allclose(found, expected, atol=1e-5)
        total = 0.0
        for row in range(len(policy)):
            terms = []
            for token in range(int(mask[row].sum())):
                ratio = (reference[row, token] - policy[row, token]).item()
                kl = torch.tensor(ratio).exp().item() - ratio - 1
                terms.append(-advantages[row].item() + 0.1 * kl)  # the ratio to the sampling policy is 1
            total += sum(terms) / len(terms)
        assert loss == pytest.approx(total / len(policy), abs=1e-5)
    kl = metric(world / "runs" / "plain", "kl")
    assert kl[0] == pytest.approx(0.0, abs=1e-6)
    assert kl[2] > 1e-6


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


@pytest.mark.parametrize(
    "change",
    [{"completions_per_forward": 1}, {"completions_per_rollout": 1}, {"gradient_checkpointing": "true"}],
    ids=lambda change: next(iter(change)),
)
def test_what_saves_memory_does_not_change_the_losses(world, undisturbed, change):
    name = f"with {next(iter(change))}"
    grpo.main(arguments(world, name, **change))
    assert completions(world / "runs" / name) == completions(undisturbed)
    assert losses(world / "runs" / name) == pytest.approx(losses(undisturbed), abs=1e-5)


TRL_SETTINGS = [
    *({"loss_type": name} for name in ("dr_grpo", "dapo", "bnpo", "cispo", "sapo", "vespo")),
    {"loss_type": "luspo", "importance_sampling_level": "sequence"},
    {"epsilon_high": 0.28},
    {"delta": 2.0},
    {"beta": 0.0},
    {"scale_rewards": "batch"},
    {"scale_rewards": "none"},
    {"multi_objective_aggregation": "normalize_then_sum"},
    {"mask_truncated_completions": "true"},
    {"top_entropy_quantile": 0.5},
    {"entropy_coef": 0.01},
    {"off_policy_mask_threshold": 0.5},
    {"disable_dropout": "true"},
    {"log_completions": "true"},
    {"tuning": "full", "sync_ref_model": "true", "ref_model_sync_steps": 1},
]


@pytest.mark.parametrize("settings", TRL_SETTINGS, ids=str)
def test_settings_of_trl_stay_usable(world, settings):
    """Two updates a generation, so that what depends on the ratio to the sampling policy is used as well."""
    name = "trl " + " ".join(f"{key} {value}" for key, value in settings.items())
    grpo.main(arguments(world, name, num_iterations=2, max_steps=2, save_steps=2, **settings))
    found = losses(world / "runs" / name)
    assert len(found) == 2
    assert all(math.isfinite(value) for value in found.values())


def test_lora_has_no_second_model_for_the_reference(world, monkeypatch):
    from omni_clst.grpo.trainer import AudioGRPOTrainer

    found = {}

    def look(self, *_, **__):
        tensors = {p.data_ptr(): p for p in self.model.parameters()}
        found.update(
            reference=self.ref_model,
            frozen=sum(p.numel() for p in tensors.values() if not p.requires_grad),
            learnt=sum(p.numel() for p in tensors.values() if p.requires_grad),
            adapters=list(self.model.peft_config),
        )

    monkeypatch.setattr(AudioGRPOTrainer, "train", look)
    with pytest.raises((AttributeError, TypeError)):  # no checkpoint was made
        grpo.main(arguments(world, "lean"))
    weights = load_file(world / "base" / "model.safetensors")
    assert found["frozen"] == sum(tensor.numel() for tensor in weights.values())
    assert found["adapters"] == ["default"]
    assert found["reference"] is None
    assert 0 < found["learnt"] < found["frozen"]


# Kills, processes, shards


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


def test_static_decoding_and_a_merged_adapter_train_like_the_plain_loop(world, undisturbed):
    grpo.main(arguments(world, "static", decoding="static", merge_adapter="true"))
    run_dir = world / "runs" / "static"
    assert completions(run_dir) == completions(undisturbed)
    assert losses(run_dir) == pytest.approx(losses(undisturbed), abs=1e-5)
    found, expected = (load_file(run / "checkpoint-4" / "adapter_model.safetensors") for run in (run_dir, undisturbed))
    for key, tensor in expected.items():
        assert torch.allclose(found[key], tensor, atol=1e-6), key
    assert max(metric(run_dir, "sampling/logp_difference")) < 1e-4
    engines = [json.loads((folder / "environment.json").read_text())["engine"] for folder in (run_dir, undisturbed)]
    assert engines == ["hf, static decoding", "hf"]


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


# What comes out


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


# What is refused, and what is left out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"per_device_train_batch_size": 3}, "per_device_train_batch_size 3 is not a multiple of num_generations 2"),
        ({"use_vllm": "true"}, "use_vllm True is not supported: TRL's vLLM gets token ids without audio; set engine vllm"),
        ({"use_transformers_continuous_batching": "true"}, "it gets token ids without audio"),
        ({"vllm_mode": "server"}, "vllm_mode 'server' is not supported: engine vllm runs on the policy's own device"),
        ({"repetition_penalty": 1.1}, "repetition_penalty 1.1 is not supported"),
        ({"shuffle_dataset": "true"}, "shuffle_dataset cannot be set: order decides"),
        ({"cast_lm_head_to_fp32": "true"}, "cast_lm_head_to_fp32 True is not supported"),
        ({"log_completions_hub_repo": "a/b"}, "log_completions_hub_repo 'a/b' is not supported"),
        ({"num_generation": 2}, "unknown key 'num_generation' (did you mean 'num_generations'?)"),
        ({"rewards": "acuracy: 1.0"}, "rewards 'acuracy' is not one of"),
        ({"rewards": "accuracy: 0"}, "at least one weight must not be 0"),
        ({"order": "random"}, "order 'random' is not one of"),
        ({"prompt": "demo_direct"}, "asks for no tags"),
        ({"prompt": "{question}\n{choices}\n<answer>", "rewards": "format: 1.0"}, "rewards format: 0 for every completion"),
        ({"rewards": "{accuracy: 1.0, answer_format: 0.5}"}, "rewards answer_format: 0 for every completion"),
        ({"num_iterations": 2, "max_steps": 3}, "max_steps 3 is not a multiple of the 2 steps per generation"),
        ({"gradient_accumulation_steps": 4, "steps_per_generation": 2}, "a generation would end inside a step"),
        ({"loss_type": "nothing"}, "loss_type 'nothing' is not one of grpo, dr_grpo"),
        ({"merge_adapter": True, "tuning": "full"}, "merge_adapter needs tuning lora"),
        ({"merge_adapter": True, "quantization": "nf4"}, "an adapter does not merge into 4-bit weights"),
        ({"merge_adapter": True, "engine": "vllm"}, "merge_adapter is of engine hf"),
        ({"scale_rewards": "all"}, "scale_rewards 'all' is not one of group, batch, none"),
        ({"max_steps": -1, "per_device_train_batch_size": 100}, "36 samples do not fill a step of 50 prompts"),
        ({"eval_steps": 3, "valid_file": "TRAIN"}, "of eval_steps 3.0 and save_steps 2.0 neither is a multiple"),
        ({"attn_implementation": "flash_attention_2"}, "'flash_attention_2' is not one of sdpa, flex_attention, eager"),
        ({"attn_implementation": "flex_attention"}, "flex_attention has no backward on a CPU; use sdpa"),
        ({"sync_ref_model": True}, "sync_ref_model needs tuning full and a beta above 0"),
        ({"sync_ref_model": True, "tuning": "full", "beta": 0}, "sync_ref_model needs tuning full and a beta above 0"),
        ({"offload_reference": True}, "offload_reference needs tuning full and a beta above 0"),
        ({"vllm_server": "node7:8000"}, "vllm_server 'node7:8000' is not an address as http://HOST:PORT"),
        ({"vllm_server": "http://node7:8000", "engine": "hf"}, "vllm_server needs engine vllm"),
        ({"audio_cache_gib": 1, "tuning": "full", "train_towers": True}, "audio_cache_gib needs train_towers false"),
        ({"fsdp": "full_shard"}, "fsdp 'full_shard' is not supported: deepspeed configs/zero3.json shards the weights"),
        ({"early_stopping_patience": 2}, "early_stopping_patience needs valid_file"),
    ],
    ids=lambda value: str(value)[:50] if isinstance(value, dict) else "",
)
def test_setting_that_would_do_harm_or_nothing_is_refused(world, change, message):
    change = {key: world / "train.jsonl" if value == "TRAIN" else value for key, value in change.items()}
    with pytest.raises(InputError) as caught:
        grpo.main(arguments(world, "refused", **change))
    assert message in str(caught.value)
    assert not (world / "runs" / "refused").exists()


@pytest.mark.slow
def test_reference_off_the_device_gives_the_same_losses(world):
    def run(name: str, **changes) -> Path:
        grpo.main(arguments(world, name, tuning="full", learning_rate=0.001, max_steps=2, save_steps=2, **changes))
        return world / "runs" / name

    here, away = run("reference here"), run("reference away", offload_reference="true")
    assert losses(away) == pytest.approx(losses(here), rel=1e-5)
    assert metric(away, "kl") == pytest.approx(metric(here, "kl"), rel=1e-4, abs=1e-7)
    assert metric(here, "kl")[1] > 0


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


def test_lora_on_an_adapter_is_refused(world, undisturbed):
    with pytest.raises(InputError, match="an adapter; LoRA starts from a full model"):
        grpo.main(arguments(world, "refused", model=undisturbed))


def test_resuming_with_other_settings_is_refused_by_name(world, undisturbed):
    with pytest.raises(InputError, match="beta: 0.1 -> 0.2"):
        grpo.main(arguments(world, "undisturbed", beta=0.2))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"max_audio_seconds": 1.0}, "with clips over 1 s left out"),
        ({"max_audio_seconds": 1.0, "over_limit": "crop"}, "clips cropped at 1 s"),
        ({"max_prompt_length": 60}, "with prompts over 60 tokens left out"),
    ],
    ids=["dropped", "cropped", "long prompts"],
)
def test_what_is_over_a_limit_is_counted(world, capsys, settings, said):
    grpo.main([*arguments(world, "dry", **settings), "--dry_run"])
    assert said in capsys.readouterr().out


def test_dry_run_prints_the_plan_and_writes_nothing(world, capsys):
    grpo.main([*arguments(world, "dry", tuning="full", max_steps=-1), "--dry_run"])
    out = capsys.readouterr().out
    for word in ("samples      36 (easy 12, medium 12, hard 12), order file", "steps        18, 2 prompts x 2 completions",
                 "reference 0.00", "parameters ", "disk "):  # fmt: skip
        assert word in out
    assert not (world / "runs" / "dry").exists()
