"""Settings of both training stages, of supervised fine-tuning, and of a plan without data."""

import math
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from ..errors import InputError
from ..fields import (
    AnyFloat,
    AudioRoot,
    ExistingFile,
    FilePath,
    FolderName,
    Lines,
    MayChange,
    OneOf,
    Seed,
    Settings,
    missing_package,
    rule,
)
from ..files import read_object
from ..model.config import ModelConfig
from .cards import CARDS
from .trainer_settings import REPORTERS, problems_of_trainer, why_not


def _require_regex(value: str) -> str:
    try:
        re.compile(value)
    except re.error as error:
        raise PydanticCustomError("regex", "is not a regular expression ({why})", {"why": str(error)}) from None
    return value


Regex = Annotated[str, AfterValidator(_require_regex)]
# Settings of both stages whose defaults differ.
RunName = Annotated[FolderName, Field(description="the run directory is runs_dir/run_name")]
LearningRate = Annotated[float, Field(gt=0, description="of the optimiser, after warm-up")]
Epochs = Annotated[AnyFloat, Field(description="passes over the training file; not used where max_steps is given")]
WarmupSteps = Annotated[float, Field(ge=0, description="steps until the learning rate is reached; below 1: a share of all")]
Accumulation = Annotated[int, Field(gt=0, description="batches per optimiser step: more time instead of more memory")]
EvalBatch = Annotated[int, Field(gt=0, description="rows evaluated together; memory grows with it")]
EvalSteps = Annotated[float, Field(gt=0, description="steps from one evaluation to the next")]
SaveSteps = Annotated[float, Field(gt=0, description="steps from one checkpoint to the next")]


class RunConfig(ModelConfig):
    """The run: its directory, and whether it only validates."""

    run_name: RunName
    runs_dir: MayChange[FilePath] = Field("runs", description="the folder of run directories")
    overwrite: MayChange[bool] = Field(False, description="true deletes the run directory and starts anew")
    dry_run: MayChange[bool] = Field(False, description="true validates everything, prints the plan and loads no weights")

    @property
    def run_dir(self) -> Path:
        return Path(self.runs_dir) / self.run_name


