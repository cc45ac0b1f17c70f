"""GRPO's settings: what would do harm or nothing is refused, what is left out is counted."""

import grpo_runs
import pytest
from grpo_runs import arguments

import grpo
from omni_clst.errors import InputError

spelling_earns, world, undisturbed = grpo_runs.spelling_earns, grpo_runs.world, grpo_runs.undisturbed  # fixtures


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
