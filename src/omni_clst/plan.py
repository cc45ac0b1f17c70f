"""What a run will take, before it takes it: steps, tokens a step, memory per device, disk.

Counts come from the model's shapes on the meta device; activations are an estimate whose formula is in
`activation_bytes`. Nothing of the weights is read.
"""

from collections import Counter
from dataclasses import dataclass

import torch

from .checkpoints import load_config, lora_layers
from .files import require_disk
from .modeling import OmniThinker
from .runs import process_count, say
from .samples import LEVELS, AudioQASample

GIB = 2**30
CARDS_GIB = (24, 48, 80)


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

    @property
    def total(self) -> int:
        return self.language + self.towers


def measure_model(source: str, lora_targets: str | None, lora_rank: int) -> ModelSize:
    """Count a thinker's parameters on the meta device; `lora_targets` None counts no adapter."""
    config = load_config(source).thinker_config
    with torch.device("meta"):
        model = OmniThinker(config)
    towers = sum(p.numel() for tower in (model.audio_tower, model.visual) for p in tower.parameters())
    matched = lora_layers(model, lora_targets) if lora_targets else []
    lora = sum(lora_rank * (layer.in_features + layer.out_features) for layer in matched)
    text = config.text_config
    total = sum(p.numel() for p in model.parameters())
    return ModelSize(
        total - towers, towers, lora, text.hidden_size, text.intermediate_size, text.num_hidden_layers, text.vocab_size
    )


def activation_bytes(size: ModelSize, tokens: int, labelled: int, checkpointing: bool, width: int) -> int:
    """Estimated activations of one forward and backward over `tokens` positions, `width` bytes a value.

    A decoder layer keeps about 8 hidden and 3 feed-forward values a token; with gradient checkpointing one layer does,
    and every other keeps its input. Logits, their softmax and gradient are float32 over the labelled positions.
    """
    layer = tokens * (8 * size.hidden + 3 * size.intermediate) * width
    inputs = tokens * size.hidden * width
    kept = layer + size.layers * inputs if checkpointing else size.layers * layer
    return kept + 3 * labelled * size.vocabulary * 4


def memory_table(size: ModelSize, trainable: int, width: int, activations: int, zero_stage: int) -> dict[str, int]:
    """Bytes per device of weights, gradients, optimiser (AdamW, float32) and activations."""
    processes = process_count()
    weights = (size.total + size.lora) * width if trainable == size.lora else size.total * width
    master = trainable * 4 if zero_stage and width == 2 else 0  # DeepSpeed keeps its own float32 copy
    return {
        "weights": weights // (processes if zero_stage == 3 else 1),
        "gradients": trainable * 4 // (processes if zero_stage >= 2 else 1),
        "optimiser": (trainable * 8 + master) // (processes if zero_stage else 1),
        "activations": activations,
    }


def _size_of(run) -> tuple[ModelSize, int, int]:
    """The model's size, its trainable parameters, bytes a weight."""
    config = run.config
    lora = config.tuning == "lora"
    size = measure_model(run.checkpoint.full_model, config.lora_targets if lora else None, config.lora_rank)
    trainable = size.lora if lora else size.language + (size.towers if config.train_towers else 0)
    return size, trainable, run.parameter_dtype.itemsize


def _disk_of(run) -> tuple[int, int]:
    """Bytes of one checkpoint and of all that the run keeps."""
    size, trainable, width = _size_of(run)
    weights = trainable * 4 if run.config.tuning == "lora" else size.total * width
    checkpoint = weights + trainable * 8 + 2**20
    kept = (run.config.save_total_limit or 10) + 2  # the best one, and the one being written
    return checkpoint, kept * checkpoint + (size.total * width if getattr(run.config, "merge", False) else 0)


def require_disk_for(run) -> None:
    """Raise `InputError` when the disk cannot hold the run's checkpoints and merged model."""
    require_disk(run.config.run_dir, _disk_of(run)[1], "this run")


