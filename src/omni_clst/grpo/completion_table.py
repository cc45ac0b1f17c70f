"""A table of completions for people to read: question, clip, thought, answer, rewards, advantage."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

import numpy as np

from ..data.audio import load_audio
from ..data.response import parse_response
from ..data.samples import AudioQASample

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
