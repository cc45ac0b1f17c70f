"""The engine that answers: samples -> completions, in planned batches, resumable, the same on one process or many.

Its interface is `HFEngine.generate(examples, seeds, n)`: whatever turns prompts into completions (vLLM, say) can stand in.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from transformers import GenerationConfig, LogitsProcessorList

from .modeling import OmniThinker
from .processing import Example, OmniEncoder, collate
from .samples import AudioQASample
from .sampling import Sampling, SeededSampler, derive_seed


@dataclass(frozen=True)
class Completion:
    """What the model wrote for one sample; `finished` is False where `max_new_tokens` cut it off.

    `token_ids` hold the end token too; `log_probs` are theirs, as drawn (empty for greedy answers).
    """

    text: str
    tokens: int
    finished: bool
    token_ids: tuple[int, ...] = ()
    log_probs: tuple[float, ...] = ()


@dataclass(frozen=True)
class Batch:
    """Samples that are answered together. The plan depends on the samples alone, so that a resumed or sharded run
    makes the same batches, and with them the same completions to the last bit."""

    index: int
    samples: tuple[AudioQASample, ...]


def plan_batches(samples: list[AudioQASample], lengths: list[int], batch_size: int) -> list[Batch]:
    """Batches of samples of like length (tokens), longest first: memory is short at once or never."""
    order = sorted(range(len(samples)), key=lambda index: (-lengths[index], samples[index].id))
    starts = range(0, len(order), batch_size)
    return [
        Batch(number, tuple(samples[index] for index in order[start : start + batch_size]))
        for number, start in enumerate(starts)
    ]


class HFEngine:
    """Batched generation with transformers: left padding, a generation config of our own.

    `rows_at_once` bounds how many completions are written together (None: all that are asked for).
    """

    def __init__(self, model: OmniThinker, encoder: OmniEncoder, sampling: Sampling, rows_at_once: int | None = None):
        self.model = model
        self.encoder = encoder
        self.sampling = sampling
        self.rows_at_once = rows_at_once
        self.generation_config = make_generation_config(encoder, sampling, placeholder_ids(model))

    @torch.no_grad()
    def generate(self, examples: list[Example], seeds: list[int], n: int = 1) -> list[list[Completion]]:
        """`n` completions of every encoded prompt; a prompt's seed decides what is drawn for it when sampling."""
        rows = [(example, derive_seed(seed, copy)) for example, seed in zip(examples, seeds, strict=True)
                for copy in range(n)]  # fmt: skip
        step = self.rows_at_once or max(len(rows), 1)
        completions = [done for start in range(0, len(rows), step) for done in self._write(rows[start : start + step])]
        return [completions[start : start + n] for start in range(0, len(completions), n)]

    def _write(self, rows: list[tuple[Example, int]]) -> list[Completion]:
        device = self.model.device
        batch = collate([example for example, _ in rows], self.generation_config.pad_token_id, "left")
        batch = {name: tensor.to(device) for name, tensor in batch.items()}
        batch["input_features"] = batch["input_features"].to(self.model.dtype)
        sampler = None
        if self.sampling.temperature > 0:
            sampler = SeededSampler(self.sampling, placeholder_ids(self.model), [seed for _, seed in rows], device)
        output = self.model.generate(
            **batch,
            generation_config=self.generation_config,
            logits_processor=LogitsProcessorList([sampler] if sampler else []),
        )
        written = output[:, batch["input_ids"].shape[1] :].tolist()  # (rows, new tokens)
        drawn = torch.stack(sampler.drawn, dim=1).tolist() if sampler else [[]] * len(rows)
        return [self._completion(ids, log_probs) for ids, log_probs in zip(written, drawn, strict=True)]

    def _completion(self, ids: list[int], log_probs: list[float]) -> Completion:
        ends = [index for index, token in enumerate(ids) if token in self.generation_config.eos_token_id]
        length = ends[0] + 1 if ends else len(ids)
        text = self.encoder.tokenizer.decode(ids[: length - bool(ends)], skip_special_tokens=True)
        return Completion(text, length, bool(ends), tuple(ids[:length]), tuple(log_probs[:length]))


def placeholder_ids(model: OmniThinker) -> list[int]:
    """The audio, image and video placeholders: one in a completion would ask for a clip that is not there."""
    return [model.config.audio_token_id, model.config.image_token_id, model.config.video_token_id]


def make_generation_config(encoder: OmniEncoder, sampling: Sampling, suppressed: list[int]) -> GenerationConfig:
    """Everything that generation depends on, stated: nothing is inherited from the released settings.

    Sampling is `SeededSampler`'s; what transformers does on top of it is greedy.
    """
    return GenerationConfig(
        max_new_tokens=sampling.max_new_tokens,
        do_sample=False,
        eos_token_id=[encoder.end_of_turn_id, encoder.tokenizer.convert_tokens_to_ids("<|endoftext|>")],
        pad_token_id=encoder.tokenizer.pad_token_id,
        suppress_tokens=suppressed,
        repetition_penalty=1.0,
    )


class PromptDataset(torch.utils.data.Dataset):
    """Encodes whole batches of prompts in data workers; `hear` says which clip a sample is given."""

    def __init__(self, batches: list[Batch], encoder: OmniEncoder, hear: "Hearing"):
        self.batches = batches
        self.encoder = encoder
        self.hear = hear

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> list[Example]:
        return [self.hear.encode(self.encoder, sample) for sample in self.batches[index].samples]


@dataclass(frozen=True)
class Hearing:
    """What the model is given to hear: the sample's clip, silence of its length, or another sample's clip."""

    audio: str  # real | silence | other
    other_clip: dict[str, AudioQASample]  # sample id -> the sample whose clip it hears instead

    @classmethod
    def plan(cls, audio: str, samples: list[AudioQASample]) -> "Hearing":
        """Every sample hears the clip of another one, half the set away, that is not its own."""
        others = {}
        if audio == "other":
            shift = max(len(samples) // 2, 1)
            for index, sample in enumerate(samples):
                candidates = (samples[(index + shift + step) % len(samples)] for step in range(len(samples)))
                others[sample.id] = next((s for s in candidates if s.audio_path != sample.audio_path), sample)
        return cls(audio, others)

    def encode(self, encoder: OmniEncoder, sample: AudioQASample) -> Example:
        if self.audio == "real":
            return encoder.encode(sample)
        waveform = encoder.load(self.other_clip.get(sample.id, sample))
        return encoder.encode_waveform(sample, waveform * (0.0 if self.audio == "silence" else 1.0))


def encoded_batches(
    batches: list[Batch], encoder: OmniEncoder, hearing: Hearing, num_workers: int
) -> Iterator[tuple[Batch, list[Example]]]:
    """Yield every batch with its encoded prompts, made ahead of the device by data workers."""
    loader = torch.utils.data.DataLoader(
        PromptDataset(batches, encoder, hearing), batch_size=None, num_workers=num_workers if len(batches) > 1 else 0
    )
    yield from zip(batches, loader, strict=True)
