"""Log every completion to `completions.jsonl`; compute metrics by level, throughput and peak memory."""

import resource
import sys
import time
from collections import defaultdict
from pathlib import Path

import torch

from ..data.audio import MEL_FRAMES_PER_SECOND
from ..data.response_health import sign_of
from ..data.samples import AudioQASample
from ..files import append_jsonl, read_jsonl, remove_incomplete_line, write_jsonl
from ..method.rewards import ParsedCompletion, accuracy
from ..model.engine import Completion
from ..processes import process_rank, say
from ..training.cost import Work
from .alarms import CompletionAlarms
from .curriculum_feed import PlacedSample
from .rollout import Group


class CompletionsLog:
    """`completions.jsonl` of a run, one line per completion, written by rank 0."""

    def __init__(self, run_dir: Path, resumed_step: int):
        self.path = Path(run_dir) / "completions.jsonl"
        self.since = time.perf_counter()
        self.tokens = self.audio_seconds = 0.0
        self.alarms = CompletionAlarms()
        self.said_outside: set[str] = set()  # rewards whose values outside [0, 1] were said
        if process_rank() == 0 and self.path.exists():  # steps after the resumed checkpoint are repeated
            remove_incomplete_line(self.path)
            write_jsonl(self.path, [row for _, row in read_jsonl(self.path) if row["step"] <= resumed_step])

    def rows(self, groups: list[Group], advantages: list[float], step: int) -> list[dict]:
        """One row per completion of this process; `step` is the first optimiser step that trains on it."""
        numbered = [(group, number) for group in groups for number in range(len(group.completions))]
        return [
            completion_row(group.place.sample, group.parsed[number])
            | {
                "step": step,
                "position": group.place.position,
                "drawn_again": group.drawn_again,
                "finished": group.parsed[number].finished,
                "problem": sign_of(group.place.sample, group.parsed[number].text, group.parsed[number].finished, True),
                "rewards": group.rewards[number],
                "advantage": round(advantage, 6),
                "prompt_tokens": len(group.place.example.input_ids),
                "audio_seconds": group.place.example.frames[0] / MEL_FRAMES_PER_SECOND,
            }
            for (group, number), advantage in zip(numbered, advantages, strict=True)
        ]

    def append(self, rows: list[dict]) -> None:
        """Write the rows of all processes, in the order of the curriculum, and count them."""
        self._say_values_outside(rows)
        for line in self.alarms.see(rows):
            say(line)
        rows = sorted(rows, key=lambda row: row["position"])
        self.tokens += sum(row["tokens"] for row in rows)
        self.audio_seconds += sum(row["audio_seconds"] for row in rows)
        if process_rank() == 0:
            append_jsonl(self.path, rows)

    def _say_values_outside(self, rows: list[dict]) -> None:
        """Say once for each reward that a value is outside [0, 1], where weights no longer compare rewards."""
        for row in rows:
            for name, value in row["rewards"].items():
                if not 0 <= value <= 1 and name not in self.said_outside:
                    self.said_outside.add(name)
                    say(f"warning: the reward {name} is {value:g} for the sample {row['id']!r}, outside [0, 1]; it is used")

    def throughput(self) -> dict[str, float]:
        """Generated tokens and seconds of audio per second since the last call; peak memory."""
        now = time.perf_counter()
        passed, self.since = now - self.since, now
        figures = {
            "speed/tokens_per_second": self.tokens / passed,
            "speed/audio_seconds_per_second": self.audio_seconds / passed,
            "memory/peak_gib": peak_memory_gib(),
        }
        self.tokens = self.audio_seconds = 0.0
        return figures


def peak_memory_gib() -> float:
    """Peak memory of this process: on the GPU where there is one, else in the machine's memory."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    unit = 1 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def work_of(places: list[PlacedSample], completions: list[list[Completion]]) -> Work:
    """What a rollout computes: every prompt with its clip once, and its completions."""
    return Work(
        samples=len(places),
        completions=sum(map(len, completions)),
        read_tokens=sum(len(place.example.input_ids) for place in places),
        generated_tokens=sum(completion.tokens for group in completions for completion in group),
        audio_seconds=sum(place.example.input_features.shape[1] for place in places) / MEL_FRAMES_PER_SECOND,
    )


def completion_row(sample: AudioQASample, completion: ParsedCompletion) -> dict:
    """A completion with its correctness by the strict rule, independent of the run's rewards."""
    return {
        "id": sample.id,
        "level": sample.level,
        "completion": completion.text,
        "correct": int(accuracy(sample, completion)),
        "think": bool(completion.think),
        "think_words": len((completion.think or "").split()),
        "tokens": completion.tokens,
    }


def level_metrics(rows: list[dict]) -> dict[str, float]:
    """Accuracy, think rate, words per thought that is not empty, tokens per completion; overall and by level."""
    by_level: dict[str, list[dict]] = defaultdict(list)
    for row in rows:
        by_level[""].append(row)
        by_level[f"/{row['level']}"].append(row)
    metrics = {}
    for suffix, part in sorted(by_level.items()):
        thoughts = [row["think_words"] for row in part if row["think"]]
        metrics[f"accuracy{suffix}"] = sum(row["correct"] for row in part) / len(part)
        metrics[f"think_rate{suffix}"] = len(thoughts) / len(part)
        metrics[f"think_words{suffix}"] = sum(thoughts) / len(thoughts) if thoughts else 0.0
        metrics[f"completion_tokens{suffix}"] = sum(row["tokens"] for row in part) / len(part)
    return metrics
