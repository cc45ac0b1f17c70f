"""The settings of TRL that are refused, since they would have no effect or lose the audio."""

from dataclasses import replace

from ..fields import Lines
from ..training.trainer_settings import OPTIMISERS, PASSED_ON, PASSED_TO_TRL, LibrarySetting, keys_of

_NO_AUDIO = "it gets token ids without audio"
_OURS = "the project's own engine generates completions"
_FEED = "the curriculum's feed decides what is read"
_LOGGED = "completions.jsonl has every completion"
_LOADED = "the model is loaded by the project"
REFUSED = {  # setting: (values that do not request it, the reason)
    "use_vllm": ((False,), "TRL's vLLM gets token ids without audio; set engine vllm"),
    "use_transformers_continuous_batching": ((False,), _NO_AUDIO),
    "use_transformers_paged": ((False,), _NO_AUDIO),
    "transformers_continuous_batching_config": ((None,), _NO_AUDIO),
    "repetition_penalty": ((1.0,), "it would change which tokens are sampled, but not their log-probabilities"),
    "generation_kwargs": ((None,), "they would change which tokens are sampled, but not their log-probabilities"),
    "cache_implementation": ((None,), _OURS),
    "chat_template_kwargs": ((None,), "prompts.py defines the prompt"),
    "max_tool_calling_iterations": ((None,), "there are no tools"),
    "log_multimodal": ((True, False), "it logs images"),
    "log_completions_hub_repo": ((None,), _LOGGED),
    "pad_to_multiple_of": ((None,), "completions are packed after their prompt"),
    "cast_lm_head_to_fp32": ((False,), "log-probabilities are float32 for any dtype of the head"),
    "num_generations_eval": ((None,), "evaluation answers greedily, as inference does"),
    "model_init_kwargs": ((None,), _LOADED),
    "trust_remote_code": ((False,), _LOADED),
    "router_aux_loss_coef": ((None,), "a mixture of experts is trained without a loss of its router"),
    "neftune_noise_alpha": ((None,), "it would change the policy and not the rollout"),
    "data_seed": ((None,), "seed decides the order"),
    "dataloader_drop_last": ((False,), _FEED),
    "dataloader_prefetch_factor": ((None,), _FEED),
}
_ENGINE = "set engine vllm, which takes its settings from the project"
_OTHER_VLLM = {
    "vllm_mode": "engine vllm runs on the policy's own device",
    "vllm_gpu_memory_utilization": "set gpu_memory_utilization",
    "vllm_max_model_length": "max_prompt_length and max_completion_length decide",
    "vllm_enable_sleep_mode": "set vllm_sleep",
}
CORRECTION = {  # TRL's importance sampling for completions that another engine generated
    "vllm_importance_sampling_correction",
    "vllm_importance_sampling_mode",
    "vllm_importance_sampling_clip_max",
    "vllm_importance_sampling_clip_min",
}
CHOICES = {  # values that TRL checks only in the first loss
    "importance_sampling_level": ("token", "sequence"),
    "scale_rewards": ("group", "batch", "none"),
    "vllm_importance_sampling_mode": ("token_mask", "token_truncate", "sequence_mask", "sequence_truncate"),
    "multi_objective_aggregation": ("sum_then_normalize", "normalize_then_sum"),
}
HELP = {  # in place of TRL's texts, which do not say what a value costs
    "ds3_gather_for_generation": "of ZeRO-3 and engine hf: true gathers the weights once for a rollout, which takes memory "
    "for the whole model on every GPU; false gathers them anew for every token, several times slower (see --dry_run)",
    "steps_per_generation": "micro-batches whose prompts are rolled out together; none: gradient_accumulation_steps, so "
    "that every completion is of the newest policy; more are faster and take memory for keys and values",
}
LOSS_TYPES = ("grpo", "dr_grpo", "dapo", "bnpo", "cispo", "sapo", "luspo", "vespo")


def grpo_keys() -> dict[str, LibrarySetting]:
    """The fields of `trl.GRPOConfig` that can be given as keys; some of them are refused."""
    from trl import GRPOConfig

    offered = (PASSED_ON | PASSED_TO_TRL | CORRECTION) - REFUSED.keys()
    keys = keys_of(GRPOConfig, offered, CHOICES | {"optim": tuple(OPTIMISERS)})
    return keys | {name: replace(keys[name], help=text) for name, text in HELP.items()}


def refused(settings: dict[str, object]) -> Lines:
    """The problems of these further settings of TRL."""
    for name, value in settings.items():
        if name.startswith("vllm_") and name not in CORRECTION:
            yield f"{name} {value!r} is not supported: {_OTHER_VLLM.get(name, _ENGINE)}"
        elif name in REFUSED and value not in REFUSED[name][0]:
            yield f"{name} {value!r} is not supported: {REFUSED[name][1]}"
        elif name in CHOICES and value not in CHOICES[name]:
            yield f"{name} {value!r} is not one of {', '.join(map(str, CHOICES[name]))}"
