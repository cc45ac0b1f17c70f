"""Settings of GRPO."""

import math
import re
from typing import Annotated, Literal

from pydantic import Field

from ..fields import AnyFloat, FunctionInFile, Lines, MayChange, OneOf, rule
from ..method.order import ORDERS
from ..method.own_rules import problems_of_rule
from ..method.rewards import PARAMETERS, REWARDS
from ..model.config import DecodingName, EngineName, MemoryShare
from ..training.config import (
    Accumulation,
    Epochs,
    EvalBatch,
    EvalSteps,
    LearningRate,
    RunName,
    SaveSteps,
    TuningConfig,
    WarmupSteps,
)
from .settings import LOSS_TYPES, refused


class CLSTConfig(TuningConfig):
    """GRPO in the order of the curriculum, stage 2 (arXiv 2509.12275, section 3.3)."""

    run_name: RunName = "clst_15k"
    tuning: Literal["lora", "full"] = Field(
        "full", description="full trains float32 master weights: 16 bytes per parameter instead of 2"
    )
    attn_implementation: Literal["sdpa", "flex_attention", "eager"] = Field(
        "sdpa", description="those that take the mask of a shared prompt; flex_attention needs a GPU"
    )
    order: Annotated[str, OneOf(ORDERS)] = Field(
        "file", description="file is the curriculum's order; the others are for comparison"
    )
    overlap: float = Field(0.2, ge=0, description="of order overlapping: 0 is the file's order, 1 is nearly shuffled")
    rewards: dict[Annotated[str, FunctionInFile()], AnyFloat] = Field(
        {"accuracy": 2.0, "format": 1.0},
        description=f"names with weights, of {', '.join(REWARDS)}, or FILE.py:FUNCTION, a reward of your own",
    )
    max_thought_words: int = Field(100, gt=0, description="of the reward length: more words earn less, twice as many none")
    over_limit: Literal["drop", "crop"] = Field(
        "drop", description="drop or crop clips over max_audio_seconds; prompts over max_prompt_length are dropped"
    )
    max_audio_seconds: float = Field(60.0, gt=0, description="limit of a clip, see over_limit; a second takes 25 tokens")
    max_prompt_length: int = Field(2048, gt=0, description="tokens, audio included (25 a second); a prompt is never cut")
    num_generations: int = Field(
        4, ge=2, description="completions per prompt: with more, rewards differ more often; cost in proportion"
    )
    max_completion_length: int = Field(256, gt=0, description="tokens")
    temperature: float = Field(1.2, gt=0, description="of the rollouts: higher explores more")
    top_p: float = Field(1.0, gt=0, le=1, description="sample from the fewest tokens that have this probability together")
    top_k: int = Field(0, ge=0, description="sample from this many most likely tokens; 0: all")
    beta: float = Field(0.04, ge=0, description="weight of the KL to the starting model; 0 needs no reference model")
    num_iterations: int = Field(1, gt=0, description="how often each generation is trained on")
    loss_type: Annotated[str, OneOf(LOSS_TYPES)] = Field(
        "grpo", description="grpo averages over each completion, then over completions; the others as in TRL"
    )
    dynamic_sampling: bool = Field(
        False, description="true replaces groups whose rewards are all equal by groups for the next samples"
    )
    max_redraws: int = Field(4, ge=0, description="of dynamic_sampling: how often in one generation")
    engine: EngineName = "auto"
    decoding: MayChange[DecodingName] = "auto"
    merge_adapter: MayChange[bool] = Field(
        False,
        description="of engine hf with tuning lora: true merges the adapter while completions are generated: a third fewer "
        "kernels a token, for a second copy of the adapted weights in memory",
    )
    gpu_memory_utilization: MayChange[MemoryShare] = 0.3
    vllm_sleep: MayChange[bool] = Field(
        True, description="of engine vllm on a GPU: its memory is given back during the update, and its weights loaded anew"
    )
    vllm_server: MayChange[str | None] = Field(
        None,
        description="http://HOST:PORT of a server of script/serve_vllm.sh that generates; none: vLLM on the run's own GPUs",
    )
    vllm_weights: MayChange[Literal["auto", "nccl", "folder"]] = Field(
        "auto",
        description="how vllm_server gets the weights: nccl, from GPU to GPU; folder, files below the run's folder, which "
        "it has to see; auto: nccl between GPUs, else folder",
    )
    max_logp_drift: MayChange[float] = Field(
        0.2,
        gt=0,
        description="the run ends where the log-probabilities of what generates and the policy's differ by more on average",
    )
    completions_per_forward: MayChange[int | None] = Field(
        None, gt=0, description="where memory is short: completions whose activations are kept together; none: all"
    )
    completions_per_rollout: MayChange[int | None] = Field(
        None, gt=0, description="of engine hf, where memory is short: completions that are generated together; none: all"
    )
    offload_reference: MayChange[bool] = Field(
        False, description="true keeps the reference model of full tuning in CPU memory and loads its layers in turn"
    )
    audio_cache_gib: MayChange[float] = Field(
        0.0, ge=0, description="CPU memory for encodings of clips that are used again: a 10-s clip takes 1.8 MB"
    )
    on_unlearning: Literal["warn", "stop", "shuffle"] = Field(
        "warn",
        description="what happens when thinking on held-out samples of a level falls below half of the start's: a warning, "
        "the end of the run, or the rest of the curriculum shuffled",
    )
    early_stopping_patience: MayChange[int | None] = Field(
        None, gt=0, description="evaluations without a better accuracy after which the run ends; none: it continues"
    )
    completion_table_steps: MayChange[int] = Field(
        50, ge=0, description="steps between tables of completions in the trackers, with the clips; 0: none"
    )
    learning_rate: LearningRate = 1.0e-6
    num_train_epochs: Epochs = 1.0
    warmup_steps: WarmupSteps = 0.0
    per_device_train_batch_size: int = Field(
        4, gt=0, description="completions: a multiple of num_generations, so that a group stays whole"
    )
    gradient_accumulation_steps: Accumulation = 1
    per_device_eval_batch_size: MayChange[EvalBatch] = 16
    eval_steps: EvalSteps = 375
    save_steps: SaveSteps = 375

    @rule
    def _trl_takes_them(self) -> Lines:
        yield from refused(self.trainer)

    @rule
    def _correction_fits_the_loss(self) -> Lines:
        corrects = self.trainer.get("vllm_importance_sampling_correction", True)
        by_token = str(self.trainer.get("vllm_importance_sampling_mode", "sequence_mask")).startswith("token_")
        is_vllm = self.engine == "vllm" or self.vllm_server
        if is_vllm and self.loss_type == "vespo" and corrects and not by_token:
            yield "loss_type vespo with engine vllm needs vllm_importance_sampling_mode token_truncate or token_mask"

    @rule
    def _quantised_policy_generates_itself(self) -> Lines:
        if self.quantization == "nf4" and (self.engine == "vllm" or self.vllm_server):
            yield "quantization nf4 cannot be used with engine vllm, whose weights are not quantised; set engine hf"

    @rule
    def _server_can_be_asked(self) -> Lines:
        if self.vllm_server and not re.fullmatch(r"http://[^/\s:]+(:\d+)?/?", self.vllm_server):
            yield f"vllm_server {self.vllm_server!r} is not an address as http://HOST:PORT"
        if self.vllm_server and self.engine == "hf":
            yield "vllm_server needs engine vllm"

    @rule
    def _cached_encodings_stay(self) -> Lines:
        if self.audio_cache_gib and self.train_towers:
            yield "audio_cache_gib needs train_towers false: encodings change while the audio tower is trained"

    @rule
    def _adapter_can_be_merged(self) -> Lines:
        if self.merge_adapter and self.tuning == "full":
            yield "merge_adapter needs tuning lora: else there is no adapter"
        if self.merge_adapter and self.quantization == "nf4":
            yield "merge_adapter cannot be used with quantization nf4: an adapter does not merge into 4-bit weights"
        if self.merge_adapter and (self.engine == "vllm" or self.vllm_server):
            yield "merge_adapter is of engine hf: vllm gets merged weights anyway"

    @rule
    def _second_model_is_there(self) -> Lines:
        if self.tuning == "lora" or self.beta == 0:
            for name, is_asked_for in self._uses_of_a_second_model().items():
                if is_asked_for:
                    yield f"{name} needs tuning full and a beta above 0: else there is no second model"

    @rule
    def _second_model_has_one_place(self) -> Lines:
        if self.offload_reference and self.deepspeed:
            yield "offload_reference cannot be used with deepspeed: configs/zero3.json shards the reference"
        if all(self._uses_of_a_second_model().values()):
            yield "offload_reference cannot be used with sync_ref_model"

    def _uses_of_a_second_model(self) -> dict[str, bool]:
        return {"offload_reference": self.offload_reference, "sync_ref_model": bool(self.trainer.get("sync_ref_model"))}

    @rule
    def _rewards_weigh(self) -> Lines:
        for name, weight in self.rewards.items():
            if not math.isfinite(weight):
                yield f"rewards {name} {weight} is not a finite number"
            if FunctionInFile.is_file(name):
                yield from problems_of_rule("rewards", name, PARAMETERS)
            elif name not in REWARDS:
                yield f"rewards {name!r} is not one of {', '.join(REWARDS)}, or FILE.py:FUNCTION"
        if not any(self.rewards.values()):
            yield f"rewards {self.rewards}: at least one weight must not be 0"

    @rule
    def _groups_are_whole(self) -> Lines:
        size = self.per_device_train_batch_size
        if size % self.num_generations:
            yield f"per_device_train_batch_size {size} is not a multiple of num_generations {self.num_generations}"

    @rule
    def _best_checkpoint_is_kept(self) -> Lines:
        if self.valid_file and self.eval_steps % self.save_steps and self.save_steps % self.eval_steps:
            yield (
                f"of eval_steps {self.eval_steps} and save_steps {self.save_steps} neither is a multiple of the other: "
                "the best checkpoint could not be kept"
            )

    @rule
    def _stopping_needs_evaluations(self) -> Lines:
        if self.early_stopping_patience and not self.valid_file:
            yield "early_stopping_patience needs valid_file"
