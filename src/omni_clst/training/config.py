"""Settings of both training stages, and those of supervised fine-tuning."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from ..checks import between, existing_file, json_object, missing_package, one_of, positive, seed_in_range
from ..model.config import LANGUAGE_MODEL_LINEAR, ModelConfig, problems_of_model
from ..settings import path_field
from .trainer_settings import problems_of_trainer, why_not


@dataclass(kw_only=True)
class RunConfig:
    """What every training run has."""

    run_name: str  # the run directory is runs/<run_name>
    runs_dir: str = path_field("runs")
    overwrite: bool = False  # True starts a run directory anew and loses what is in it
    dry_run: bool = False  # True validates everything, prints the plan and loads no weights
    device: str = "auto"  # auto | cuda | cpu

    @property
    def run_dir(self) -> Path:
        return Path(self.runs_dir) / self.run_name


@dataclass(kw_only=True)
class TuningConfig(RunConfig, ModelConfig):
    """What both training stages have: data, which weights learn, checkpoints, logs."""

    train_file: str = path_field()
    valid_file: str | None = path_field(None)  # None: no evaluation
    audio_root: str | None = path_field(None)  # relative audio paths count from here; None: from the file's folder
    tuning: str = "lora"  # lora | full (float32 master weights: 16 bytes a parameter instead of 2)
    lora_rank: int = 8  # higher learns more and costs memory in proportion
    lora_alpha: float = 32.0  # the update is scaled by alpha / rank
    lora_targets: str = LANGUAGE_MODEL_LINEAR  # a regex over whole layer names
    train_towers: bool = False  # True (with tuning full) also trains the audio and vision towers
    learning_rate: float
    num_train_epochs: float
    max_steps: int = -1  # -1: as many as the epochs take
    per_device_train_batch_size: int
    gradient_accumulation_steps: int
    per_device_eval_batch_size: int
    eval_steps: float
    save_steps: float
    save_total_limit: int | None = 2  # newest ones kept besides the best
    logging_steps: float = 5
    gradient_checkpointing: bool = True  # a third more time for a fraction of the activations
    dataloader_num_workers: int = 4  # decode audio ahead of the device
    deepspeed: str | None = path_field(None)  # configs/zero2.json or zero3.json
    report_to: list[str] = field(default_factory=lambda: ["tensorboard"])  # also wandb, swanlab, mlflow, ...; or none
    seed: int = 42
    trainer: dict = field(default_factory=dict)  # other settings of the library's trainer, filled from the flat keys

    why_not = staticmethod(why_not)  # of a key that people know from elsewhere

    def problems(self) -> list[str]:
        found = problems_of_model(self)
        found += one_of("tuning", self.tuning, ("lora", "full"))
        for name in ("train_file", "valid_file", "deepspeed"):
            found += existing_file(name, getattr(self, name))
        found += json_object("deepspeed", self.deepspeed)
        if self.save_total_limit is not None:
            found += positive(self, "save_total_limit")
        found += positive(self, "lora_rank", "per_device_train_batch_size", "gradient_accumulation_steps")
        found += positive(self, "per_device_eval_batch_size", "learning_rate", "lora_alpha")
        found += positive(self, "eval_steps", "save_steps", "logging_steps") + seed_in_range(self)
        found += positive(self, "num_train_epochs") if self.max_steps <= 0 else []
        found += between(self, "dataloader_num_workers", 0)
        try:
            re.compile(self.lora_targets)
        except re.error as error:
            found.append(f"lora_targets {self.lora_targets!r} is no regular expression ({error})")
        name = Path(self.run_name)
        if name.is_absolute() or not name.parts or ".." in name.parts:  # overwrite deletes what it names
            found.append(f"run_name {self.run_name!r} does not name a folder below runs_dir")
        found += problems_of_trainer(self.trainer, self.report_to)
        if self.dtype == "float16":
            found.append("dtype float16 is for inference: training has no loss scaler; bfloat16 or float32")
        if self.deepspeed:
            found += missing_package("deepspeed", ("deepspeed", "deepspeed"))
        if self.train_towers and self.tuning == "lora":
            found.append("train_towers needs tuning full: LoRA freezes the towers")
        return found


@dataclass(kw_only=True)
class SFTConfig(TuningConfig):
    """Stage 1, supervised fine-tuning (arXiv 2509.12275, section 3.2). Also takes every `TrainingArguments` field."""

    run_name: str = "sft_lora"
    lora_dropout: float = 0.0
    max_length: int = 2048  # tokens; longer rows are dropped and counted, never cut
    merge: bool = True  # write <run>/merged at the end
    keep_talker: bool = False  # True copies talker and token2wav into merged checkpoints (about 4 GB for 7B)
    learning_rate: float = 1.0e-4
    num_train_epochs: float = 2.0
    warmup_steps: float = 0.05  # below 1: a share of all steps
    per_device_train_batch_size: int = 6  # memory grows with it; times accumulation times processes = 96 on 4 GPUs
    gradient_accumulation_steps: int = 4
    per_device_eval_batch_size: int = 6
    eval_steps: float = 200
    save_steps: float = 200

    def problems(self) -> list[str]:
        return (
            super().problems()
            + positive(self, "max_length")
            + between(self, "warmup_steps", 0)
            + between(self, "lora_dropout", 0, 1)
        )
