"""Sort every setting of the library's trainers: ours, set by the run, passed on, or refused with a reason.

A setting without effect is never accepted. A test compares these lists with all fields of `TrainingArguments` and
`GRPOConfig`, so that new fields have to be added here; refused ones of `GRPOConfig` are in `grpo/settings.py`.
"""

import dataclasses
import math
import types
import typing
from collections.abc import Container, Mapping
from dataclasses import dataclass
from enum import Enum

import yaml

from ..errors import InputError
from ..fields import Lines, missing_package

_DTYPE = "dtype decides"
_LOGS = "logs are one line a step, on rank 0"
_EVALUATION = "valid_file and eval_steps decide when; the project has its own evaluation"
_SAVING = "save_steps and save_total_limit say when, and every checkpoint is complete"
_RESUMING = "a second start resumes from the newest complete checkpoint; overwrite starts anew"
SET_BY_THE_RUN = {  # setting: what determines it
    "output_dir": "runs_dir and run_name name the folder",
    "resume_from_checkpoint": _RESUMING,
    "ignore_data_skip": _RESUMING,
    "restore_callback_states_from_checkpoint": _RESUMING,
    "use_cpu": "device decides",
    "bf16": _DTYPE, "fp16": _DTYPE, "bf16_full_eval": _DTYPE, "fp16_full_eval": _DTYPE,
    "remove_unused_columns": "rows are read by the project",
    "label_names": "rows are read by the project",
    "eval_strategy": _EVALUATION, "prediction_loss_only": _EVALUATION, "metric_for_best_model": _EVALUATION,
    "greater_is_better": _EVALUATION, "include_for_metrics": _EVALUATION, "batch_eval_metrics": _EVALUATION,
    "eval_do_concat_batches": _EVALUATION, "eval_use_gather_object": _EVALUATION, "eval_accumulation_steps": _EVALUATION,
    "save_strategy": _SAVING, "save_only_model": _SAVING, "save_on_each_node": _SAVING,
    "enable_jit_checkpoint": _SAVING, "load_best_model_at_end": _SAVING,
    "logging_strategy": _LOGS, "logging_first_step": _LOGS, "log_on_each_node": _LOGS, "log_level": _LOGS,
    "log_level_replica": _LOGS, "disable_tqdm": _LOGS, "include_num_input_tokens_seen": _LOGS,
    "skip_memory_metrics": _LOGS, "debug": _LOGS,
    "logging_nan_inf_filter": "a loss of NaN ends the run",
    "gradient_checkpointing_kwargs": "LoRA and ZeRO-3 need the non-reentrant kind",
    "ddp_find_unused_parameters": "every trained weight is used",
    "dataloader_persistent_workers": "data workers live as long as the run",
    "do_train": "the entry point decides", "do_eval": "the entry point decides", "do_predict": "the entry point decides",
    "local_rank": "torchrun sets LOCAL_RANK",
    "parallelism_config": "deepspeed configs/zero3.json shards the weights",
    "reward_weights": "rewards names them with their weights",
    "shuffle_dataset": "order decides",
}  # fmt: skip
KNOWN_ELSEWHERE = {  # names in older versions and other programs: the setting to use instead
    "warmup_ratio": "warmup_steps below 1 is a share of all steps",
    "evaluation_strategy": "eval_steps, with valid_file",
    "group_by_length": "rows are drawn at random",
    "save_safetensors": "weights are always saved as safetensors",
    "logging_dir": "logs are below the run's folder",
    "overwrite_output_dir": "overwrite starts anew",
    "no_cuda": "device cpu",
    "per_gpu_train_batch_size": "per_device_train_batch_size",
    "half_precision_backend": "dtype",
    "torch_dtype": "dtype",
    "lora_r": "lora_rank",
    "target_modules": "lora_targets",
}
_HUB = "checkpoints are not uploaded; `hf upload` takes runs/<run_name>/merged"
_FORWARD = "the model's forward is the project's own"
_ORDER = "rows are drawn at random in SFT, and as order says in GRPO"
_SHARDING = "deepspeed configs/zero3.json shards the weights"
_TRACKER = "the tracker reads its own environment variables"
_LOADER = "the project loads its data itself"
REFUSED = {  # setting: (values that do not request it, the reason)
    "torch_compile": ((False,), "every batch has another shape"),
    "torch_compile_backend": ((None,), "every batch has another shape"),
    "torch_compile_mode": ((None,), "every batch has another shape"),
    "use_liger_kernel": ((False,), _FORWARD),
    "liger_kernel_config": ((None,), _FORWARD),
    "label_smoothing_factor": ((0.0,), _FORWARD),
    "use_cache": ((False,), _FORWARD),
    "auto_find_batch_size": ((False,), "the batch would change unnoticed; lower per_device_train_batch_size"),
    "average_tokens_across_devices": ((True,), "the loss is the mean over all processes' tokens"),
    "optim_args": ((None,), "AdamW is set by adam_beta1, adam_beta2 and adam_epsilon"),
    "optim_target_modules": ((None,), "lora_targets says which layers learn"),
    "train_sampling_strategy": (("random",), _ORDER),
    "length_column_name": (("length",), _ORDER),
    "fsdp": ((None, ""), _SHARDING),
    "fsdp_config": ((None,), _SHARDING),
    "ddp_backend": ((None,), "the device decides: nccl on GPUs, gloo on CPUs"),
    "accelerator_config": ((None,), _LOADER),
    "dataloader_multiprocessing_context": ((None,), _LOADER),
    "dataloader_in_order": ((True,), _LOADER),
    "ddp_broadcast_buffers": ((None,), "the model has no trained buffers"),
    "ddp_static_graph": ((None,), "gradient accumulation and checkpointing change the graph"),
    "push_to_hub": ((False,), _HUB),
    "hub_token": ((), _HUB),
    "hub_private_repo": ((None,), _HUB),
    "hub_model_id": ((None,), _HUB),
    "hub_strategy": (("every_save",), _HUB),
    "hub_always_push": ((False,), _HUB),
    "hub_revision": ((None,), _HUB),
    "project": (("huggingface",), _TRACKER),
    "trackio_space_id": ((None,), _TRACKER),
    "trackio_bucket_id": ((None,), _TRACKER),
    "trackio_static_space_id": ((None,), _TRACKER),
}
SECRET = {"hub_token"}  # never printed, never written
PASSED_ON = {
    "lr_scheduler_type", "lr_scheduler_kwargs", "optim", "weight_decay", "adam_beta1", "adam_beta2", "adam_epsilon",
    "max_grad_norm", "tf32", "torch_empty_cache_steps", "eval_delay", "eval_on_start", "neftune_noise_alpha",
    "full_determinism", "data_seed", "dataloader_drop_last", "dataloader_pin_memory", "dataloader_prefetch_factor",
    "ddp_bucket_cap_mb",
}  # fmt: skip
RANGES = {  # (at least, below)
    "weight_decay": (0, math.inf), "adam_beta1": (0, 1), "adam_beta2": (0, 1), "adam_epsilon": (0, math.inf),
    "max_grad_norm": (0, math.inf), "eval_delay": (0, math.inf), "neftune_noise_alpha": (0, math.inf),
    "torch_empty_cache_steps": (1, math.inf), "data_seed": (0, 2**32), "dataloader_prefetch_factor": (1, math.inf),
    "ddp_bucket_cap_mb": (1, math.inf),
}  # fmt: skip
PASSED_TO_TRL = {
    "disable_dropout", "ds3_gather_for_generation", "generation_batch_size", "steps_per_generation", "min_p", "epsilon",
    "epsilon_high", "delta", "sapo_temperature_neg", "sapo_temperature_pos", "vespo_k_pos", "vespo_lambda_pos",
    "vespo_k_neg", "vespo_lambda_neg", "importance_sampling_level", "multi_objective_aggregation", "scale_rewards",
    "mask_truncated_completions", "sync_ref_model", "ref_model_mixup_alpha", "ref_model_sync_steps", "top_entropy_quantile",
    "entropy_coef", "use_adaptive_entropy", "entropy_coef_min", "entropy_coef_max", "entropy_coef_delta", "entropy_target",
    "off_policy_mask_threshold", "use_bias_correction_kl", "log_completions", "num_completions_to_print",
    "log_unique_prompts",
}  # fmt: skip
_BITSANDBYTES = ("bitsandbytes", "bitsandbytes")
_TORCHAO = ("torchao", "torchao")
_SCHEDULE_FREE = ("schedulefree", "schedulefree")
OPTIMISERS: dict[str, tuple[str, str] | None] = {  # name: the package that it needs, as imported and as installed
    **dict.fromkeys(("adamw_torch", "adamw_torch_fused", "adafactor", "sgd", "adagrad", "rmsprop")),
    **dict.fromkeys(("adamw_bnb_8bit", "adamw_8bit", "paged_adamw_32bit", "paged_adamw_8bit", "ademamix", "ademamix_8bit",
                     "paged_ademamix_32bit", "paged_ademamix_8bit", "lion_8bit", "lion_32bit", "paged_lion_32bit",
                     "paged_lion_8bit", "rmsprop_bnb", "rmsprop_bnb_8bit", "rmsprop_bnb_32bit"), _BITSANDBYTES),
    **dict.fromkeys(("adamw_torch_4bit", "adamw_torch_8bit"), _TORCHAO),
    **dict.fromkeys(("schedule_free_radam", "schedule_free_adamw", "schedule_free_sgd"), _SCHEDULE_FREE),
}  # fmt: skip
REPORTERS: dict[str, tuple[str, str] | None] = {  # the same for report_to
    "none": None,
    "all": None,
    "azure_ml": ("azureml", "azureml-sdk"),
    "clearml": ("clearml", "clearml"),
    "codecarbon": ("codecarbon", "codecarbon"),
    "comet_ml": ("comet_ml", "comet-ml"),
    "dagshub": ("dagshub", "dagshub mlflow"),
    "dvclive": ("dvclive", "dvclive"),
    "flyte": ("flytekit", "flytekit"),
    "kubeflow": ("kubeflow", "kubeflow"),
    "mlflow": ("mlflow", "mlflow"),
    "neptune": ("neptune", "neptune"),
    "swanlab": ("swanlab", "swanlab"),
    "tensorboard": ("tensorboard", "tensorboard"),
    "trackio": ("trackio", "trackio"),
    "wandb": ("wandb", "wandb"),
}


