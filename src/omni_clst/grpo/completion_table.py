"""Show completions in the trackers of `report_to` every few steps: question, clip, thought, answer, rewards, advantage."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

import numpy as np
from transformers import TrainerCallback

from ..data.audio import load_audio
from ..data.response import parse_response
from ..data.samples import AudioQASample
from ..processes import process_rank
from .trackers import TRACKERS

SHOWN_GROUPS = 8  # of a generation, with all their completions
HEADER = ("step", "clip", "id", "level", "question", "choices", "right answer", "thought", "answer", "finished")


@dataclass(frozen=True)
class CompletionTable:
    """Completions of a generation as a tracker shows them: a line each, and the clips that their cells name."""

    step: int
    columns: tuple[str, ...]
    lines: list[list]
    paths: dict[str, str]  # name of a clip -> its file
    max_audio_seconds: float

    @cached_property
    def clips(self) -> dict[str, np.ndarray]:
        """Every clip as the model gets it: mono float32 at 16 kHz, cropped."""
        return {name: load_audio(path, self.max_audio_seconds) for name, path in self.paths.items()}

    def with_clips(self, make_cell: Callable[[np.ndarray], object]) -> list[list]:
        """The lines with the clips themselves, which `make_cell` makes a cell of, in the place of their names."""
        cells = {name: make_cell(clip) for name, clip in self.clips.items()}
        return [[line[0], cells[line[1]], *line[2:]] for line in self.lines]


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


def tabulate(
    rows: list[dict], step: int, sample_at: Callable[[int], AudioQASample], max_audio_seconds: float
) -> CompletionTable:
    """The table of the first `SHOWN_GROUPS` groups of a generation, in the curriculum's order."""
    positions = list(islice(sorted({row["position"] for row in rows}), SHOWN_GROUPS))
    names = {position: f"clip_{number}" for number, position in enumerate(positions, 1)}
    rewards = list(rows[0]["rewards"])
    lines = [
        _line(row, step, names[position], sample_at(position))
        + [row["rewards"][name] for name in rewards]
        + [row["advantage"]]
        for position in positions
        for row in rows
        if row["position"] == position
    ]
    columns = (*HEADER, *(f"reward/{name}" for name in rewards), "advantage")
    paths = {name: str(sample_at(position).audio_path) for position, name in names.items()}
    return CompletionTable(step, columns, lines, paths, max_audio_seconds)


def _line(row: dict, step: int, clip: str, sample: AudioQASample) -> list:
    """The cells of `HEADER`; of a completion without tags the whole text stands as its answer."""
    response = parse_response(row["completion"])
    has_tags = response.think is not None or response.answer is not None
    answer = (response.answer or "") if has_tags else row["completion"]
    return [
        step, clip, row["id"], row["level"] or "", sample.question, " | ".join(sample.choices), sample.answer,
        response.think or "", answer, row["finished"],
    ]  # fmt: skip
