"""Print the plan of a run before it starts: steps, tokens per step, memory per device, hours, disk."""

from collections import Counter
from collections.abc import Iterable

import torch

from ..data.samples import LEVELS, AudioQASample
from ..files import require_disk
from ..processes import process_count, say
from .cards import Card, card_of_device, choose_card
from .hours import gathering_seconds, hours_of
from .memory import GIB, Memory, memory_of, parameter_width, trainable_count

CARDS_GIB = (24, 48, 80)


def _disk_of(run) -> tuple[int, int]:
    """Bytes of one checkpoint, and of all files that the run keeps."""
    config, work = run.config, run.workload
    trainable, total = trainable_count(config, work.size), work.size.total
    weights = trainable * 4 if config.tuning == "lora" else total * parameter_width(config, work)
    checkpoint = weights + trainable * 8 + 2**20
    if config.deepspeed:  # its own copy of the weights, and of the trained ones in float32
        checkpoint += total * work.compute_width + trainable * 4
    if config.trainer.get("sync_ref_model"):
        checkpoint += total * work.compute_width
    kept = (config.save_total_limit or 10) + 2  # the best one, and the one being written
    more = total * parameter_width(config, work) if getattr(config, "merge", False) else 0
    if getattr(config, "vllm_server", None) and config.vllm_weights != "nccl":
        more += total * work.compute_width  # the folder that the server reads after an update
    return checkpoint, kept * checkpoint + more


def require_disk_for(run) -> None:
    """Raise `InputError` if the disk has too little space for the run's checkpoints and merged model.

    Files of an earlier start count as written: they stay, or are deleted for newer ones.
    """
    folders = (*run.config.run_dir.glob("checkpoint-*"), *run.config.run_dir.glob("merged"))
    existing = sum(path.stat().st_size for folder in folders for path in folder.rglob("*") if path.is_file())
    require_disk(run.config.run_dir, max(_disk_of(run)[1] - existing, 0), "this run")


def print_sft_plan(run) -> None:
    """Print samples by level, steps, tokens per step, bytes per device, hours and disk of a supervised run."""
    config, work = run.config, run.workload
    rows = config.per_device_train_batch_size * config.gradient_accumulation_steps * work.processes
    steps = config.max_steps if config.max_steps > 0 else int(-(-work.samples // rows) * config.num_train_epochs)
    say(f"samples      {work.samples} ({levels_in_words(run.train)})")
    say(f"steps        {steps}, {rows} samples each on {work.processes} processes")
    say(f"tokens       {rows * work.mean:,.0f} per step, {work.mean:.0f} per sample, the longest sample {work.longest}")
    _print_size(run)


def print_grpo_plan(run, arguments) -> None:
    """Print samples by level, steps, tokens per step, bytes per device, hours and disk of a GRPO run."""
    config, work = run.config, run.workload
    prompts, copies = run.prompts_per_generation(arguments), config.num_generations
    say(f"samples      {work.samples} ({levels_in_words(run.train)}), order {config.order}")
    say(f"steps        {arguments.max_steps}, {prompts} prompts x {copies} completions per generation on "
        f"{process_count()} processes")  # fmt: skip
    say(f"tokens       {prompts * work.mean:,.0f} of prompts and up to "
        f"{prompts * copies * config.max_completion_length:,} of completions per generation; the longest prompt "
        f"{work.longest}")  # fmt: skip
    if config.vllm_server:
        say(f"engine       vllm on {config.vllm_server}, whose weights and cache are not in the memory below")
    elif work.engine == "vllm":
        sleeps = "given back during the update" if config.vllm_sleep else "kept during the update"
        share = f"{config.gpu_memory_utilization:.0%} of a GPU's memory"
        say(f"engine       vllm, with its own weights and cache: the rollout's memory below, at most {share}, {sleeps}")
    _print_gathering(run)
    _print_size(run)


def _print_gathering(run) -> None:
    """Print what it costs that ZeRO-3 gathers the weights at every token of a rollout, where it does."""
    config, work, card = run.config, run.workload, _card_of(run)
    seconds = gathering_seconds(config, work, card)
    if not seconds:
        return
    gathered_once = config.model_copy(update={"trainer": config.trainer | {"ds3_gather_for_generation": True}})
    hours, others = (hours_of(one, work, card)["rollouts"] for one in (config, gathered_once))
    more = memory_of(gathered_once, work).peaks["rollout"] - memory_of(config, work).peaks["rollout"]
    fetched = f"{work.size.total * work.compute_width / 1e9:.1f} GB of weights from the other GPUs"
    say(
        f"rollouts     ds3_gather_for_generation false: every token fetches {fetched}, {seconds:.2f} s a token as "
        f"estimated for {card.name}: {hours:.1f} hours instead of {others:.1f}; true takes {more / GIB:.1f} GiB more "
        "during a rollout"
    )


def _print_size(run) -> None:
    config, work = run.config, run.workload
    checkpoint, disk = _disk_of(run)
    say(f"parameters   {work.size.total / 1e6:,.1f} M, {trainable_count(config, work.size) / 1e6:,.2f} M trained")
    print_memory(memory_of(config, work))
    _print_hours(run)
    say(f"disk         {checkpoint / GIB:.2f} GiB per checkpoint, {disk / GIB:.2f} GiB in total")


def _print_hours(run) -> None:
    """Print the estimated hours on this machine's card; without one, on an A100."""
    card = _card_of(run)
    hours = sum(hours_of(run.config, run.workload, card).values())
    place = f"{run.workload.processes} x {card.name}"
    say(f"hours        {hours:.1f} on {place}, estimated and not measured: script/plan.sh prints the assumptions")


def _card_of(run) -> Card:
    if run.device.type != "cuda":
        return choose_card(80)
    properties = torch.cuda.get_device_properties(run.device)
    return card_of_device(properties.name, properties.total_memory / GIB)


def print_memory(memory: Memory) -> None:
    """Print permanent memory, the peaks that occur one after the other, and whether the total fits the usual cards."""

    def in_words(parts: dict[str, int]) -> str:
        return ", ".join(f"{name} {value / GIB:.2f}" for name, value in parts.items())

    peak = f"{'the larger of ' if len(memory.peaks) > 1 else ''}{in_words(memory.peaks)}"
    fits = ", ".join(f"{card} GB {'yes' if memory.fits(card) else 'no'}" for card in CARDS_GIB)
    say(f"memory       {memory.total / GIB:.2f} GiB per device ({in_words(memory.permanent)}, {peak}); fits {fits}")


def levels_in_words(samples: Iterable[AudioQASample]) -> str:
    """Samples by level, as `easy 10, hard 5`."""
    counts = Counter(sample.level for sample in samples)
    return ", ".join(f"{level} {counts[level]}" for level in LEVELS if counts[level])
