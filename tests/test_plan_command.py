"""plan.sh: what fits on given GPUs, what to change, and hours; without GPU, data, checkpoint and network."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest

import plan
from omni_clst.errors import InputError
from omni_clst.grpo.plan_table import plan_lines
from omni_clst.grpo.recipes import Recipe, answering_of, measure, models_of, recipes_of, shipped_recipes
from omni_clst.settings import REPOSITORY
from omni_clst.training.advice import advise
from omni_clst.training.cards import CARDS, card_of_device, choose_card
from omni_clst.training.config import PlanConfig
from omni_clst.training.hours import (
    HF_STEP_SECONDS,
    STATIC_STEP_SECONDS,
    answering_hours,
    gathering_seconds,
    hours_of,
    tokens_of,
)
from omni_clst.training.memory import memory_of

GIB = 2**30
MACHINES = [(1, 24), (1, 48), (4, 40), (8, 80)]
A100 = choose_card(40)
# 7B, counted: all, and without the towers for clips and pictures
TOTAL, LANGUAGE, AUDIO = 8_931_813_888, 7_615_616_512, 639_647_232
PRODUCTS = LANGUAGE - 152064 * 3584  # without the embedding


def recipe_of(name: str, model: str, gpus: int, memory: float, settings: dict | None = None, **more) -> Recipe:
    file = str(REPOSITORY / "configs" / f"{name}.yaml")
    request = PlanConfig(gpus=gpus, memory=memory, recipe=file, model=model, **more)
    return recipes_of(request, settings or {})[0]


def test_counts_of_the_released_models_are_the_published_ones():
    """Qwen2.5-7B: 7.61 B, 6.53 B without embeddings; Qwen2.5-3B: 2.77 B without; Whisper large-v3's encoder and the ViT."""
    large, small = measure("7B", None, 0), measure("Qwen/Qwen2.5-Omni-3B", None, 0)
    assert (large.total, large.language, large.audio) == (TOTAL, LANGUAGE, AUDIO)
    assert round((LANGUAGE - 2 * 152064 * 3584) / 1e9, 2) == 6.53
    assert round((small.language - 2 * 151936 * 2048) / 1e9, 2) == 2.77
    assert round(small.total / 1e9, 2) == 4.70
    assert (large.cached, small.cached) == (1024, 512)  # 56 and 36 KiB a token in bfloat16, over 28 and 36 layers


def test_every_training_recipe_is_found_by_what_it_is():
    sft = ["sft_7b_qlora_24gb", "sft_lora"]
    grpo = ["clst_15k", "clst_15k_lora", "clst_3b_24gb", "clst_7b_lora_48gb", "clst_7b_qlora_24gb"]
    assert [file.stem for file in shipped_recipes()] == [*sft, *grpo]


def test_recipe_that_names_a_model_is_planned_for_that_one():
    planned = [(recipe.file.stem, recipe.model) for recipe in recipes_of(PlanConfig(gpus=1, memory=24), {})]
    assert ("clst_3b_24gb", "3B") in planned and ("clst_3b_24gb", "7B") not in planned
    assert ("sft_lora", "3B") in planned and ("sft_lora", "7B") in planned


