"""The parts that both trainers share: complete checkpoints, resume, logs, loading of the model."""

import math
import os
import socket
import time
from collections.abc import Container, Sequence
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerState, TrainingArguments
from transformers.trainer import TRAINER_STATE_NAME

from ..data.audio import forget_headers, probe_audio
from ..data.encoder import OmniEncoder
from ..data.prompts import Prompt
from ..data.samples import AudioQASample
from ..errors import InputError
from ..files import (
    explaining_failed_writes,
    sha256_of_file,
    write_json,
)
from ..model.checkpoints import (
    CHOSEN_FILE,
    Checkpoint,
    checkpoints_of,
    choose_dtype,
    complete_checkpoints,
    delete_checkpoint,
    is_complete,
    load_family,
    load_model_config,
    load_processor,
    load_thinker,
    mark_complete,
    save_omni,
    write_prompt,
)
from ..model.prompt_choice import prompt_for_training, say_prompt
from ..model.quantization import require_bitsandbytes
from ..model.thinker import OmniThinker
from ..processes import join_processes, process_count
from .config import TuningConfig
from .cost import RunCost
from .model_size import measure_model
from .trackers import open_trackers, trackio_project
from .watch import Watch
from .workload import Workload


class CompleteCheckpoints:
    """Mixin over `transformers.Trainer`: a checkpoint is complete once its marker file is written, last of all.

    A run killed while saving leaves a folder without the marker, which is never resumed from, and which the next start
    deletes; older checkpoints are deleted only after the new one is complete. Full fine-tuning is saved in the Omni layout.
    """

    def __init__(self, *, base_model: str, prompt: Prompt, keep_checkpoints: int | None, **trainer):
        """`keep_checkpoints` is `save_total_limit`, which the parent would apply before the new one is complete."""
        self.base_model = base_model
        self.prompt = prompt
        self.keep_checkpoints = keep_checkpoints
        super().__init__(**trainer)

    def train(self, resume_from_checkpoint: str | None = None):
        with Watch(self):
            if self.args.should_save:
                self._delete_incomplete_checkpoints()
            resumed = Path(resume_from_checkpoint) if resume_from_checkpoint else None
            if resumed and 0 < self.args.max_steps <= step_of(resumed):  # transformers would train a step more
                self.state = TrainerState.load_from_json(str(resumed / TRAINER_STATE_NAME))
                return None
            return super().train(resume_from_checkpoint=resume_from_checkpoint)

    def _save_checkpoint(self, model, trial):
        folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        self.accelerator.wait_for_everyone()
        try:
            with explaining_failed_writes(folder, self._way_on()):
                super()._save_checkpoint(model, trial)
                self._save_collectively(folder)
                self.accelerator.wait_for_everyone()
                if self.args.should_save:
                    self._write_extra_files(folder)
                    mark_complete(folder)
        except InputError:
            delete_checkpoint(folder)  # the room that it took
            raise
        if self.args.should_save:
            self._delete_old_checkpoints()
        self.accelerator.wait_for_everyone()

    def _way_on(self) -> str:
        newest = newest_checkpoint(self.args.output_dir)
        return f"{newest.name} is complete: make room, then start again" if newest else "make room, then start again"

    def _delete_incomplete_checkpoints(self) -> None:
        for folder in checkpoints_of(self.args.output_dir):
            if not is_complete(folder):
                delete_checkpoint(folder)

    def _save_collectively(self, folder: Path) -> None:
        """Hook: save parts of a checkpoint that need all processes."""

    def _write_extra_files(self, folder: Path) -> None:
        """Write further files of a checkpoint, on rank 0, before its marker."""
        write_prompt(folder, self.prompt)

    def _delete_old_checkpoints(self) -> None:
        """Keep the newest `keep_checkpoints` complete checkpoints and the best one."""
        if self.keep_checkpoints is None:
            return
        best = self.state.best_model_checkpoint
        for folder in complete_checkpoints(self.args.output_dir)[: -self.keep_checkpoints]:
            if best is None or folder.resolve() != Path(best).resolve():
                delete_checkpoint(folder)

    def _determine_best_metric(self, metrics, trial):
        """The library takes an evaluation between two checkpoints for the best, and then has no checkpoint of it."""
        return self.control.should_save and super()._determine_best_metric(metrics, trial)

    def _save(self, output_dir=None, state_dict=None):
        if hasattr(self.model, "peft_config"):
            return super()._save(output_dir, state_dict)
        model = self.accelerator.unwrap_model(self.model)
        return save_omni(output_dir, state_dict or model.state_dict(), load_model_config(self.base_model), self.base_model)

    def _load_from_checkpoint(self, resume_from_checkpoint, model=None):
        if hasattr(self.model, "peft_config"):
            return super()._load_from_checkpoint(resume_from_checkpoint, model)
        model = model or self.model
        saved = load_thinker(Checkpoint(resume_from_checkpoint), next(model.parameters()).dtype)
        return model.load_state_dict(saved.state_dict())


