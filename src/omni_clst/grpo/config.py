"""Settings of GRPO."""

import math
from dataclasses import dataclass, field

from ..checks import between, one_of, positive
from ..method.order import ORDERS
from ..method.rewards import REWARDS
from ..training.config import TuningConfig
from .settings import LOSS_TYPES, refused


@dataclass(kw_only=True)
class CLSTConfig(TuningConfig):
    """Stage 2, GRPO in the order of the curriculum (arXiv 2509.12275, section 3.3). Also takes every setting of
    `trl.GRPOConfig` that a rollout over audio can follow; the others are refused by name."""

    run_name: str = "clst_15k"
    tuning: str = "full"
    order: str = "file"  # the curriculum as it stands; shuffled | shuffled_within_level | overlapping, to compare
    overlap: float = 0.2  # of `overlapping`: 0 is the file's order, 1 is nearly shuffled
    rewards: dict[str, float] = field(default_factory=lambda: {"accuracy": 2.0, "format": 1.0})  # name: weight
    over_limit: str = "drop"  # drop | crop: clips over max_audio_seconds; prompts over max_prompt_length are dropped
    max_audio_seconds: float = 60.0
    max_prompt_length: int = 2048  # tokens, audio included (25 a second); never cut
    num_generations: int = 4  # completions a prompt: more find a difference more often and cost in proportion
    max_completion_length: int = 256  # tokens
    temperature: float = 1.2
    top_p: float = 1.0
    top_k: int = 0  # 0: all tokens
    beta: float = 0.04  # weight of the KL to the starting model; 0 needs no reference
    num_iterations: int = 1  # updates a generation is used for
    loss_type: str = "grpo"  # averaged over each completion, then over completions; also dapo, dr_grpo, bnpo, ...
    dynamic_sampling: bool = False  # True replaces groups whose rewards are all equal by the next samples
    max_redraws: int = 4  # of dynamic sampling: how often in one generation
    completions_per_forward: int | None = None  # where memory is short: rows whose activations are kept together
    completions_per_rollout: int | None = None  # where memory is short: rows that are written together
    offload_reference: bool = False  # True keeps a full fine-tuning's reference off the device, its layers visit in turn
    audio_cache_gib: float = 0.0  # the machine's memory for clips' encodings, for clips that come again: 1.8 MB a 10-s clip
    early_stopping_patience: int | None = None  # evaluations without a better accuracy until the run ends
    learning_rate: float = 1.0e-6
    num_train_epochs: float = 1.0
    warmup_steps: float = 0.0
    per_device_train_batch_size: int = 4  # completions: a multiple of num_generations, so that a group stays whole
    gradient_accumulation_steps: int = 1
    per_device_eval_batch_size: int = 16
    eval_steps: float = 375
    save_steps: float = 375

    attentions = ("sdpa", "flex_attention", "eager")  # a shared prompt needs a mask of its own; flex needs a GPU

    def problems(self) -> list[str]:
        found = super().problems() + refused(self.trainer) + between(self, "audio_cache_gib", 0)
        if self.audio_cache_gib and self.train_towers:
            found.append("audio_cache_gib needs train_towers false: encodings change while the audio tower learns")
        if self.offload_reference and (self.tuning == "lora" or self.beta == 0):
            found.append("offload_reference needs tuning full and a beta above 0: else there is no second model")
        if self.offload_reference and self.deepspeed:
            found.append("offload_reference does not go with deepspeed: configs/zero3.json shards the reference")
        if self.trainer.get("sync_ref_model"):
            if self.tuning == "lora" or self.beta == 0:
                found.append("sync_ref_model needs tuning full and a beta above 0: else there is no second model")
            if self.offload_reference:
                found.append("offload_reference does not go with sync_ref_model")
        found += one_of("loss_type", self.loss_type, LOSS_TYPES)
        found += one_of("order", self.order, ORDERS) + one_of("over_limit", self.over_limit, ("drop", "crop"))
        found += positive(self, "max_prompt_length", "max_completion_length", "temperature", "top_p", "num_iterations")
        found += between(self, "top_p", 0, 1) + between(self, "top_k", 0) + between(self, "beta", 0)
        found += between(self, "overlap", 0) + between(self, "max_redraws", 0) + between(self, "num_generations", 2)
        for name in ("completions_per_forward", "completions_per_rollout", "early_stopping_patience"):
            found += positive(self, name) if getattr(self, name) is not None else []
        found += [
            f"rewards {name} {weight} is no number" for name, weight in self.rewards.items() if not math.isfinite(weight)
        ]
        for name in self.rewards:
            found += one_of("rewards", name, tuple(REWARDS))
        if not any(self.rewards.values()):
            found.append(f"rewards {self.rewards} weigh nothing")
        if self.num_generations > 0 and self.per_device_train_batch_size % self.num_generations:
            found.append(
                f"per_device_train_batch_size {self.per_device_train_batch_size} is not a multiple of "
                f"num_generations {self.num_generations}"
            )
        if self.valid_file and self.save_steps > 0 and self.eval_steps % self.save_steps:
            found.append(
                f"eval_steps {self.eval_steps} is not a multiple of save_steps {self.save_steps}: "
                "the best checkpoint could not be kept"
            )
        if self.early_stopping_patience and not self.valid_file:
            found.append("early_stopping_patience needs valid_file")
        return found
