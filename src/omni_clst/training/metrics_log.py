"""Write what a trainer logs to `metrics.jsonl`, and print the most important of it with the time left."""

from pathlib import Path

from transformers import TrainerCallback

from ..data.time_left import TimeLeft
from ..files import append_jsonl, read_jsonl, remove_incomplete_line, write_jsonl
from ..processes import say

SHOWN = ("loss", "eval_loss", "grad_norm", "learning_rate")


class MetricsLog(TrainerCallback):
    """Write the trainer's logs to `metrics.jsonl`, one line per step, and print the metrics named in `shown`."""

    def __init__(self, run_dir: Path, resumed_step: int, shown: tuple[str, ...] = SHOWN):
        self.path = Path(run_dir) / "metrics.jsonl"
        self.resumed_step = resumed_step
        self.shown = shown

    def on_train_begin(self, args, state, control, **kwargs):
        """Drop the lines of steps after the checkpoint that the run resumes from: these steps are repeated."""
        self.left = TimeLeft(state.max_steps, self.resumed_step)
        if state.is_world_process_zero and self.path.exists():
            remove_incomplete_line(self.path)
            kept = [row for _, row in read_jsonl(self.path) if row["step"] <= self.resumed_step]
            write_jsonl(self.path, kept)

    def on_log(self, args, state, control, logs=None, **kwargs):
        if not state.is_world_process_zero or not logs:
            return
        append_jsonl(self.path, [{"step": state.global_step, **logs}])
        shown = {name: logs[name] for name in self.shown if logs.get(name) is not None}
        if shown:
            words = [f"{name} {float(value):.4g}" for name, value in shown.items()]
            left = self.left.in_words(state.global_step)
            say(f"  step {state.global_step}/{state.max_steps}: {', '.join([*words, left] if left else words)}")
