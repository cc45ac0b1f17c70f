"""What every trainer of the project shares: whole checkpoints, resume, logs."""

import math
import os
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import TrainerCallback

from .checkpoints import complete_checkpoints, is_complete, load_config, mark_complete, save_omni, write_prompt
from .files import append_jsonl, mend_torn_tail, read_jsonl, write_jsonl
from .prompts import Prompt
from .runs import say


class WholeCheckpoints:
    """Mixin over `transformers.Trainer`: a checkpoint counts once its marker is written, last of all.

    A run killed while it saves leaves a folder without the marker, which is never resumed from, and the older
    checkpoints are deleted only after the new one is whole. Full fine-tuning is saved in the Omni layout.
    """

    base_model: str
    prompt: Prompt
    keep_checkpoints: int | None  # `save_total_limit`; given to the parent it would delete before a new one is whole

    def _save_checkpoint(self, model, trial):
        folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        if self.args.should_save and folder.exists() and not is_complete(folder):
            shutil.rmtree(folder)
        self.accelerator.wait_for_everyone()
        super()._save_checkpoint(model, trial)
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            write_prompt(folder, self.prompt)
            mark_complete(folder)
            self._delete_old_checkpoints()
        self.accelerator.wait_for_everyone()

    def _delete_old_checkpoints(self) -> None:
        """Keep the newest `keep_checkpoints` whole checkpoints and the best one."""
        if self.keep_checkpoints is None:
            return
        best = self.state.best_model_checkpoint
        for folder in complete_checkpoints(self.args.output_dir)[: -self.keep_checkpoints]:
            if best is None or folder.resolve() != Path(best).resolve():
                shutil.rmtree(folder)

    def _save(self, output_dir=None, state_dict=None):
        if hasattr(self.model, "peft_config"):
            return super()._save(output_dir, state_dict)
        model = self.accelerator.unwrap_model(self.model)
        return save_omni(output_dir, state_dict or model.state_dict(), load_config(self.base_model), self.base_model)

    def _load_from_checkpoint(self, resume_from_checkpoint, model=None):
        if hasattr(self.model, "peft_config"):
            return super()._load_from_checkpoint(resume_from_checkpoint, model)
        state_dict = {}
        for path in sorted(Path(resume_from_checkpoint).glob("*.safetensors")):
            state_dict |= {name.removeprefix("thinker."): tensor for name, tensor in load_file(path).items()}
        return (model or self.model).load_state_dict(state_dict)


class MetricsLog(TrainerCallback):
    """Write what the trainer logs to `metrics.jsonl`, one line a step, and print it."""

    def __init__(self, run_dir: Path, resumed_step: int):
        self.path = Path(run_dir) / "metrics.jsonl"
        self.resumed_step = resumed_step

    def on_train_begin(self, args, state, control, **kwargs):
        """Drop the lines of steps that a kill undid: they will be made again."""
        if state.is_world_process_zero and self.path.exists():
            mend_torn_tail(self.path)
            kept = [row for _, row in read_jsonl(self.path) if row["step"] <= self.resumed_step]
            write_jsonl(self.path, kept)

    def on_log(self, args, state, control, logs=None, **kwargs):
        if not state.is_world_process_zero or not logs:
            return
        append_jsonl(self.path, [{"step": state.global_step, **logs}])
        shown = {name: logs[name] for name in ("loss", "eval_loss", "grad_norm", "learning_rate") if name in logs}
        if shown:
            words = ", ".join(f"{name} {float(value):.4g}" for name, value in shown.items())
            say(f"  step {state.global_step}/{state.max_steps}: {words}")


class StopOnNonFinite(TrainerCallback):
    """End a run whose loss is no longer a number, instead of saving what it has become."""

    def on_log(self, args, state, control, logs=None, **kwargs):
        loss = (logs or {}).get("loss")
        if loss is not None and not math.isfinite(float(loss)):
            raise FloatingPointError(f"step {state.global_step}: the loss is {loss}; lower learning_rate")


def newest_checkpoint(run_dir: Path | str) -> Path | None:
    """The newest whole checkpoint of a run, None where there is none."""
    found = complete_checkpoints(run_dir)
    return found[-1] if found else None


def step_of(checkpoint: Path | None) -> int:
    """The step in a checkpoint's name, 0 for None."""
    return int(checkpoint.name.split("-")[1]) if checkpoint else 0


def prepare_deepspeed(device: torch.device) -> None:
    """Let DeepSpeed start on a single process, where it would look for MPI, and on the CPU, where nobody starts it."""
    single = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
    for name, value in single.items():
        os.environ.setdefault(name, value)
    if device.type == "cpu":
        os.environ["DS_ACCELERATOR"] = "cpu"
        import deepspeed

        deepspeed.init_distributed(dist_backend="gloo", auto_mpi_discovery=False)