@dataclass(frozen=True)
class LibrarySetting:
    """One field of a library's settings: its type, and its text in --help."""

    type: object
    default: object = None
    help: str = ""
    names: tuple[str, ...] = ()  # the allowed values of a text; (): any
    limits: str = ""  # of a number, in words
    is_offered: bool = True  # else only its neutral value is accepted

    @property
    def words(self) -> str:
        """The types in words."""
        words = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", type(None): "none",
                 dict: "names with values ({a: 1})", list: "a list"}  # fmt: skip
        return " or ".join(text for option, text in words.items() if option in _plain_types(self.type))

    @property
    def values(self) -> str:
        """The allowed values, in words."""
        return " | ".join(self.names) or ", ".join(part for part in (self.words, self.limits) if part)

    def read(self, value: object) -> object:
        """Convert a YAML value, or a command line's text, to one of the types; raises ValueError."""
        kinds = _plain_types(self.type)
        if isinstance(value, str) and kinds & {bool, int, float, dict, list, type(None)}:
            value = yaml.safe_load(value) if value else None  # a command line's `false`, `0.5`, `{a: 1}`
            value = None if value == "none" else value
        if isinstance(value, str) and float in kinds:
            value = float(value)  # YAML reads 1e-4 as a text
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        if is_number and (float in kinds or (int in kinds and value == int(value))):
            return value if float in kinds else int(value)
        if (value is None and type(None) in kinds) or (type(value) in kinds and type(value) in (bool, str, dict, list)):
            return value
        if str in kinds and is_number:
            return str(value)
        raise ValueError


