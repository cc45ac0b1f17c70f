"""The engine that answers: samples -> completions, in planned batches, resumable, the same on one process or many.

Its interface is `HFEngine.generate(examples, seed, n)`: whatever turns prompts into completions (vLLM, say) can stand in.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from transformers import GenerationConfig

from .modeling import OmniThinker
from .processing import Example, OmniEncoder, collate
from .samples import AudioQASample


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen; temperature 0 is greedy, top_k 0 and top_p 1 leave all tokens in."""

    max_new_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int = 0


@dataclass(frozen=True)
class Completion:
    """What the model wrote for one sample; `finished` is False where `max_new_tokens` cut it off."""

    text: str
    tokens: int
    finished: bool


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
    """Batched generation with transformers: left padding, a generation config of our own."""

    def __init__(self, model: OmniThinker, encoder: OmniEncoder, sampling: Sampling):
        self.model = model
        self.encoder = encoder
        self.sampling = sampling
        self.generation_config = make_generation_config(model, encoder, sampling)

    @torch.inference_mode()
    def generate(self, examples: list[Example], seed: int, n: int = 1) -> list[list[Completion]]:
        """`n` completions of every encoded prompt; `seed` decides what is drawn when sampling."""
        torch.manual_seed(seed)
        pad_token_id = self.generation_config.pad_token_id
        batch = collate([example for example in examples for _ in range(n)], pad_token_id, "left")
        batch = {name: tensor.to(self.model.device) for name, tensor in batch.items()}
        batch["input_features"] = batch["input_features"].to(self.model.dtype)
        output = self.model.generate(**batch, generation_config=self.generation_config)
        written = output[:, batch["input_ids"].shape[1] :].tolist()  # (prompts * n, new tokens)
        completions = [self._completion(ids) for ids in written]
        return [completions[start : start + n] for start in range(0, len(completions), n)]

    def _completion(self, ids: list[int]) -> Completion:
        ends = [index for index, token in enumerate(ids) if token in self.generation_config.eos_token_id]
        tokens = ids[: ends[0]] if ends else ids
        text = self.encoder.tokenizer.decode(tokens, skip_special_tokens=True)
        return Completion(text, len(tokens) + bool(ends), bool(ends))


def make_generation_config(model: OmniThinker, encoder: OmniEncoder, sampling: Sampling) -> GenerationConfig:
    """Everything that generation depends on, stated: nothing is inherited from the released settings.

    The audio, image and video placeholders are never drawn: one in a completion would ask for a clip that is not there.
    """
    end_ids = [encoder.end_of_turn_id, encoder.tokenizer.convert_tokens_to_ids("<|endoftext|>")]
    placeholders = [model.config.audio_token_id, model.config.image_token_id, model.config.video_token_id]
    settings = {
        "max_new_tokens": sampling.max_new_tokens,
        "do_sample": sampling.temperature > 0,
        "eos_token_id": end_ids,
        "pad_token_id": encoder.tokenizer.pad_token_id,
        "suppress_tokens": placeholders,
        "repetition_penalty": 1.0,
    }
    if sampling.temperature > 0:
        settings |= {"temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": sampling.top_k}
    return GenerationConfig(**settings)


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