def test_memory_of_full_grpo_on_four_cards_is_the_sum_worked_out_by_hand():
    memory = memory_of(*recipe_of("clst_15k", "7B", 4, 40).plan({}, 4))
    permanent = {"weights": TOTAL * 4, "gradients": LANGUAGE * 4, "optimiser": LANGUAGE * 8, "reference": TOTAL * 2}
    assert memory.permanent == {name: value // 4 for name, value in permanent.items()}
    longest = 60 * 25 + 160
    cache = 4 * (longest + 4 * 256) * 28 * 1024 * 2  # four prompts of four completions
    prefill, logits = 2048 * (8 * 3584 + 3 * 18944) * 2, 3 * 16 * 152064 * 4
    assert memory.peaks["rollout"] == cache + prefill + logits + TOTAL * 2  # gathered for the generation
    assert round(memory.total / GIB, 1) == 51.3


def test_tokens_and_completions_are_counted_from_the_recipe():
    config, work = recipe_of("clst_15k", "7B", 4, 40).plan({}, 4)
    # generations of 16 prompts: 937, and 8 samples are left
    assert tokens_of(config, work) == (14_992 * (10 * 25 + 160) + 59_968 * 100, 59_968)
    config, work = recipe_of("sft_lora", "7B", 4, 40, samples=1000).plan({}, 4)
    assert tokens_of(config, work) == (2 * 1000 * (250 + 160 + 80), 0)
    config, work = recipe_of("sft_lora", "7B", 4, 40, {"max_steps": "10", "max_audio_seconds": "2"}).plan({}, 4)
    assert tokens_of(config, work) == (10 * 96 * (50 + 160 + 80), 0)


def test_hours_of_sft_are_operations_over_a_third_of_the_peak():
    config, work = recipe_of("sft_lora", "7B", 4, 40).plan({}, 4)
    tokens = 2 * 40_000 * 490
    operations = (2 + 2 + 2) * PRODUCTS * tokens + 2 * AUDIO * 500 * 2 * 40_000
    assert hours_of(config, work, A100) == {"training": pytest.approx(operations / 4 / (312e12 * 0.35) / 3600)}


def test_hours_of_grpo_are_training_rollouts_and_the_weights_that_zero3_sends():
    config, work = recipe_of("clst_15k", "7B", 4, 40).plan({}, 4)
    generations, tokens = 937, 4 * (410 + 4 * 100)  # of one process
    training = (2 + 4 + 2 + 2 + 2) * PRODUCTS * tokens + 4 * 2 * AUDIO * 500
    rollout = 4 * (2 * PRODUCTS * 410 + 2 * AUDIO * 500)
    sent = (4 * (3 + 1 + 1) + 1) * TOTAL * 2 * 3 / 4 / (300e9 * 0.6)
    read = (PRODUCTS * 2 + 16 * 510 * 28 * 1024 * 2) / (1555e9 * 0.6)
    seconds = {
        "training": training / (312e12 * 0.35),
        "rollouts": rollout / (312e12 * 0.35) + 200 * read,
        "weights sent": sent,
    }
    expected = {name: pytest.approx(generations * value / 3600) for name, value in seconds.items()}
    assert hours_of(config, work, A100) == expected


def test_hours_are_the_same_whatever_this_machine_computes_in():
    config, work = recipe_of("clst_15k", "7B", 4, 40).plan({}, 4)
    assert hours_of(config, replace(work, compute_width=4), A100) == hours_of(config, work, A100)


def test_plain_decoding_is_bound_by_launches_and_vllm_by_reading_weights():
    hf = recipe_of("clst_15k_lora", "7B", 1, 80, {"decoding": "plain"}).plan({}, 1)
    vllm = recipe_of("clst_15k_lora", "7B", 1, 80, engine="vllm").plan({}, 1)
    slow, fast = (hours_of(*one, A100)["rollouts"] for one in (hf, vllm))
    read = (PRODUCTS * 2 + 16 * 510 * 28 * 1024 * 2) / (1555e9 * 0.6)
    prefill = 4 * (2 * PRODUCTS * 410 + 2 * AUDIO * 500) / (312e12 * 0.35)
    assert slow == pytest.approx(3750 * (prefill + 200 * HF_STEP_SECONDS) / 3600)
    assert fast == pytest.approx(3750 * (prefill + 200 * read + 1.0) / 3600)


def test_static_decoding_of_a_small_model_is_bound_by_its_kernels():
    config, work = recipe_of("clst_15k_lora", "3B", 1, 80).plan({}, 1)
    plain = recipe_of("clst_15k_lora", "3B", 1, 80, {"decoding": "plain"}).plan({}, 1)
    saved = 3750 * 200 * (HF_STEP_SECONDS - STATIC_STEP_SECONDS) / 3600
    assert hours_of(*plain, A100)["rollouts"] - hours_of(config, work, A100)["rollouts"] == pytest.approx(saved)


def test_gathering_at_every_token_costs_the_link_and_the_launches():
    once, each = (recipe_of("clst_15k", "7B", 4, 40, {"ds3_gather_for_generation": gathers}).plan({}, 4)
                  for gathers in ("true", "false"))  # fmt: skip
    seconds = TOTAL * 2 * 3 / 4 / (300e9 * 0.6)
    assert gathering_seconds(*each, A100) == pytest.approx(seconds)
    assert gathering_seconds(*once, A100) == 0
    read = (PRODUCTS * 2 + 16 * 510 * 28 * 1024 * 2) / (1555e9 * 0.6)
    slower, faster = (hours_of(*one, A100)["rollouts"] for one in (each, once))
    assert slower - faster == pytest.approx(937 * 200 * (seconds + HF_STEP_SECONDS - read) / 3600)


def test_merged_adapter_takes_a_second_copy_of_the_adapted_weights():
    apart, merged = (recipe_of("clst_15k_lora", "7B", 1, 80, {"merge_adapter": merges}).plan({}, 1)
                     for merges in ("false", "true"))  # fmt: skip
    adapted = 28 * (2 * 3584 * 3584 + 2 * 3584 * 512 + 3 * 3584 * 18944)
    assert memory_of(*merged).peaks["rollout"] - memory_of(*apart).peaks["rollout"] == adapted * 2
    too_large = recipe_of("clst_15k_lora", "7B", 1, 24, {"merge_adapter": "true"})
    assert {"merge_adapter": False} in [one.changes for one in advise(too_large.plan, 1, 24)]


def test_answers_take_longer_with_thoughts_and_less_on_more_gpus():
    def hours(stage: str, gpus: int) -> float:
        return answering_hours(*answering_of(PlanConfig(gpus=gpus, memory=40), stage, "7B"), A100)

    assert hours("sft", 1) < hours("clst", 1)
    assert hours("sft", 4) == pytest.approx(hours("sft", 1) / 4)


@pytest.mark.parametrize("model", ["3B", "7B"])
@pytest.mark.parametrize("file", shipped_recipes(), ids=lambda file: file.stem)
def test_more_gpus_never_take_more_memory_or_time(file, model):
    plans = [recipe_of(file.stem, model, 1, 80).plan({}, gpus) for gpus in (1, 2, 4, 8)]
    totals = [memory_of(*one).total for one in plans]
    # the first step to several cards adds the model that ZeRO-3 gathers for a generation, and is smaller all the same
    assert totals == sorted(totals, reverse=True)
    hours = [sum(hours_of(*one, A100).values()) for one in plans]
    assert all(later < earlier for earlier, later in zip(hours, hours[1:], strict=False))


@pytest.mark.parametrize(("gpus", "memory"), MACHINES)
@pytest.mark.parametrize("engine", ["hf", "vllm"])
def test_a_run_fits_below_the_cards_memory_and_each_advice_makes_it_smaller(gpus, memory, engine):
    for recipe in recipes_of(PlanConfig(gpus=gpus, memory=memory, engine=engine), {}):
        before = memory_of(*recipe.plan({}, gpus))
        assert before.fits(memory) == (before.total < 0.9 * memory * GIB)
        if before.fits(memory):
            continue
        advice = advise(recipe.plan, gpus, memory)
        assert advice
        for one in advice:
            assert memory_of(*recipe.plan(one.changes, one.gpus)) == one.memory
            assert one.memory.total < before.total
            assert one.gpus == gpus or one.memory.fits(memory)
        assert len({str((one.changes, one.gpus)) for one in advice}) == len(advice)


def test_changes_are_combined_where_none_is_enough_alone():
    *alone, combined, more_gpus = advise(recipe_of("sft_lora", "7B", 1, 18).plan, 1, 18)
    four_bits, batch = {"quantization": "nf4"}, {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 24}
    assert [one.changes for one in alone] == [four_bits, batch, {"max_audio_seconds": 30.0}]
    assert not any(one.memory.fits(18) for one in alone)
    assert combined.changes == four_bits | batch
    assert combined.memory.fits(18)
    assert more_gpus.gpus == 4  # 2 take 18.1 GiB, 16.2 fit


@pytest.mark.parametrize(
    ("memory", "name", "expected"),
    [
        (40, None, "A100-40"),
        (80, None, "A100-80"),
        (48, None, "A6000"),
        (24, None, "RTX3090"),
        (80, "h100", "H100"),
        (80, "a100", "A100-80"),
        (40, "A100", "A100-40"),
        (24, "RTX 4090", "RTX4090"),
        (16, None, "RTX3090"),
    ],
)
def test_card_is_the_named_one_or_the_slower_one_with_this_memory(memory, name, expected):
    assert choose_card(memory, name).name == expected


def test_cards_of_equal_memory_are_listed_slowest_first():
    pairs = zip(CARDS, CARDS[1:], strict=False)
    assert all(one.tflops < two.tflops for one, two in pairs if one.memory_gib == two.memory_gib)


def test_card_of_this_machine_is_known_by_torchs_name():
    assert card_of_device("NVIDIA A100-SXM4-40GB", 39.5).name == "A100-40"
    assert card_of_device("NVIDIA H100 80GB HBM3", 79.6).name == "H100"
    assert card_of_device("NVIDIA GeForce RTX 4090", 23.6).name == "RTX4090"
    assert card_of_device("another one", 47.0).name == "A6000"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--memory", "40"], "gpus is not set"),
        (["--gpus", "4", "--memory", "40", "--gpu_name", "b7"], "gpu_name 'b7' is not one of rtx3090, "),
        (["--gpus", "4", "--memory", "40", "--model", "9B"], "model '9B' is neither a folder nor one of 3B, 7B"),
        (["--gpus", "4", "--memory", "40", "--lora_rank", "3"], "unknown key 'lora_rank'"),
        (["--gpus", "4", "--memory", "40", "x"], "'x' is not a --key"),
        (["--gpus", "4", "--memory", "40", "--config", f"{REPOSITORY}/configs/infer.yaml"], "not the recipe of a training"),
        (
            ["--gpus", "1", "--memory", "8", "--config", f"{REPOSITORY}/configs/sft_lora.yaml", "--lora_rnk", "3"],
            "unknown key 'lora_rnk' .did you mean 'lora_rank'",
        ),
    ],
)
def test_what_cannot_be_planned_is_named(words, message):
    with pytest.raises(InputError, match=message):
        plan.main(words)


