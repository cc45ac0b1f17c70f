"""Plan a run before it starts: steps, tokens per step, memory per device, disk.

Parameter counts come from the model's shapes on the meta device, without reading weights; activations are estimated by the
formula in `activation_bytes`.
"""

from collections import Counter
from dataclasses import dataclass

import torch

from ..data.samples import LEVELS, AudioQASample
from ..files import require_disk
from ..model.checkpoints import load_model_config, lora_layers
from ..model.engine import PREFILL_TOKENS
from ..model.thinker import LOGITS_AT_ONCE, OmniThinker
from ..processes import process_count, say

GIB = 2**30
CARDS_GIB = (24, 48, 80)
# Multiples of the hidden size that a decoder layer saves per token for its backward, as counted by hooks on saved tensors:
# 8.5 in float32 and 10.5 in bfloat16, 12.8 with adapters, and 15.5 where bfloat16 is computed from float32 weights.
HIDDEN_VALUES = {"full": 11, "lora": 13, "autocast": 16}


@dataclass(frozen=True)
class ModelSize:
    """Parameter counts of a thinker, and the sizes that its activations depend on."""

    language: int
    towers: int
    lora: int
    hidden: int
    intermediate: int
    layers: int
    vocabulary: int
    cached: int  # values in the cache per token and layer: keys and values of all heads

    @property
    def total(self) -> int:
        return self.language + self.towers


def measure_model(source: str, lora_targets: str | None, lora_rank: int) -> ModelSize:
    """Count a thinker's parameters on the meta device; `lora_targets` None counts no adapter."""
    config = load_model_config(source).thinker_config
    with torch.device("meta"):
        model = OmniThinker(config)
    towers = sum(p.numel() for tower in (model.audio_tower, model.visual) for p in tower.parameters())
    matched = lora_layers(model, lora_targets) if lora_targets else []
    lora = sum(lora_rank * (layer.in_features + layer.out_features) for layer in matched)
    text = config.text_config
    total = sum(p.numel() for p in model.parameters())
    return ModelSize(
        language=total - towers,
        towers=towers,
        lora=lora,
        hidden=text.hidden_size,
        intermediate=text.intermediate_size,
        layers=text.num_hidden_layers,
        vocabulary=text.vocab_size,
        cached=2 * text.num_key_value_heads * text.hidden_size // text.num_attention_heads,
    )


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


def memory_table(size: ModelSize, trainable: int, width: int, zero_stage: int, compute_width: int) -> dict[str, int]:
    """Bytes per device that a run needs permanently: weights, gradients, optimiser (AdamW, float32).

    Without DeepSpeed, training in bfloat16 from float32 weights also has a bfloat16 copy of the trained weights.
    """
    processes = process_count()
    weights = (size.total + size.lora) * width if trainable == size.lora else size.total * width
    weights += trainable * compute_width if compute_width < width and not zero_stage else 0
    master = trainable * 4 if zero_stage and width == 2 else 0  # DeepSpeed has its own float32 copy
    return {
        "weights": weights // (processes if zero_stage == 3 else 1),
        "gradients": trainable * 4 // (processes if zero_stage >= 2 else 1),
        "optimiser": (trainable * 8 + master) // (processes if zero_stage else 1),
    }


def _hidden_values(run) -> int:
    if run.config.tuning == "lora":
        return HIDDEN_VALUES["lora"]
    is_mixed = run.compute_dtype != run.parameter_dtype and not run.config.deepspeed
    return HIDDEN_VALUES["autocast" if is_mixed else "full"]


def _trainable(run) -> int:
    """Number of trained parameters."""
    if run.config.tuning == "lora":
        return run.size.lora
    return run.size.language + (run.size.towers if run.config.train_towers else 0)


def _disk_of(run) -> tuple[int, int]:
    """Bytes of one checkpoint, and of all files that the run keeps."""
    size, trainable, width = run.size, _trainable(run), run.parameter_dtype.itemsize
    weights = trainable * 4 if run.config.tuning == "lora" else size.total * width
    checkpoint = weights + trainable * 8 + 2**20
    if run.config.deepspeed:  # its own copy of the weights, and of the trained ones in float32
        checkpoint += size.total * run.compute_dtype.itemsize + trainable * 4
    if run.config.trainer.get("sync_ref_model"):
        checkpoint += size.total * run.compute_dtype.itemsize
    kept = (run.config.save_total_limit or 10) + 2  # the best one, and the one being written
    more = size.total * width if getattr(run.config, "merge", False) else 0
    if getattr(run.config, "vllm_server", None) and run.config.vllm_weights != "nccl":
        more += size.total * run.compute_dtype.itemsize  # the folder that the server reads after an update
    return checkpoint, kept * checkpoint + more


def require_disk_for(run) -> None:
    """Raise `InputError` if the disk has too little space for the run's checkpoints and merged model.

    Files of an earlier start count as written: they stay, or are deleted for newer ones.
    """
    folders = (*run.config.run_dir.glob("checkpoint-*"), *run.config.run_dir.glob("merged"))
    existing = sum(path.stat().st_size for folder in folders for path in folder.rglob("*") if path.is_file())
    require_disk(run.config.run_dir, max(_disk_of(run)[1] - existing, 0), "this run")