def print_sft_plan(run) -> None:
    """Print samples by level, steps, tokens a step, bytes per device and disk of a supervised run."""
    config = run.config
    size, _, width = _size_of(run)
    batch = config.per_device_train_batch_size
    rows = batch * config.gradient_accumulation_steps * process_count()
    steps = config.max_steps if config.max_steps > 0 else int(-(-len(run.train) // rows) * config.num_train_epochs)
    mean = sum(run.train_lengths) / len(run.train_lengths)
    longest = max(run.train_lengths)
    activations = activation_bytes(size, batch * longest, batch * longest // 4, config.gradient_checkpointing, width)
    say(f"samples      {len(run.train)} ({levels_in_words(run.train)})")
    say(f"steps        {steps}, {rows} rows each on {process_count()} processes")
    say(f"tokens       {rows * mean:,.0f} a step, {mean:.0f} a row, the longest row {longest}")
    _print_size(run, activations, reference=False)


def print_grpo_plan(run, arguments) -> None:
    """Print samples by level, steps, tokens a step, bytes per device and disk of a GRPO run."""
    config = run.config
    size, _, width = _size_of(run)
    prompts, copies = run.prompts_a_generation(arguments), config.num_generations
    rows = min(config.per_device_train_batch_size, config.completions_per_forward or config.per_device_train_batch_size)
    longest = max(run.train_lengths) + config.max_completion_length
    mean = sum(run.train_lengths) / len(run.train_lengths)
    scored = rows * config.max_completion_length
    activations = activation_bytes(size, rows * longest, scored, config.gradient_checkpointing, width)
    say(f"samples      {len(run.train)} ({levels_in_words(run.train)}), order {config.order}")
    say(f"steps        {arguments.max_steps}, {prompts} prompts x {copies} completions a generation on "
        f"{process_count()} processes")  # fmt: skip
    say(f"tokens       {prompts * mean:,.0f} of prompts and up to {prompts * copies * config.max_completion_length:,} "
        f"written a generation; the longest row {longest}")  # fmt: skip
    _print_size(run, activations, reference=config.tuning == "full" and config.beta > 0)


def _print_size(run, activations: int, reference: bool) -> None:
    size, trainable, width = _size_of(run)
    checkpoint, disk = _disk_of(run)
    memory = memory_table(size, trainable, width, activations, zero_stage(run.config.deepspeed))
    if reference:
        shards = process_count() if zero_stage(run.config.deepspeed) == 3 else 1
        memory["reference"] = size.total * run.compute_dtype.itemsize // shards
    say(f"parameters   {size.total / 1e6:,.1f} M, {trainable / 1e6:,.2f} M learn")
    print_memory(memory)
    say(f"disk         {checkpoint / GIB:.2f} GiB a checkpoint, {disk / GIB:.2f} GiB in all")


def print_memory(memory: dict[str, int]) -> None:
    """Print the parts and whether their sum fits the usual cards (with a tenth left for the allocator)."""
    total = sum(memory.values())
    parts = ", ".join(f"{name} {value / GIB:.2f}" for name, value in memory.items())
    fits = ", ".join(f"{card} GB {'yes' if total < 0.9 * card * GIB else 'no'}" for card in CARDS_GIB)
    say(f"memory       {total / GIB:.2f} GiB a device ({parts}); fits {fits}")


def levels_in_words(samples: list[AudioQASample]) -> str:
    """Samples by level, as `easy 10, hard 5`."""
    counts = Counter(sample.level for sample in samples)
    return ", ".join(f"{level} {counts[level]}" for level in LEVELS if counts[level])


def zero_stage(deepspeed: str | None) -> int:
    """The ZeRO stage of a DeepSpeed JSON, 0 for none."""
    from .files import read_json

    return int(read_json(deepspeed).get("zero_optimization", {}).get("stage", 0)) if deepspeed else 0
