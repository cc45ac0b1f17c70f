"""Feed the samples of the curriculum to a run in their order, encoded ahead in data workers."""

from collections.abc import Iterator
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
    """The endless sequence of samples of a run: the file in the order of the settings, epoch after epoch."""

    def __init__(self, samples: list[AudioQASample], order: str, overlap: float, seed: int):
        self.samples = samples
        self.order = order
        self.overlap = overlap
        self.seed = seed
        self._epochs: dict[int, list[int]] = {}

    def _arranged(self, epoch: int) -> list[int]:
        if epoch not in self._epochs:
            levels = [sample.level for sample in self.samples]
            self._epochs = {epoch: arrange(levels, self.order, self.seed + epoch, self.overlap)}
        return self._epochs[epoch]

    def epoch_of(self, position: int) -> int:
        return position // len(self.samples)

    def sample_at(self, position: int) -> AudioQASample:
        return self.samples[self._arranged(self.epoch_of(position))[position % len(self.samples)]]


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
        self._sampler = PositionSampler()
        self._loader = torch.utils.data.DataLoader(
            EncodedSequence(sequence, encoder),
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
        self._sampler.positions = positions
        return iter(self._loader) if positions else iter([])

    def state_dict(self) -> dict:
        return {"cursor": self.cursor}

    def load_state_dict(self, state: dict) -> None:
        self.cursor = state["cursor"]


class PositionSampler(torch.utils.data.Sampler):
    """The positions to decode next; set before each pass over the loader."""

    def __init__(self):
        self.positions: list[int] = []

    def __iter__(self) -> Iterator[int]:
        return iter(self.positions)

    def __len__(self) -> int:
        return len(self.positions)


class EncodedSequence(torch.utils.data.Dataset):
    """Encodes the prompt at a position, in a data worker."""

    def __init__(self, sequence: SampleSequence, encoder: OmniEncoder):
        self.sequence = sequence
        self.encoder = encoder

    def __len__(self) -> int:
        return len(self.sequence.samples)

    def __getitem__(self, position: int) -> Example:
        with explaining_broken_clips():
            return self.encoder.encode(self.sequence.sample_at(position))
