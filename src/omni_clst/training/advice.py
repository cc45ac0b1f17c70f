"""What to change where a run does not fit: other values of its settings, each planned like the run itself."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ..errors import InputError
from ..settings import REPOSITORY
from .memory import Memory, memory_of
from .workload import Workload, is_grpo, is_sharded

ZERO3 = str(REPOSITORY / "configs" / "zero3.json")
LORA_RATE = 10  # times the learning rate of full tuning, as configs/clst_15k_lora.yaml has it
MOST_DOUBLINGS = 4  # of the number of GPUs
LEAST_GAIN = 0.02  # of the total: smaller ones are not worth a line
Plan = Callable[[dict, int], tuple[object, Workload]]  # (changed settings, GPUs) -> config and workload


@dataclass(frozen=True)
class Advice:
    """Changed settings, or another number of GPUs, and the memory of the run with them."""

    changes: dict[str, object]
    gpus: int
    memory: Memory


def advise(plan: Plan, gpus: int, card_gib: float) -> list[Advice]:
    """The changes that make a run smaller: each alone, by what it saves, then more GPUs, then the first that fit together.

    `plan` raises `InputError` for settings that do not go together.
    """
    config, work = plan({}, gpus)
    before = memory_of(config, work)
    alone = [one for one in (_planned(plan, changes, gpus) for changes in candidates(config, work)) if one]
    found = sorted((one for one in alone if _is_smaller(one.memory, before)), key=lambda one: one.memory.total)
    if not any(one.memory.fits(card_gib) for one in found):
        found += _together(plan, gpus, card_gib)
    sharded = {} if config.deepspeed else {"deepspeed": ZERO3}
    counts = [gpus * 2**power for power in range(1, MOST_DOUBLINGS + 1)]
    more_gpus = (_planned(plan, sharded, count) for count in counts)
    return found + [one for one in more_gpus if one and one.memory.fits(card_gib)][:1]


def _planned(plan: Plan, changes: dict[str, object], gpus: int) -> Advice | None:
    try:
        return Advice(changes, gpus, memory_of(*plan(changes, gpus)))
    except InputError:
        return None


def _is_smaller(memory: Memory, before: Memory) -> bool:
    return memory.total < (1 - LEAST_GAIN) * before.total


def _together(plan: Plan, gpus: int, card_gib: float) -> list[Advice]:
    """Changes added until the run fits, the one that saves most first; nothing where one alone is all that helps."""
    best, steps = Advice({}, gpus, memory_of(*plan({}, gpus))), 0
    while not best.memory.fits(card_gib):
        more = [changes for changes in candidates(*plan(best.changes, gpus)) if not changes.keys() & best.changes.keys()]
        planned = (_planned(plan, best.changes | changes, gpus) for changes in more)
        smaller = [one for one in planned if one and _is_smaller(one.memory, best.memory)]
        if not smaller:
            break
        best, steps = min(smaller, key=lambda one: one.memory.total), steps + 1
    return [best] if steps > 1 else []


def candidates(config, work: Workload) -> Iterator[dict[str, object]]:
    """Changes of settings that may save memory."""
    if not config.gradient_checkpointing:
        yield {"gradient_checkpointing": True}
    yield from _smaller_batches(config)
    if is_grpo(config):
        yield from _smaller_rollouts(config, work)
    if config.deepspeed is None and work.processes > 1:
        yield {"deepspeed": ZERO3}
    if config.tuning == "full":
        yield {"tuning": "lora", "learning_rate": LORA_RATE * config.learning_rate}
    elif config.quantization == "none" and not is_sharded(config, work):
        without = {"deepspeed": None} if config.deepspeed else {}
        yield {"quantization": "nf4"} | without | ({"engine": "hf"} if work.engine == "vllm" else {})
    yield {"max_audio_seconds": config.max_audio_seconds / 2}
    if is_grpo(config):
        yield {"max_completion_length": config.max_completion_length // 2}
        if config.tuning == "full" and config.beta > 0:
            yield {"beta": 0.0}


def _smaller_batches(config) -> Iterator[dict[str, object]]:
    """Fewer rows at once, with the same number of rows per optimiser step."""
    batch, least = config.per_device_train_batch_size, getattr(config, "num_generations", 1)
    if batch > least:
        accumulation = config.gradient_accumulation_steps * batch // least
        yield {"per_device_train_batch_size": least, "gradient_accumulation_steps": accumulation}
    if is_grpo(config) and (config.completions_per_forward or least) > 1:
        yield {"completions_per_forward": 1}


def _smaller_rollouts(config, work: Workload) -> Iterator[dict[str, object]]:
    if work.engine == "vllm" and not config.vllm_sleep:
        yield {"vllm_sleep": True}
    if config.merge_adapter:
        yield {"merge_adapter": False}
    if work.engine == "vllm":
        yield {"engine": "hf"}
    elif (config.completions_per_rollout or math.inf) > config.num_generations:
        yield {"completions_per_rollout": config.num_generations}
    needs_gathering = config.dynamic_sampling or config.valid_file or config.audio_cache_gib
    shards = is_sharded(config, work)
    if work.engine == "hf" and shards and not needs_gathering:
        yield {"ds3_gather_for_generation": False}
    if config.tuning == "full" and config.beta > 0 and not config.offload_reference and not shards:
        yield {"offload_reference": True} | ({"deepspeed": None} if config.deepspeed else {})
