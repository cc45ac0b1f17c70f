"""Feed the samples of the curriculum to a run in their order, encoded ahead in data workers."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from ..data.clip_check import explaining_broken_clips
from ..data.encoder import Example, OmniEncoder
from ..data.samples import AudioQASample
from ..method.order import arrange
from ..processes import fresh_forks, start_data_worker


@dataclass(frozen=True)
class PlacedSample:
    """An encoded sample and its position in the sequence that the run goes through."""

    position: int
    sample: AudioQASample
    example: Example


class SampleSequence:
    """The endless sequence of samples of a run: the file in the order of the settings, epoch after epoch.

    `shuffled_from` is the position from which on the rest is shuffled after all; None for none.
    """

    def __init__(self, samples: Sequence[AudioQASample], order: str, overlap: float, seed: int):
        self.samples = samples
        self.order = order
        self.overlap = overlap
        self.seed = seed
        self.shuffled_from: int | None = None
        self._epochs: dict[tuple[int, int | None], list[int]] = {}

    def _arranged(self, epoch: int) -> list[int]:
        key = epoch, self.shuffled_from
        if key not in self._epochs:
            levels = [sample.level for sample in self.samples]
            rows = arrange(levels, self.order, self.seed + epoch, self.overlap)
            if self.shuffled_from is not None:
                kept = max(self.shuffled_from - epoch * len(rows), 0)
                rest = rows[kept:]
                random.Random(self.seed + epoch).shuffle(rest)
                rows = rows[:kept] + rest
            self._epochs = {key: rows}
        return self._epochs[key]

    def epoch_of(self, position: int) -> int:
        return position // len(self.samples)

    def row_at(self, position: int) -> int:
        """The row of the file at a position."""
        return self._arranged(self.epoch_of(position))[position % len(self.samples)]

    def sample_at(self, position: int) -> AudioQASample:
        return self.samples[self.row_at(position)]


class CurriculumFeed:
    """Yields encoded samples of the sequence from a cursor on, at most `length` of them (None: no limit).

    The cursor is the same on every process; each process decodes only the positions that it takes. `state_dict` and the
    settings determine all further samples.
    """

    def __init__(
        self, sequence: SampleSequence, encoder: OmniEncoder, length: int | None, num_workers: int, fork_fresh: bool = False
    ):
        self.sequence = sequence
        self.length = length
        self.cursor = 0
        self._sampler = RowSampler()
        self._loader = torch.utils.data.DataLoader(
            EncodedSamples(sequence.samples, encoder),
            sampler=self._sampler,  # sequential: the file's order is the curriculum
            batch_size=None,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            worker_init_fn=start_data_worker,
            multiprocessing_context=fresh_forks(__name__) if num_workers and fork_fresh else None,
        )
        self._prefetched: tuple[list[int], Iterator[Example]] | None = None

    @property
    def remaining(self) -> float:
        """The number of remaining samples."""
        return torch.inf if self.length is None else self.length - self.cursor

    def advance(self, count: int) -> list[int]:
        """The next positions, fewer than `count` at the end."""
        count = int(min(count, self.remaining))
        self.cursor += count
        return list(range(self.cursor - count, self.cursor))

    def prefetch(self, positions: list[int]) -> None:
        """Start decoding the samples that will be taken next, while the device is busy."""
        self._prefetched = (positions, self._decode(positions))

    def take(self, positions: list[int]) -> list[PlacedSample]:
        """Samples and model inputs of these positions, in their order."""
        prefetched, examples = self._prefetched or ([], iter([]))
        self._prefetched = None
        if prefetched != positions:
            examples = self._decode(positions)
        return [
            PlacedSample(position, self.sequence.sample_at(position), example)
            for position, example in zip(positions, examples, strict=True)
        ]

    def _decode(self, positions: list[int]) -> Iterator[Example]:
        self._sampler.rows = [self.sequence.row_at(position) for position in positions]
        return iter(self._loader) if positions else iter([])

    @property
    def shuffled_from(self) -> int | None:
        """The position from which on the order of the settings was given up."""
        return self.sequence.shuffled_from

    def shuffle_rest(self) -> None:
        """Shuffle all samples after the cursor."""
        self.sequence.shuffled_from = self.cursor
        self._prefetched = None  # of the order until now

    def state_dict(self) -> dict:
        shuffled = {} if self.shuffled_from is None else {"shuffled_from": self.shuffled_from}
        return {"cursor": self.cursor} | shuffled

    def load_state_dict(self, state: dict) -> None:
        self.cursor = state["cursor"]
        self.sequence.shuffled_from = state.get("shuffled_from")


class RowSampler(torch.utils.data.Sampler):
    """The rows of the file to decode next; set before each pass over the loader."""

    def __init__(self):
        self.rows: list[int] = []

    def __iter__(self) -> Iterator[int]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)


class EncodedSamples(torch.utils.data.Dataset):
    """Encodes the prompt of a row, in a data worker."""

    def __init__(self, samples: list[AudioQASample], encoder: OmniEncoder):
        self.samples = samples
        self.encoder = encoder

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, row: int) -> Example:
        with explaining_broken_clips():
            return self.encoder.encode(self.samples[row])