class FiniteGradients:
    """Mixin over `transformers.Trainer`: a gradient that is not finite ends the run before the optimiser applies it.

    It may occur with a finite loss. DeepSpeed computes the norm in its step, and skips the update itself.
    """

    def _get_grad_norm(self, model, grad_norm=None):
        norm = super()._get_grad_norm(model, grad_norm)
        if norm is not None and not math.isfinite(norm):
            raise InputError(
                f"step {self.state.global_step + 1}: the gradient norm is {float(norm)}; earlier checkpoints are "
                "complete: lower learning_rate, or set dtype float32 to see whether the precision is the cause"
            )
        return norm


def newest_checkpoint(run_dir: Path | str) -> Path | None:
    """The newest complete checkpoint of a run, None where there is none."""
    checkpoints = complete_checkpoints(run_dir)
    return checkpoints[-1] if checkpoints else None


def write_chosen(run_dir: Path, checkpoint: Path) -> None:
    """Save the name of the checkpoint to use for a finished run; `find_checkpoint` of the run's folder returns it."""
    write_json(run_dir / CHOSEN_FILE, {"checkpoint": checkpoint.name})


def step_of(checkpoint: Path | None) -> int:
    """The step in a checkpoint's name, 0 for None."""
    return int(checkpoint.name.split("-")[1]) if checkpoint else 0


