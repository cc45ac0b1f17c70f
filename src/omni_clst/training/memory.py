"""Bytes that a run takes per device: what it needs permanently, and peaks that occur one after the other.

Activations and rollouts are estimated by the formulas of `activation_bytes` and `rollout_bytes`.
"""

from dataclasses import dataclass

from ..model.engine import PREFILL_TOKENS
from ..model.quantization import NF4_BYTES
from ..model.thinker import LOGITS_AT_ONCE
from .model_size import ModelSize
from .workload import Workload, gathers_for_generation, is_grpo, is_sharded, rows_per_generation, zero_stage

GIB = 2**30
CARD_SHARE = 0.9  # of a card's memory; the rest is reserved for the allocator
# Multiples of the hidden size that a decoder layer saves per token for its backward, as counted by hooks on saved tensors:
# 8.5 in float32 and 10.5 in bfloat16, 12.8 with adapters, and 15.5 where bfloat16 is computed from float32 weights.
HIDDEN_VALUES = {"full": 11, "lora": 13, "autocast": 16}


@dataclass(frozen=True)
class Memory:
    """Bytes per device by what takes them."""

    permanent: dict[str, int]
    peaks: dict[str, int]

    @property
    def total(self) -> int:
        return sum(self.permanent.values()) + max(self.peaks.values())

    def fits(self, card_gib: float) -> bool:
        return self.total < CARD_SHARE * card_gib * GIB


def activation_bytes(
    size: ModelSize, tokens: int, labelled: int, checkpointing: bool, width: int, hidden_values: int
) -> int:
    """Estimated activation bytes of one forward and backward over `tokens` positions, with `width` bytes per value.

    A decoder layer saves per token about `hidden_values` (see `HIDDEN_VALUES`) times the hidden size and 4 times the
    feed-forward size; with gradient checkpointing only one layer at a time does, and the others save their input. Logits,
    their softmax and gradient are float32 over the labelled positions.
    """
    layer = tokens * (hidden_values * size.hidden + 4 * size.intermediate) * width
    inputs = tokens * size.hidden * width
    kept = layer + size.layers * inputs if checkpointing else size.layers * layer
    return kept + 3 * labelled * size.vocabulary * 4


def rollout_bytes(
    size: ModelSize, completions: int, cached: int, prefilled: int, width: int, gathered: bool = False
) -> int:
    """Estimated bytes while `completions` are generated: keys and values of the `cached` tokens of prompts and
    completions, one layer over the `prefilled` tokens of one prefill, and the logits of one step.

    `gathered` adds the whole model, which ZeRO-3 gathers on every device for generation.
    """
    cache = cached * size.layers * size.cached * width
    prefill = prefilled * (8 * size.hidden + 3 * size.intermediate) * width
    logits = 3 * completions * size.vocabulary * 4
    return cache + prefill + logits + (size.total * width if gathered else 0)


def memory_table(
    size: ModelSize, trainable: int, width: int, zero_stage: int, compute_width: int, processes: int
) -> dict[str, int]:
    """Bytes per device that a run needs permanently: weights, gradients, optimiser (AdamW, float32).

    Without DeepSpeed, training in bfloat16 from float32 weights also has a bfloat16 copy of the trained weights.
    """
    weights = (size.total + size.lora) * width if trainable == size.lora else size.total * width
    weights += trainable * compute_width if compute_width < width and not zero_stage else 0
    master = trainable * 4 if zero_stage and width == 2 else 0  # DeepSpeed has its own float32 copy
    return {
        "weights": weights // (processes if zero_stage == 3 else 1),
        "gradients": trainable * 4 // (processes if zero_stage >= 2 else 1),
        "optimiser": (trainable * 8 + master) // (processes if zero_stage else 1),
    }


def memory_of(config, work: Workload) -> Memory:
    """The memory of a training run."""
    stage, width = zero_stage(config.deepspeed), parameter_width(config, work)
    permanent = memory_table(
        work.size, trainable_count(config, work.size), width, stage, work.compute_width, work.processes
    )
    if config.quantization == "nf4":
        permanent["weights"] -= int(work.size.linear * (width - NF4_BYTES))
    more = _grpo_memory(config, work) if is_grpo(config) else _sft_memory(config, work)
    return Memory(permanent | more.permanent, more.peaks)


def trainable_count(config, size: ModelSize) -> int:
    """Number of trained parameters."""
    if config.tuning == "lora":
        return size.lora
    return size.language + (size.towers if config.train_towers else 0)


def parameter_width(config, work: Workload) -> int:
    """Bytes of a weight: float32 if the weights are trained."""
    return work.compute_width if config.tuning == "lora" else 4


def _sft_memory(config, work: Workload) -> Memory:
    tokens = config.per_device_train_batch_size * work.longest
    return Memory({}, {"activations": _activations(config, work, tokens, tokens // 4)})


def _grpo_memory(config, work: Workload) -> Memory:
    batch, size = config.per_device_train_batch_size, work.size
    trained = min(batch, config.completions_per_forward or batch)
    prompts = -(-trained // config.num_generations)
    completions = trained * config.max_completion_length
    activations = _activations(
        config, work, prompts * work.longest + completions, min(completions, LOGITS_AT_ONCE // size.vocabulary)
    )
    reference = size.total * work.compute_width if config.tuning == "full" and config.beta > 0 else 0
    on_device = reference // (work.processes if is_sharded(config, work) else 1)
    permanent = {"reference": on_device} if reference and not config.offload_reference else {}
    if config.vllm_server:  # it generates on other GPUs
        return Memory(permanent, {"activations": activations})
    rollout = _rollout(config, work)
    if work.engine == "vllm" and not config.vllm_sleep:
        return Memory(permanent | {"rollout": rollout}, {"activations": activations, "rollout": 0})
    return Memory(permanent, {"activations": activations, "rollout": rollout})


def _rollout(config, work: Workload) -> int:
    generated = rows_per_generation(config, work)
    generated = min(generated, config.completions_per_rollout or generated)
    prompt_tokens = -(-generated // config.num_generations) * work.longest  # completions share their prompt's cache
    uses_vllm = work.engine == "vllm"  # which has weights of its own
    merged = work.size.adapted * work.compute_width if config.merge_adapter and not uses_vllm else 0
    sharded, gathers = is_sharded(config, work), gathers_for_generation(config)
    prefills_all = sharded and not gathers and not uses_vllm
    return merged + rollout_bytes(
        work.size,
        generated,
        prompt_tokens + generated * config.max_completion_length,
        prompt_tokens if prefills_all else max(min(prompt_tokens, PREFILL_TOKENS), work.longest),
        work.compute_width,
        gathered=uses_vllm or (sharded and gathers),
    )


def _activations(config, work: Workload, tokens: int, labelled: int) -> int:
    size, width = work.size, work.compute_width
    # a 4-bit weight is expanded while it is used, one at a time
    expanded = size.hidden * size.intermediate * width if config.quantization == "nf4" else 0
    checkpointing, hidden_values = config.gradient_checkpointing, _hidden_values(config, work)
    return activation_bytes(size, tokens, labelled, checkpointing, width, hidden_values) + expanded


def _hidden_values(config, work: Workload) -> int:
    if config.tuning == "lora":
        return HIDDEN_VALUES["lora"]
    is_mixed = work.compute_width != parameter_width(config, work) and not config.deepspeed
    return HIDDEN_VALUES["autocast" if is_mixed else "full"]
