"""Send tables of completions to tensorboard, wandb, trackio and swanlab every few steps, each with what it can show.

Their callbacks, those of transformers, open them and send the curves. W&B shows clips in the table's cells; the others show
them beside it, under the names in its column `clip`.
"""

from collections.abc import Callable, Sequence

import numpy as np
from transformers import TrainerCallback
from transformers.integrations import TensorBoardCallback

from ..data.audio import SAMPLING_RATE
from ..data.samples import AudioQASample
from ..data.table import make_table
from ..processes import process_rank
from .completion_table import CompletionTable, tabulate

KEY = "completions"
STEP = "train/global_step"  # the axis of the curves


def _to_tensorboard(table: CompletionTable, callbacks: Sequence[TrainerCallback]) -> None:
    """A Markdown table under TEXT, the clips under AUDIO."""
    lines = [[_markdown_cell(cell) for cell in line] for line in table.lines]
    for callback in callbacks:
        if isinstance(callback, TensorBoardCallback) and callback.tb_writer is not None:
            callback.tb_writer.add_text(KEY, make_table(table.columns, lines, markdown=True), table.step)
            for name, clip in table.clips.items():
                callback.tb_writer.add_audio(f"{KEY}/{name}", clip[None], table.step, SAMPLING_RATE)


def _markdown_cell(cell: object) -> str:
    text = f"{cell:.3g}" if isinstance(cell, float) else str(cell)
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").split())


def _to_wandb(table: CompletionTable, callbacks: Sequence[TrainerCallback]) -> None:
    import wandb

    def cell(clip: np.ndarray):
        return wandb.Audio(clip, sample_rate=SAMPLING_RATE)

    content = wandb.Table(columns=list(table.columns), data=table.with_clips(cell))
    wandb.log({KEY: content, STEP: table.step})


def _to_trackio(table: CompletionTable, callbacks: Sequence[TrainerCallback]) -> None:
    import trackio

    def audio(name: str, clip: np.ndarray):
        whole = (np.clip(clip, -1, 1) * np.iinfo(np.int16).max).astype(np.int16)  # it would make a float clip louder
        return trackio.Audio(whole, caption=f"step {table.step}: {name}", sample_rate=SAMPLING_RATE, format="wav")

    clips = {f"{KEY}/{name}": audio(name, clip) for name, clip in table.clips.items()}
    trackio.log({KEY: trackio.Table(columns=list(table.columns), data=table.lines), STEP: table.step} | clips)


def _to_swanlab(table: CompletionTable, callbacks: Sequence[TrainerCallback]) -> None:
    import swanlab

    lines = [[str(cell) for cell in line] for line in table.lines]
    clips = [swanlab.Audio(clip, SAMPLING_RATE, name) for name, clip in table.clips.items()]
    content = swanlab.echarts.Table().add(list(table.columns), lines)
    swanlab.log({KEY: content, f"{KEY}/clips": clips}, step=table.step)


TRACKERS = {
    "tensorboard": _to_tensorboard,
    "wandb": _to_wandb,
    "trackio": _to_trackio,
    "swanlab": _to_swanlab,
}


class CompletionTables:
    """Sends the first groups of a generation to the trackers, when `every` steps have passed since the last time.

    `report_to` are the trackers of the run; those without a table get none. Rank 0 sends.
    """

    def __init__(self, report_to: Sequence[str], every: int, resumed_step: int, max_audio_seconds: float):
        self.trackers = [TRACKERS[name] for name in report_to if name in TRACKERS] if process_rank() == 0 else []
        self.every = every
        self.sent = (resumed_step - 1) // every if every else 0
        self.max_audio_seconds = max_audio_seconds

    def note(
        self,
        rows: list[dict],
        step: int,
        sample_at: Callable[[int], AudioQASample],
        callbacks: Sequence[TrainerCallback],
    ) -> None:
        """Send a generation, `rows` of completions.jsonl, whose first step is `step`, if it is time.

        `sample_at` gives the sample of a position in the curriculum; `callbacks` of the trainer have opened the trackers.
        """
        if not self.trackers or not self.every or (step - 1) // self.every <= self.sent:
            return
        self.sent = (step - 1) // self.every
        table = tabulate(rows, step, sample_at, self.max_audio_seconds)
        for send in self.trackers:
            send(table, callbacks)
