"""What a run computes besides its settings: model size, tokens, processes; from data, or expected without any."""

from dataclasses import dataclass

from ..files import read_object
from .model_size import ModelSize

# What is expected of samples where there is no data: clips and questions as in AVQA and AudSem.
CLIP_SECONDS = 10
TEXT_TOKENS = 160  # of a prompt: the template of the shipped prompts, a question, its choices
TARGET_TOKENS = 80  # of the assistant's turn of an SFT sample: a thought on half of them, and the answer
LONGEST_TARGET_TOKENS = 256


@dataclass(frozen=True)
class Workload:
    """Model, samples and processes of a run; a sample is a prompt in GRPO, and a prompt with its target in SFT."""

    size: ModelSize
    samples: int
    mean: float  # tokens of a sample
    longest: int  # tokens
    processes: int
    compute_width: int = 2  # bytes of a value in the forward: bfloat16
    engine: str = "hf"  # of GRPO's rollouts
    clip_seconds: float = CLIP_SECONDS  # on average


def expected_workload(config, size: ModelSize, samples: int, processes: int, engine: str) -> Workload:
    """The workload of a config without its data: clips of `CLIP_SECONDS` on average, the longest as long as allowed."""
    clip = min(CLIP_SECONDS, config.max_audio_seconds)
    prompt = size.audio_rate * clip + TEXT_TOKENS
    longest = int(size.audio_rate * config.max_audio_seconds) + TEXT_TOKENS
    if is_grpo(config):
        limit, target, longest_target = config.max_prompt_length, 0, 0
    else:
        limit, target, longest_target = config.max_length, TARGET_TOKENS, LONGEST_TARGET_TOKENS
    mean, longest = min(prompt + target, limit), min(longest + longest_target, limit)
    return Workload(size, samples, mean, longest, processes, engine=engine, clip_seconds=clip)


def is_grpo(config) -> bool:
    """Whether a training config is that of GRPO, not of SFT."""
    return hasattr(config, "num_generations")


def steps_per_generation(config, processes: int) -> int:
    """Micro-steps of one generation, as TRL computes them."""
    rows = config.per_device_train_batch_size * processes
    given = config.trainer.get("steps_per_generation")
    total = config.trainer.get("generation_batch_size")
    return given or (max(total // rows, 1) if total else config.gradient_accumulation_steps)


def rows_per_generation(config, work: Workload) -> int:
    """Completions of one generation on one process."""
    return steps_per_generation(config, work.processes) * config.per_device_train_batch_size


def scores_before_training(config, work: Workload) -> bool:
    """Whether the policy scores a generation before its first update, as TRL does where not all is in one update."""
    passes = steps_per_generation(config, work.processes) * config.num_iterations
    return work.engine == "vllm" or config.gradient_accumulation_steps % passes != 0


def gathers_for_generation(config) -> bool:
    """Whether ZeRO-3 gathers the whole model on every device for a generation."""
    return config.trainer.get("ds3_gather_for_generation", True)


def zero_stage(deepspeed: str | None) -> int:
    """The ZeRO stage of a DeepSpeed JSON, 0 for none."""
    return int(read_object(deepspeed).get("zero_optimization", {}).get("stage", 0)) if deepspeed else 0


def is_sharded(config, work: Workload) -> bool:
    """Whether ZeRO-3 spreads the weights over several devices."""
    return zero_stage(config.deepspeed) == 3 and work.processes > 1
