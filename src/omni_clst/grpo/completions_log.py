"""Log every completion to `completions.jsonl`; compute metrics by level, throughput and peak memory."""

import resource
import sys
import time
from collections import defaultdict
from pathlib import Path

import torch

from ..data.response import parse_response
from ..data.samples import AudioQASample
from ..files import append_jsonl, read_jsonl, remove_incomplete_line, write_jsonl
from ..method.rewards import accuracy
from ..processes import process_rank
from .rollout import Group

MEL_FRAMES_PER_SECOND = 100


class CompletionsLog:
    """`completions.jsonl` of a run, one line per completion, written by rank 0."""

    def __init__(self, run_dir: Path, resumed_step: int):
        self.path = Path(run_dir) / "completions.jsonl"
        self.since = time.perf_counter()
        self.tokens = self.audio_seconds = 0.0
        if process_rank() == 0 and self.path.exists():  # steps after the resumed checkpoint are repeated
            remove_incomplete_line(self.path)
            write_jsonl(self.path, [row for _, row in read_jsonl(self.path) if row["step"] <= resumed_step])

    def rows(self, groups: list[Group], advantages: list[float], step: int) -> list[dict]:
        """One row per completion of this process; `step` is the first optimiser step that trains on it."""
        numbered = [(group, number) for group in groups for number in range(len(group.completions))]
        return [
            completion_row(group.place.sample, group.completions[number].text)
            | {
                "step": step,
                "position": group.place.position,
                "drawn_again": group.drawn_again,
                "tokens": group.completions[number].tokens,
                "finished": group.completions[number].finished,
                "rewards": group.rewards[number],
                "advantage": round(advantage, 6),
                "prompt_tokens": len(group.place.example.input_ids),
                "audio_seconds": group.place.example.input_features.shape[1] / MEL_FRAMES_PER_SECOND,
            }
            for (group, number), advantage in zip(numbered, advantages, strict=True)
        ]

    def append(self, rows: list[dict]) -> None:
        """Write the rows of all processes, in the order of the curriculum, and count them."""
        rows = sorted(rows, key=lambda row: row["position"])
        self.tokens += sum(row["tokens"] for row in rows)
        self.audio_seconds += sum(row["audio_seconds"] for row in rows)
        if process_rank() == 0:
            append_jsonl(self.path, rows)

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


def completion_row(sample: AudioQASample, text: str) -> dict:
    """A completion with its correctness by the strict rule, independent of the run's rewards."""
    think = parse_response(text).think
    return {
        "id": sample.id,
        "level": sample.level,
        "completion": text,
        "correct": int(accuracy(sample, text)),
        "think": bool(think),
        "think_words": len((think or "").split()),
    }


def level_metrics(rows: list[dict]) -> dict[str, float]:
    """Accuracy, think rate, and words per thought that is not empty; overall and by level."""
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
    return metrics
