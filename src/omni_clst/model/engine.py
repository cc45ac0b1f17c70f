"""Generate completions with transformers' model: `HFEngine.generate(examples, seeds, n)`."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import torch

from ..data.encoder import Example, OmniEncoder, collate
from .decoding import generate_completions
from .sampling import Sampling, TokenChooser, derive_seed
from .static_decoding import generate_static
from .thinker import OmniThinker

PREFILL_TOKENS = 2048  # enough for a matrix product to be fast; more only costs memory and padding


@dataclass(frozen=True)
class Completion:
    """One generated completion; `finished` is False where it was cut off at `max_new_tokens`.

    `token_ids` include the end token; `log_probs` are their log-probabilities when sampled (empty for greedy decoding).
    """

    text: str
    tokens: int
    finished: bool
    token_ids: tuple[int, ...] = ()
    log_probs: tuple[float, ...] = ()


class Engine(Protocol):
    """What generates completions: transformers' model, vLLM in this process, or a server."""

    encoder: OmniEncoder
    sampling: Sampling

    def generate(self, examples: list[Example], seeds: list[int], n: int = 1) -> list[list[Completion]]:
        """`n` completions of every encoded prompt; sampling depends on the prompt's seed alone."""
        ...


class HFEngine:
    """Batched generation with transformers' model: left padding, one prefill per prompt.

    `completions_at_once` bounds how many completions are generated together (None: all), `prefill_tokens` how many prompt
    tokens are in one prefill (None: no bound, so all processes do equally many forwards). `anyone_generates`: see
    `generate_completions`. `decoding` is `plain` or `static` (see `choose_decoding`).
    """

    def __init__(
        self,
        model: OmniThinker,
        encoder: OmniEncoder,
        sampling: Sampling,
        completions_at_once: int | None = None,
        prefill_tokens: int | None = PREFILL_TOKENS,
        anyone_generates: Callable[[bool], bool] = bool,
        decoding: str = "plain",
    ):
        base_of_peft = getattr(model, "get_base_model", None)  # its layers contain the adapter
        self.thinker: OmniThinker = model if base_of_peft is None else base_of_peft()
        self.encoder = encoder
        self.sampling = sampling
        self.completions_at_once = completions_at_once
        self.prefill_tokens = prefill_tokens
        more = {} if decoding == "static" else {"anyone_generates": anyone_generates}
        self.decode = partial(generate_static if decoding == "static" else generate_completions, **more)
        self.end_ids = encoder.end_ids

    @torch.no_grad()
    def generate(self, examples: list[Example], seeds: list[int], n: int = 1) -> list[list[Completion]]:
        """`n` completions of every encoded prompt; sampling depends on the prompt's seed alone."""
        prompts = max((self.completions_at_once or n * len(examples)) // n, 1)
        copies = min(self.completions_at_once or n, n)
        completions: list[list[Completion]] = []
        for start in range(0, len(examples), prompts):
            part = slice(start, start + prompts)
            encoded = self.encode_clips(examples[part])
            of_part: list[list[Completion]] = [[] for _ in encoded]
            for first in range(0, n, copies):
                generated = self._generate_copies(encoded, seeds[part], range(first, min(first + copies, n)))
                for of_prompt, new in zip(of_part, generated, strict=True):
                    of_prompt += new
            completions += of_part
        return completions

    @torch.no_grad()
    def encode_clips(self, examples: list[Example]) -> list[Example]:
        """The examples with their clips encoded; unchanged where the audio tower is trained, since an encoding would be
        outdated after the next update."""
        if self.thinker.trains_audio_tower:
            return examples
        return [example for part in self._parts(examples) for example in self._encode(part)]

    def _encode(self, examples: list[Example]) -> list[Example]:
        not_encoded = [e for e in examples if e.input_features is not None and e.audio_embeddings is None]
        if not not_encoded:
            return examples
        batch = collate(not_encoded, self.encoder.tokenizer.pad_token_id, "left")
        features = batch["input_features"].to(self.thinker.device, self.thinker.dtype)
        encodings = self.thinker.encode_clips(features, batch["feature_attention_mask"].to(self.thinker.device))
        sizes = [example.audio_tokens for example in not_encoded]
        encoding_of = {id(example): e for example, e in zip(not_encoded, encodings.split(sizes), strict=True)}
        return [replace(e, audio_embeddings=encoding_of[id(e)]) if id(e) in encoding_of else e for e in examples]

    def _generate_copies(self, examples: list[Example], seeds: list[int], copies: range) -> list[list[Completion]]:
        """The completions of every prompt whose numbers are in `copies`."""
        completion_seeds = [derive_seed(seed, copy) for seed in seeds for copy in copies]
        ids, log_probs = self.decode(
            self.thinker,
            self._embedded(examples),
            len(copies),
            TokenChooser(self.sampling, list(self.encoder.suppressed_ids), completion_seeds, self.thinker.device),
            self.end_ids,
            self.sampling.max_new_tokens,
        )
        completions = [self._completion(*generated) for generated in zip(ids, log_probs, strict=True)]
        return [completions[start : start + len(copies)] for start in range(0, len(completions), len(copies))]

    def _embedded(self, examples: list[Example]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Embeddings and masks of prompts, part by part: little memory, and little padding where lengths are sorted."""
        for part in self._parts(examples):
            batch = collate(part, self.encoder.tokenizer.pad_token_id, "left")
            batch = {name: tensor.to(self.thinker.device) for name, tensor in batch.items()}
            if "input_features" in batch:
                batch["input_features"] = batch["input_features"].to(self.thinker.dtype)
            mask = batch.pop("attention_mask")
            yield self.thinker.embed(**batch), mask

    def _parts(self, examples: list[Example]) -> Iterator[list[Example]]:
        """Consecutive examples of at most `prefill_tokens` with their padding, or a single longer one."""
        part: list[Example] = []
        for example in examples:
            longest = max(len(other.input_ids) for other in [*part, example])
            if part and self.prefill_tokens is not None and longest * (len(part) + 1) > self.prefill_tokens:
                yield part
                part = []
            part.append(example)
        if part:
            yield part

    def _completion(self, ids: list[int], log_probs: list[float]) -> Completion:
        finished = bool(ids) and ids[-1] in self.end_ids
        text = self.encoder.tokenizer.decode(ids[: len(ids) - finished], skip_special_tokens=True)
        return Completion(text, len(ids), finished, tuple(ids), tuple(log_probs))


def placeholder_ids(model: OmniThinker) -> list[int]:
    """The audio, image and video placeholder tokens, which may not be generated: there is no clip to fill them."""
    names = ("audio_token_id", "image_token_id", "video_token_id")
    return [getattr(model.config, name) for name in names if hasattr(model.config, name)]