def print_sft_plan(run) -> None:
    """Print samples by level, steps, tokens per step, bytes per device and disk of a supervised run."""
    config = run.config
    size, width = run.size, run.compute_dtype.itemsize
    batch = config.per_device_train_batch_size
    rows = batch * config.gradient_accumulation_steps * process_count()
    steps = config.max_steps if config.max_steps > 0 else int(-(-len(run.train) // rows) * config.num_train_epochs)
    mean = sum(run.train_lengths) / len(run.train_lengths)
    longest = max(run.train_lengths)
    activations = activation_bytes(
        size, batch * longest, batch * longest // 4, config.gradient_checkpointing, width, _hidden_values(run)
    )
    say(f"samples      {len(run.train)} ({levels_in_words(run.train)})")
    say(f"steps        {steps}, {rows} samples each on {process_count()} processes")
    say(f"tokens       {rows * mean:,.0f} per step, {mean:.0f} per sample, the longest sample {longest}")
    _print_size(run, {}, {"activations": activations})


def print_grpo_plan(run, arguments) -> None:
    """Print samples by level, steps, tokens per step, bytes per device and disk of a GRPO run."""
    config = run.config
    size, width = run.size, run.compute_dtype.itemsize
    prompts, copies = run.prompts_per_generation(arguments), config.num_generations
    longest = max(run.train_lengths)
    mean = sum(run.train_lengths) / len(run.train_lengths)
    trained = min(config.per_device_train_batch_size, config.completions_per_forward or config.per_device_train_batch_size)
    activations = activation_bytes(
        size,
        -(-trained // copies) * longest + trained * config.max_completion_length,
        min(trained * config.max_completion_length, LOGITS_AT_ONCE // size.vocabulary),
        config.gradient_checkpointing,
        width,
        _hidden_values(run),
    )
    generated = arguments.steps_per_generation * config.per_device_train_batch_size
    generated = min(generated, config.completions_per_rollout or generated)
    sharded = zero_stage(config.deepspeed) == 3 and process_count() > 1
    gathers_per_layer = sharded and not arguments.ds3_gather_for_generation
    prompt_tokens = -(-generated // copies) * longest  # a prompt's completions share its keys and values
    is_served = bool(config.vllm_server)  # on other GPUs
    uses_vllm = run.engine_name == "vllm" and not is_served  # which has weights of its own
    rollout = rollout_bytes(
        size,
        generated,
        prompt_tokens + generated * config.max_completion_length,
        prompt_tokens if gathers_per_layer and not uses_vllm else max(min(prompt_tokens, PREFILL_TOKENS), longest),
        run.compute_dtype.itemsize,
        gathered=uses_vllm or (sharded and arguments.ds3_gather_for_generation),
    )
    reference = size.total * run.compute_dtype.itemsize if config.tuning == "full" and config.beta > 0 else 0
    say(f"samples      {len(run.train)} ({levels_in_words(run.train)}), order {config.order}")
    say(f"steps        {arguments.max_steps}, {prompts} prompts x {copies} completions per generation on "
        f"{process_count()} processes")  # fmt: skip
    say(f"tokens       {prompts * mean:,.0f} of prompts and up to {prompts * copies * config.max_completion_length:,} "
        f"of completions per generation; the longest prompt {longest}")  # fmt: skip
    on_device = reference // (process_count() if sharded else 1)
    permanent = {"reference": on_device} if reference and not config.offload_reference else {}
    if uses_vllm:
        sleeps = "given back during the update" if config.vllm_sleep else "kept during the update"
        share = f"{config.gpu_memory_utilization:.0%} of a GPU's memory"
        say(f"engine       vllm, with its own weights and cache: the rollout's memory below, at most {share}, {sleeps}")
    if is_served:
        say(f"engine       vllm on {config.vllm_server}, whose weights and cache are not in the memory below")
    if uses_vllm and not config.vllm_sleep:
        permanent |= {"rollout": rollout}
        rollout = 0
    peaks = {"activations": activations} if is_served else {"activations": activations, "rollout": rollout}
    _print_size(run, permanent, peaks)


def _print_size(run, more: dict[str, int], peaks: dict[str, int]) -> None:
    size, trainable, width = run.size, _trainable(run), run.parameter_dtype.itemsize
    checkpoint, disk = _disk_of(run)
    say(f"parameters   {size.total / 1e6:,.1f} M, {trainable / 1e6:,.2f} M trained")
    permanent = memory_table(size, trainable, width, zero_stage(run.config.deepspeed), run.compute_dtype.itemsize)
    print_memory(permanent | more, peaks)
    say(f"disk         {checkpoint / GIB:.2f} GiB per checkpoint, {disk / GIB:.2f} GiB in total")


def print_memory(permanent: dict[str, int], peaks: dict[str, int]) -> None:
    """Print permanent memory, the peaks that occur one after the other, and whether the total fits the usual cards.

    A tenth of a card is reserved for the allocator.
    """
    total = sum(permanent.values()) + max(peaks.values())

    def in_words(parts: dict[str, int]) -> str:
        return ", ".join(f"{name} {value / GIB:.2f}" for name, value in parts.items())

    peak = f"{'the larger of ' if len(peaks) > 1 else ''}{in_words(peaks)}"
    fits = ", ".join(f"{card} GB {'yes' if total < 0.9 * card * GIB else 'no'}" for card in CARDS_GIB)
    say(f"memory       {total / GIB:.2f} GiB per device ({in_words(permanent)}, {peak}); fits {fits}")


def levels_in_words(samples: list[AudioQASample]) -> str:
    """Samples by level, as `easy 10, hard 5`."""
    counts = Counter(sample.level for sample in samples)
    return ", ".join(f"{level} {counts[level]}" for level in LEVELS if counts[level])


def zero_stage(deepspeed: str | None) -> int:
    """The ZeRO stage of a DeepSpeed JSON, 0 for none."""
    from ..files import read_object

    return int(read_object(deepspeed).get("zero_optimization", {}).get("stage", 0)) if deepspeed else 0