def _plain_types(kind: object) -> set[object]:
    """The types that a field's annotation allows; an enumeration counts as text."""
    options = typing.get_args(kind) if typing.get_origin(kind) in (typing.Union, types.UnionType) else (kind,)
    plain = {typing.get_origin(option) or option for option in options}
    plain = {str if isinstance(option, type) and issubclass(option, Enum) else option for option in plain}
    return plain - {str} if dict in plain else plain  # beside a dict, a text would be JSON or a file's name


def trainer_keys() -> dict[str, LibrarySetting]:
    """The fields of `TrainingArguments` that can be given as keys; some of them are refused."""
    from transformers import TrainingArguments

    return keys_of(TrainingArguments, PASSED_ON, {"optim": tuple(OPTIMISERS)})


def keys_of(
    arguments_class: type, offered: Container[str], choices: Mapping[str, tuple[str, ...]]
) -> dict[str, LibrarySetting]:
    """The fields of a library's settings that can be given as keys; --help shows those that are `offered`.

    `choices` has the allowed values of texts that the library's annotation does not list.
    """
    return {
        f.name: LibrarySetting(
            type=f.type,
            default=_default_of(f),
            help=f.metadata.get("help", ""),
            names=choices.get(f.name) or _members(f.type),
            limits=_limits_in_words(*RANGES[f.name]) if f.name in RANGES else "",
            is_offered=f.name in offered,
        )
        for f in dataclasses.fields(arguments_class)
        if f.name not in SET_BY_THE_RUN
    }