def free_port() -> str:
    """An unused port, so that a second run on this machine, or a restart right after a kill, has another one."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def one_device_per_process(arguments: TrainingArguments) -> None:
    """Keep a single process on its own device: transformers would use all GPUs by `nn.DataParallel`.

    On CPUs the device of several processes has a number, with which torch cannot load an optimiser's state to resume.
    """
    arguments._n_gpu = min(arguments.n_gpu, 1)
    if arguments.device.type == "cpu":
        arguments._setup_devices = torch.device("cpu")


def prepare_deepspeed(device: torch.device, timeout: timedelta) -> None:
    """Make DeepSpeed start on a single process, where it would look for MPI, and on the CPU, where it is not started."""
    single = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    for name, value in single.items():
        os.environ.setdefault(name, value)
    if device.type == "cpu":
        os.environ["DS_ACCELERATOR"] = "cpu"
        import deepspeed

        deepspeed.init_distributed(dist_backend="gloo", auto_mpi_discovery=False, timeout=timeout)


class TrainingRun:
    """A training run from a checked config: the checkpoint to start from, the processor, the precision."""

    keeps_waveforms = False  # for an engine that computes mel features itself
    engine_name = "hf"
    train: Sequence[AudioQASample]  # by load_samples, with their lengths in tokens
    train_lengths: list[int]

    def __init__(self, config: TuningConfig, checkpoint: Checkpoint, device: torch.device):
        self.config = config
        self.checkpoint = checkpoint
        self.device = device
        self.started = time.monotonic()
        if config.tuning == "lora" and checkpoint.is_adapter:
            raise InputError(
                f"{checkpoint.source}: an adapter; LoRA starts from a full model, such as sft.py's <run>/merged"
            )
        if config.quantization == "nf4":
            require_bitsandbytes()
        # before ZeRO-3 is set up, which would shard the counted parameters
        rank = config.lora_rank if config.tuning == "lora" else 0
        self.size = measure_model(checkpoint.full_model, config.lora_targets, rank)
        self.processor = load_processor(checkpoint)
        prompt = prompt_for_training(config, checkpoint)
        say_prompt(prompt, checkpoint)
        self.family = load_family(checkpoint)
        self.encoder = OmniEncoder(
            self.processor,
            prompt,
            config.max_audio_seconds,
            keep_waveform=self.keeps_waveforms,
            clips=self.family.clips,
        )

    @property
    def content(self) -> dict[str, str]:
        """Hashes of what the settings only name; a run that resumes needs the same."""
        return {"prompt_sha256": self.encoder.prompt.sha256}

    @property
    def facts(self) -> dict[str, str]:
        """What the run's environment.json has besides the machine."""
        return {"train_sha256": sha256_of_file(self.config.train_file)}

    @property
    def reading_options(self) -> dict[str, Any]:
        """How training files are read: keyword arguments of `read_measured`."""
        config = self.config
        decode_up_to = config.max_audio_seconds if config.check_audio else None
        return {"allow_unreadable": config.allow_missing_audio, "decode_up_to": decode_up_to}

    @property
    def compute_dtype(self) -> torch.dtype:
        """The dtype of the forward, and of a merged model."""
        return choose_dtype(self.config.dtype, self.device)

    @property
    def parameter_dtype(self) -> torch.dtype:
        """The dtype of the weights: float32 if they are trained, since bfloat16 rounds small updates away."""
        return self.compute_dtype if self.config.tuning == "lora" else torch.float32

    @cached_property
    def workload(self) -> Workload:
        """What the run computes with the loaded samples."""
        seconds = [min(probe_audio(sample.audio_path).seconds, self.config.max_audio_seconds) for sample in self.train]
        return Workload(
            self.size,
            len(self.train),
            sum(self.train_lengths) / len(self.train),
            max(self.train_lengths),
            process_count(),
            self.compute_dtype.itemsize,
            self.engine_name,
            sum(seconds) / len(seconds),
        )

    def open_logs(self, arguments: TrainingArguments) -> RunCost:
        """Open the trackers; returns the run's cost with that of earlier starts."""
        open_trackers(arguments.report_to or (), self.config.run_name, self.config.run_dir)
        return RunCost(self.config.run_dir, self.device, self.started)

    def load_model(self) -> OmniThinker:
        """The thinker to be trained; in full fine-tuning only the trained weights require a gradient."""
        config = self.config
        place = self.device if config.quantization == "nf4" else "cpu"  # 4-bit weights are not moved
        attention = config.attn_implementation
        forget_headers()  # from here on clips are decoded
        model = load_thinker(self.checkpoint, self.parameter_dtype, place, attention, config.quantization)
        model.config.get_text_config().use_cache = False
        if config.tuning == "full":
            model.train_fully(config.train_towers)
        return model

    def shared_arguments(self, known: Container[str]) -> dict:
        """Trainer settings of both stages: those of the config that are in `known`, and fixed ones."""
        config = self.config
        timeout = timedelta(seconds=config.ddp_timeout)
        if config.deepspeed:
            prepare_deepspeed(self.device, timeout)
        elif self.device.type == "cpu":
            join_processes(timeout)  # transformers would, and leave the time-out out
        from_config = {name: getattr(config, name) for name in type(config).model_fields if name in known}
        return from_config | {
            "output_dir": str(config.run_dir),
            "project": trackio_project(),
            "save_total_limit": None,  # old checkpoints are deleted once a new one is complete
            "eval_strategy": "steps" if config.valid_file else "no",
            "save_strategy": "steps",
            "gradient_checkpointing_kwargs": {"use_reentrant": False} if config.gradient_checkpointing else None,
            "bf16": self.compute_dtype == torch.bfloat16,
            "use_cpu": self.device.type == "cpu",
            "remove_unused_columns": False,
            "ddp_find_unused_parameters": False,
            "logging_first_step": True,
            "logging_nan_inf_filter": False,  # a loss of NaN ends the run instead
            "disable_tqdm": True,
        }
