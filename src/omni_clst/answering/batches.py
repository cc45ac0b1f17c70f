"""Plan batches of samples to answer, from the samples alone, and encode them in data workers."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import torch

from ..data.audio import ClipError
from ..data.encoder import Example, OmniEncoder
from ..data.samples import AudioQASample
from ..errors import InputError
from ..processes import fresh_forks, start_data_worker
from .audio_source import AudioSource
from .folder import AnswerFolder


@dataclass(frozen=True)
class Batch:
    """Samples that are answered together. Batches depend on the samples alone, so that a resumed or sharded run has the
    same batches, and therefore exactly the same completions."""

    index: int
    samples: tuple[AudioQASample, ...]


@dataclass(frozen=True)
class UndecodableClips:
    """Clips that cannot be decoded, although their headers are whole: an error, or recorded where they are allowed."""

    folder: AnswerFolder
    are_allowed: bool

    def removed_from(
        self, encoded: Iterable[tuple[Batch, list[Example], dict[str, str]]]
    ) -> Iterator[tuple[Batch, list[Example]]]:
        """The batches without their samples; raises `InputError` that names the first."""
        for batch, examples, errors in encoded:
            if errors and not self.are_allowed:
                raise InputError(f"{next(iter(errors.values()))}; --allow_missing_audio continues with the others")
            if errors:
                self.folder.append([{"id": sample_id, "error": error} for sample_id, error in errors.items()])
            yield batch, examples


def plan_batches(samples: list[AudioQASample], lengths: list[int], batch_tokens: int, new_tokens: int) -> list[Batch]:
    """Batches of samples of similar prompt length (tokens), longest first, so that too little memory shows at once.

    A batch has at least one sample and at most `batch_tokens` tokens, including up to `new_tokens` generated after each
    prompt and the padding to the longest prompt.
    """
    order = sorted(range(len(samples)), key=lambda index: (-lengths[index], samples[index].id))
    batches: list[Batch] = []
    start = 0
    while start < len(order):
        count = max(batch_tokens // (lengths[order[start]] + new_tokens), 1)
        batches.append(Batch(len(batches), tuple(samples[index] for index in order[start : start + count])))
        start += count
    return batches


class PromptDataset(torch.utils.data.Dataset):
    """Encodes whole batches of prompts in data workers, with the audio of `source`.

    For a prompt whose clip cannot be decoded an item is the error's text instead of an `Example`.
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
    """Yield every batch with its encoded prompts, prefetched by data workers, and errors of clips by sample id.

    Samples whose clips cannot be decoded are removed from their batch. `fork_fresh` starts the workers as forks of a fresh
    process instead of this one.
    """
    workers = num_workers if len(batches) > 1 else 0
    loader = torch.utils.data.DataLoader(
        PromptDataset(batches, encoder, source),
        batch_size=None,
        num_workers=workers,
        worker_init_fn=start_data_worker,
        multiprocessing_context=fresh_forks(__name__) if workers and fork_fresh else None,
    )
    for batch, encoded in zip(batches, loader, strict=True):
        pairs = list(zip(batch.samples, encoded, strict=True))
        errors = {sample.id: item for sample, item in pairs if isinstance(item, str)}
        decoded = replace(batch, samples=tuple(sample for sample, _ in pairs if sample.id not in errors))
        yield decoded, [item for _, item in pairs if isinstance(item, Example)], errors