def test_keys_of_the_recipe_are_taken_with_it(capsys):
    words = ["--gpus", "1", "--memory", "24", "--config", str(REPOSITORY / "configs" / "sft_lora.yaml"), "--model", "3B"]
    plan.main([*words, "--per_device_train_batch_size", "1"])
    smaller = float(capsys.readouterr().out.splitlines()[3].split()[5])
    plan.main(words)
    assert smaller < float(capsys.readouterr().out.splitlines()[3].split()[5])


def test_all_that_does_not_fit_is_told_what_to_change():
    lines = list(plan_lines(PlanConfig(gpus=4, memory=40, model="7B"), {}))
    assert "clst_15k, 7B: 51.3 GiB (weights 8.3, " in "\n".join(lines)
    assert any(line.startswith("  --tuning lora --learning_rate 1e-05: ") and ", fits, " in line for line in lines)
    assert not any(line.startswith("sft_lora, 7B") for line in lines)


@pytest.mark.slow
def test_command_needs_no_gpu_no_data_and_no_network(tmp_path):
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    offline = {"CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "cache")}
    command = ["bash", str(REPOSITORY / "script" / "plan.sh"), "--gpus", "4", "--memory", "40"]
    environment = {**kept, **offline, "PYTHON": sys.executable, "NPROC_PER_NODE": "2"}  # one process all the same
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    planned = [(row[0], row[1]) for row in rows if row[1:2] in (["3B"], ["7B"]) and len(row) == 8]
    assert planned == [(file.stem, model) for file in shipped_recipes() for model in models_of(file)]
    assert "assumed (an estimate: no rate was measured on a GPU)" in done.stdout
    assert not (tmp_path / "cache").exists()
