"""Batches of samples to answer: planned from the samples alone, encoded ahead of the device."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import torch

from ..data.audio import ClipError
from ..data.encoder import Example, OmniEncoder
from ..data.samples import AudioQASample
from ..errors import InputError
from ..processes import fresh_forks
from .audio_source import AudioSource
from .folder import AnswerFolder


@dataclass(frozen=True)
class Batch:
    """Samples that are answered together. The plan depends on the samples alone, so that a resumed or sharded run
    makes the same batches, and with them the same completions to the last bit."""

    index: int
    samples: tuple[AudioQASample, ...]


@dataclass(frozen=True)
class BrokenClips:
    """Clips that turn out broken while they are decoded: an error that names the first, or noted where they are allowed."""

    folder: AnswerFolder
    are_allowed: bool

    def taken_out(
        self, encoded: Iterable[tuple[Batch, list[Example], dict[str, str]]]
    ) -> Iterator[tuple[Batch, list[Example]]]:
        """The batches without them."""
        for batch, examples, broken in encoded:
            if broken and not self.are_allowed:
                raise InputError(
                    f"{next(iter(broken.values()))}; --allow_missing_audio answers the rest and goes on from here"
                )
            if broken:
                self.folder.append([{"id": key, "error": reason} for key, reason in broken.items()])
            yield batch, examples


def plan_batches(samples: list[AudioQASample], lengths: list[int], batch_tokens: int, written: int) -> list[Batch]:
    """Batches of samples of like prompt length (tokens), longest first: memory is short at once or never.

    A batch takes at most `batch_tokens`, the `written` tokens that may come behind each prompt and the padding to the
    longest one included, but always one sample.
    """
    order = sorted(range(len(samples)), key=lambda index: (-lengths[index], samples[index].id))
    batches: list[Batch] = []
    start = 0
    while start < len(order):
        count = max(batch_tokens // (lengths[order[start]] + written), 1)
        batches.append(Batch(len(batches), tuple(samples[index] for index in order[start : start + count])))
        start += count
    return batches


class PromptDataset(torch.utils.data.Dataset):
    """Encodes whole batches of prompts in data workers; `source` says which audio a sample gets.

    In the place of a prompt whose clip cannot be decoded stands what is wrong with it.
    """

    def __init__(self, batches: list[Batch], encoder: OmniEncoder, source: "AudioSource"):
        self.batches = batches
        self.encoder = encoder
        self.source = source

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> list[Example | str]:
        return [self._encode(sample) for sample in self.batches[index].samples]

    def _encode(self, sample: AudioQASample) -> Example | str:
        try:
            return self.source.encode(self.encoder, sample)
        except ClipError as error:
            return str(error)


def encoded_batches(
    batches: list[Batch],
    encoder: OmniEncoder,
    source: AudioSource,
    num_workers: int,
    fork_fresh: bool = False,
) -> Iterator[tuple[Batch, list[Example], dict[str, str]]]:
    """Yield every batch with its encoded prompts, made ahead of the device by data workers.

    Samples whose clips cannot be decoded are taken out of their batch; by id what is wrong with them comes beside it.
    `fork_fresh` starts the workers as forks of a fresh process instead of this one.
    """
    workers = num_workers if len(batches) > 1 else 0
    loader = torch.utils.data.DataLoader(
        PromptDataset(batches, encoder, source),
        batch_size=None,
        num_workers=workers,
        multiprocessing_context=fresh_forks(__name__) if workers and fork_fresh else None,
    )
    for batch, encoded in zip(batches, loader, strict=True):
        pairs = list(zip(batch.samples, encoded, strict=True))
        broken = {sample.id: what for sample, what in pairs if isinstance(what, str)}
        whole = replace(batch, samples=tuple(sample for sample, _ in pairs if sample.id not in broken))
        yield whole, [example for sample, example in pairs if sample.id not in broken], broken
