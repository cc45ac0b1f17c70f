"""What a run will take, before it takes it: steps, tokens a step, memory per device, disk.

Counts come from the model's shapes on the meta device; activations are an estimate whose formula is in
`activation_bytes`. Nothing of the weights is read.
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
# Values of the hidden size that a decoder layer keeps a token for its backward, as counted by hooks on saved tensors:
# 8.5 in float32 and 10.5 in bfloat16, 12.8 with adapters, and 15.5 where bfloat16 is computed from float32 weights.
HIDDEN_VALUES = {"full": 11, "lora": 13, "autocast": 16}


@dataclass(frozen=True)
class ModelSize:
    """Parameter counts of a thinker and what its activations depend on."""

    language: int
    towers: int
    lora: int
    hidden: int
    intermediate: int
    layers: int
    vocabulary: int
    cached: int  # values that the cache keeps a token and layer: keys and values of all heads

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
    """Estimated activations of one forward and backward over `tokens` positions, `width` bytes a value.

    A decoder layer keeps about `hidden_values` (see `HIDDEN_VALUES`) hidden and 4 feed-forward values a token; with
    gradient checkpointing one layer does, and every other keeps its input. Logits, their softmax and gradient are float32
    over the labelled positions.
    """
    layer = tokens * (hidden_values * size.hidden + 4 * size.intermediate) * width
    inputs = tokens * size.hidden * width
    kept = layer + size.layers * inputs if checkpointing else size.layers * layer
    return kept + 3 * labelled * size.vocabulary * 4


def rollout_bytes(size: ModelSize, rows: int, cached: int, read: int, width: int, gathered: bool = False) -> int:
    """Estimated bytes while `rows` completions are written: keys and values of the `cached` tokens of prompts and
    completions, one layer over the `read` tokens of prompts that are read at once, the last logits.

    `gathered` adds the whole model, which ZeRO-3 puts together on every device for it.
    """
    cache = cached * size.layers * size.cached * width
    prefill = read * (8 * size.hidden + 3 * size.intermediate) * width
    logits = 3 * rows * size.vocabulary * 4
    return cache + prefill + logits + (size.total * width if gathered else 0)


def memory_table(size: ModelSize, trainable: int, width: int, zero_stage: int, compute_width: int) -> dict[str, int]:
    """Bytes per device that a run holds all the time: weights, gradients, optimiser (AdamW, float32).

    Plain training in bfloat16 from float32 weights holds a copy of those that learn in bfloat16, too.
    """
    processes = process_count()
    weights = (size.total + size.lora) * width if trainable == size.lora else size.total * width
    weights += trainable * compute_width if compute_width < width and not zero_stage else 0
    master = trainable * 4 if zero_stage and width == 2 else 0  # DeepSpeed keeps its own float32 copy
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
    """Parameters that learn."""
    if run.config.tuning == "lora":
        return run.size.lora
    return run.size.language + (run.size.towers if run.config.train_towers else 0)


def _disk_of(run) -> tuple[int, int]:
    """Bytes of one checkpoint and of all that the run keeps."""
    size, trainable, width = run.size, _trainable(run), run.parameter_dtype.itemsize
    weights = trainable * 4 if run.config.tuning == "lora" else size.total * width
    checkpoint = weights + trainable * 8 + 2**20
    if run.config.deepspeed:  # its own copy of the weights, and the float32 ones that learn
        checkpoint += size.total * run.compute_dtype.itemsize + trainable * 4
    if run.config.trainer.get("sync_ref_model"):
        checkpoint += size.total * run.compute_dtype.itemsize
    kept = (run.config.save_total_limit or 10) + 2  # the best one, and the one being written
    return checkpoint, kept * checkpoint + (size.total * width if getattr(run.config, "merge", False) else 0)


def require_disk_for(run) -> None:
    """Raise `InputError` when the disk cannot hold what the run has still to write of its checkpoints and merged model.

    What an earlier start left in the run's directory is there, or will be deleted for what is newer.
    """
    folders = (*run.config.run_dir.glob("checkpoint-*"), *run.config.run_dir.glob("merged"))
    there = sum(path.stat().st_size for folder in folders for path in folder.rglob("*") if path.is_file())
    require_disk(run.config.run_dir, max(_disk_of(run)[1] - there, 0), "this run")


def print_sft_plan(run) -> None:
    """Print samples by level, steps, tokens a step, bytes per device and disk of a supervised run."""
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
    say(f"steps        {steps}, {rows} rows each on {process_count()} processes")
    say(f"tokens       {rows * mean:,.0f} a step, {mean:.0f} a row, the longest row {longest}")
    _print_size(run, {}, {"activations": activations})


def print_grpo_plan(run, arguments) -> None:
    """Print samples by level, steps, tokens a step, bytes per device and disk of a GRPO run."""
    config = run.config
    size, width = run.size, run.compute_dtype.itemsize
    prompts, copies = run.prompts_a_generation(arguments), config.num_generations
    longest = max(run.train_lengths)
    mean = sum(run.train_lengths) / len(run.train_lengths)
    learnt = min(config.per_device_train_batch_size, config.completions_per_forward or config.per_device_train_batch_size)
    activations = activation_bytes(
        size,
        -(-learnt // copies) * longest + learnt * config.max_completion_length,
        min(learnt * config.max_completion_length, LOGITS_AT_ONCE // size.vocabulary),
        config.gradient_checkpointing,
        width,
        _hidden_values(run),
    )
    written = arguments.steps_per_generation * config.per_device_train_batch_size
    written = min(written, config.completions_per_rollout or written)
    sharded = zero_stage(config.deepspeed) == 3 and process_count() > 1
    in_pieces = sharded and not arguments.ds3_gather_for_generation
    prompt_tokens = -(-written // copies) * longest  # a prompt's completions share its keys and values
    rollout = rollout_bytes(
        size,
        written,
        prompt_tokens + written * config.max_completion_length,
        prompt_tokens if in_pieces else max(min(prompt_tokens, PREFILL_TOKENS), longest),
        run.compute_dtype.itemsize,
        gathered=sharded and arguments.ds3_gather_for_generation,
    )
    reference = size.total * run.compute_dtype.itemsize if config.tuning == "full" and config.beta > 0 else 0
    say(f"samples      {len(run.train)} ({levels_in_words(run.train)}), order {config.order}")
    say(f"steps        {arguments.max_steps}, {prompts} prompts x {copies} completions a generation on "
        f"{process_count()} processes")  # fmt: skip
    say(f"tokens       {prompts * mean:,.0f} of prompts and up to {prompts * copies * config.max_completion_length:,} "
        f"written a generation; the longest prompt {longest}")  # fmt: skip
    held = reference // (process_count() if sharded else 1)
    fixed = {"reference": held} if reference and not config.offload_reference else {}
    _print_size(run, fixed, {"activations": activations, "rollout": rollout})


def _print_size(run, more: dict[str, int], peaks: dict[str, int]) -> None:
    size, trainable, width = run.size, _trainable(run), run.parameter_dtype.itemsize
    checkpoint, disk = _disk_of(run)
    say(f"parameters   {size.total / 1e6:,.1f} M, {trainable / 1e6:,.2f} M learn")
    held = memory_table(size, trainable, width, zero_stage(run.config.deepspeed), run.compute_dtype.itemsize)
    print_memory(held | more, peaks)
    say(f"disk         {checkpoint / GIB:.2f} GiB a checkpoint, {disk / GIB:.2f} GiB in all")


def print_memory(fixed: dict[str, int], peaks: dict[str, int]) -> None:
    """Print what is held all the time, what comes on top by turns, and whether the most at once fits the usual cards.

    A tenth is left for the allocator.
    """
    total = sum(fixed.values()) + max(peaks.values())

    def in_words(parts: dict[str, int]) -> str:
        return ", ".join(f"{name} {value / GIB:.2f}" for name, value in parts.items())

    by_turns = f"{'the larger of ' if len(peaks) > 1 else ''}{in_words(peaks)}"
    fits = ", ".join(f"{card} GB {'yes' if total < 0.9 * card * GIB else 'no'}" for card in CARDS_GIB)
    say(f"memory       {total / GIB:.2f} GiB a device ({in_words(fixed)}, {by_turns}); fits {fits}")


def levels_in_words(samples: list[AudioQASample]) -> str:
    """Samples by level, as `easy 10, hard 5`."""
    counts = Counter(sample.level for sample in samples)
    return ", ".join(f"{level} {counts[level]}" for level in LEVELS if counts[level])


def zero_stage(deepspeed: str | None) -> int:
    """The ZeRO stage of a DeepSpeed JSON, 0 for none."""
    from ..files import read_object

    return int(read_object(deepspeed).get("zero_optimization", {}).get("stage", 0)) if deepspeed else 0