class TuningConfig(RunConfig):
    """Training: data, trained weights, checkpoints, logs."""

    train_file: ExistingFile = Field(description="the samples to train on")
    valid_file: ExistingFile | None = Field(None, description="the samples to evaluate on; none: no evaluation")
    audio_root: AudioRoot = None
    tuning: Literal["lora", "full"] = Field(
        "lora", description="full trains float32 master weights: 16 bytes per parameter instead of 2"
    )
    quantization: Literal["none", "nf4"] = Field(
        "none", description="nf4 keeps the frozen base in 4 bits (QLoRA): a third of its memory, and slower"
    )
    lora_rank: int = Field(8, gt=0, description="higher has more capacity and costs memory in proportion")
    lora_alpha: float = Field(32.0, gt=0, description="the update is scaled by lora_alpha / lora_rank")
    lora_targets: Regex | None = Field(
        None, description="a regular expression over full layer names; none: the linear layers of the base's language model"
    )
    train_towers: bool = Field(False, description="true (with tuning full) also trains the audio tower")
    learning_rate: LearningRate
    num_train_epochs: Epochs
    max_steps: int = Field(-1, description="-1: as many steps as the epochs take")
    warmup_steps: WarmupSteps
    per_device_train_batch_size: int = Field(gt=0, description="rows that a device computes at once")
    gradient_accumulation_steps: Accumulation
    per_device_eval_batch_size: MayChange[EvalBatch]
    eval_steps: EvalSteps
    save_steps: SaveSteps
    save_total_limit: MayChange[int | None] = Field(
        2, gt=0, description="newest checkpoints kept, besides the best; none: all"
    )
    logging_steps: MayChange[float] = Field(5, gt=0, description="steps from one line of the log to the next")
    gradient_checkpointing: bool = Field(True, description="a third more time, for a fraction of the activation memory")
    dataloader_num_workers: MayChange[int] = Field(4, ge=0, description="processes that decode audio ahead of the device")
    deepspeed: ExistingFile | None = Field(None, description="configs/zero2.json or configs/zero3.json")
    ddp_timeout: MayChange[int] = Field(
        1800,
        gt=0,
        description="seconds that processes wait for each other (NCCL, gloo) before the run ends, for one that "
        "hangs; longer than writing a checkpoint or an evaluation takes",
    )
    report_to: MayChange[list[Annotated[str, OneOf(REPORTERS)]]] = Field(
        ["tensorboard"], description="where the log also goes; each tracker needs its package"
    )
    seed: Seed = Field(42, description="of the rows' order and of sampling")
    trainer: dict[str, Any] = Field({}, description="further settings of the library's trainer, given as separate keys")

    @classmethod
    def why_not(cls, key: str) -> str | None:
        return why_not(key)

    @rule
    def _deepspeed_is_usable(self) -> Lines:
        if self.deepspeed is None:
            return
        try:
            if Path(self.deepspeed).is_file():
                read_object(self.deepspeed)
        except InputError as error:
            yield f"deepspeed {error}"
        yield from missing_package("deepspeed", ("deepspeed", "deepspeed"))

    @rule
    def _quantised_base_is_frozen_and_whole(self) -> Lines:
        if self.quantization == "nf4" and self.tuning == "full":
            yield "quantization nf4 needs tuning lora: 4-bit weights are not trained"
        if self.quantization == "nf4" and self.deepspeed:
            yield "quantization nf4 cannot be used with deepspeed: it does not shard 4-bit weights; --deepspeed none"

    @rule
    def _has_steps(self) -> Lines:
        if self.max_steps <= 0 and not 0 < self.num_train_epochs < math.inf:
            yield f"num_train_epochs {self.num_train_epochs} is not positive"

    @rule
    def _trackers_are_installed(self) -> Lines:
        for name in self.report_to:
            yield from missing_package(f"report_to {name!r}", REPORTERS[name])

    @rule
    def _trainer_takes_them(self) -> Lines:
        yield from problems_of_trainer(self.trainer)

    @rule
    def _dtype_is_for_training(self) -> Lines:
        if self.dtype == "float16":
            yield "dtype float16 is for inference: training has no loss scaler; use bfloat16 or float32"

    @rule
    def _towers_learn_in_full_tuning(self) -> Lines:
        if self.train_towers and self.tuning == "lora":
            yield "train_towers needs tuning full: LoRA freezes the towers"


class SFTConfig(TuningConfig):
    """Supervised fine-tuning, stage 1 (arXiv 2509.12275, section 3.2)."""

    run_name: RunName = "sft_lora"
    lora_dropout: float = Field(0.0, ge=0, le=1, description="share of the adapters' inputs that is dropped at random")
    max_length: int = Field(2048, gt=0, description="tokens; longer rows are dropped and counted, never cut")
    merge: MayChange[bool] = Field(True, description="write runs_dir/run_name/merged, a full model, at the end")
    keep_talker: MayChange[bool] = Field(
        False, description="true copies talker and token2wav into merged checkpoints (about 4 GB for 7B)"
    )
    learning_rate: LearningRate = 1.0e-4
    num_train_epochs: Epochs = 2.0
    warmup_steps: WarmupSteps = 0.05
    per_device_train_batch_size: int = Field(
        6, gt=0, description="memory grows with it; times accumulation times processes it is 96 on 4 GPUs"
    )
    gradient_accumulation_steps: Accumulation = 4
    per_device_eval_batch_size: MayChange[EvalBatch] = 6
    eval_steps: EvalSteps = 200
    save_steps: SaveSteps = 200


class PlanConfig(Settings):
    """The GPUs to plan for, and what to run on them."""

    gpus: int = Field(gt=0, description="how many")
    memory: float = Field(gt=0, description="GiB of each")
    gpu_name: str | None = Field(
        None, description=f"{', '.join(card.name.lower() for card in CARDS)}; none: the slowest with this memory"
    )
    model: str | None = Field(None, description="3B, 7B or a folder; none: 3B and 7B")
    recipe: ExistingFile | None = Field(
        None, description="the YAML of a training, also as --config; its keys may be given too. None: all in configs/"
    )
    samples: int | None = Field(
        None, gt=0, description="in the training file; none: 40000 for SFT and for answers, as AVQA has, and 15000 for GRPO"
    )
    engine: Literal["hf", "vllm"] = Field(
        "hf", description="what generates GRPO's completions and the answers where the YAML says auto"
    )