def _members(kind: object) -> tuple[str, ...]:
    """The values of an enumeration among a field's types."""
    options = typing.get_args(kind)
    return tuple(m.value for o in options if isinstance(o, type) and issubclass(o, Enum) for m in o)


def _limits_in_words(low: float, below: float) -> str:
    return f"at least {low}" if below == math.inf else f"from {low} to below {below}"


def _default_of(field: dataclasses.Field) -> object:
    value = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
    return value.value if isinstance(value, Enum) else value


def problems_of_trainer(settings: dict[str, object]) -> Lines:
    """The problems of the settings that are passed to the library's trainer."""
    for name, value in settings.items():
        if name in REFUSED and value not in REFUSED[name][0]:
            shown = name if name in SECRET else f"{name} {value!r}"
            yield f"{shown} is not supported: {REFUSED[name][1]}"
        if name in RANGES and isinstance(value, (int, float)) and not RANGES[name][0] <= value < RANGES[name][1]:
            yield f"{name} {value} is not {_limits_in_words(*RANGES[name])}"
    optimiser = settings.get("optim", "adamw_torch")
    if optimiser not in OPTIMISERS:
        yield f"optim {optimiser!r} is not one of {', '.join(OPTIMISERS)}"
    yield from missing_package(f"optim {optimiser!r}", OPTIMISERS.get(optimiser))


def why_not(name: str) -> str | None:
    """Why a key that is known from other programs cannot be set here; None for an unknown key."""
    if name in SET_BY_THE_RUN:
        return f"cannot be set: {SET_BY_THE_RUN[name]}"
    return f"is not a setting here: {KNOWN_ELSEWHERE[name]}" if name in KNOWN_ELSEWHERE else None


def require_schedule(arguments) -> None:
    """Raise `InputError` for a learning rate schedule with a missing or unknown setting, before training would."""
    import torch
    from transformers import get_scheduler

    name, more = arguments.lr_scheduler_type.value, arguments.lr_scheduler_kwargs
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=arguments.learning_rate)
    try:
        get_scheduler(name, optimiser, num_warmup_steps=1, num_training_steps=10, scheduler_specific_kwargs=more)
    except (TypeError, ValueError) as error:
        raise InputError(f"lr_scheduler_type {name!r} with lr_scheduler_kwargs {more}: {error}") from None
