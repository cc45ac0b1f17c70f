"""Add up what a run costs, over all its starts: hours of its devices, completions, tokens, seconds of audio."""

import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from transformers import TrainerCallback

from ..files import read_json, write_json
from ..processes import process_count, say

COST_FILE = "cost.json"


@dataclass(frozen=True)
class Work:
    """What was computed: every sample once with its clip, also where several completions share it.

    `read_tokens` are those of prompts, in SFT with the answers trained on; `generated_tokens` those of completions.
    """

    samples: int = 0
    completions: int = 0
    read_tokens: int = 0
    generated_tokens: int = 0
    audio_seconds: float = 0.0

    def __add__(self, other: "Work") -> "Work":
        mine, others = asdict(self), asdict(other)
        return Work(**{name: value + others[name] for name, value in mine.items()})


class RunCost(TrainerCallback):
    """Writes `cost.json` with every line of the log, and prints it at the end.

    Steps that a killed run had to repeat are counted each time: they were computed. A GPU's hours go from `started`, the
    monotonic time at which the run began to read its samples.
    """

    def __init__(self, run_dir: Path, device: torch.device, started: float):
        self.path = Path(run_dir) / COST_FILE
        self.kind = "gpu" if device.type == "cuda" else "cpu"
        self.started = started
        before = read_json(self.path) if self.path.exists() else {}
        self.starts = before.get("starts", 0) + 1
        self.hours_before = before.get("device_hours", 0.0)
        self.work = Work(**{name: before[name] for name in asdict(Work()) if name in before})

    def add(self, work: Work) -> None:
        """Count work of all processes."""
        self.work += work

    def on_log(self, args, state, control, **kwargs):
        if state.is_world_process_zero:
            write_json(self.path, self.as_dict())

    def on_train_end(self, args, state, control, **kwargs):
        if state.is_world_process_zero:
            write_json(self.path, self.as_dict())
            say(self.in_words())

    def as_dict(self) -> dict:
        hours = self.hours_before + process_count() * (time.monotonic() - self.started) / 3600
        figures = asdict(self.work) | {"audio_seconds": round(self.work.audio_seconds, 2)}
        return {"device": self.kind, "device_hours": round(hours, 6), "starts": self.starts, **figures}

    def in_words(self) -> str:
        """`this run cost 3.21 GPU hours in 2 starts: 960 completions of 240 samples, ...`."""
        figures, work = self.as_dict(), self.work
        hours = f"{figures['device_hours']:.3g} {self.kind.upper()} hours"
        starts = f" in {self.starts} starts" if self.starts > 1 else ""
        samples = f"{work.samples:,} samples"
        of_samples = f"{work.completions:,} completions of {samples}" if work.completions else samples
        generated = f", {work.generated_tokens:,} generated" if work.completions else ""
        return (
            f"this run cost {hours}{starts}: {of_samples}, {work.read_tokens:,} tokens read{generated}, "
            f"{work.audio_seconds:,.0f} s of audio"
        )
