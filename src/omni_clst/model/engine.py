"""The engine that writes completions with transformers' model.

Its interface is `HFEngine.generate(examples, seeds, n)`: whatever turns prompts into completions (vLLM, say) can stand in.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch

from ..data.audio import audio_token_count
from ..data.encoder import Example, OmniEncoder, collate
from .decoding import write_completions
from .sampling import Sampling, TokenChooser, derive_seed
from .thinker import OmniThinker

PREFILL_TOKENS = 2048  # enough rows for a matrix product to be fast; more only cost memory and padding


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


class HFEngine:
    """Batched generation with transformers' model: left padding, one prefill a prompt, settings of our own.

    `rows_at_once` bounds how many completions are written together (None: all that are asked for), `prefill_tokens` how
    many tokens of prompts are read at once (None: no bound, every process takes as many forwards). `anyone_writes` as in
    `write_completions`.
    """

    def __init__(
        self,
        model: OmniThinker,
        encoder: OmniEncoder,
        sampling: Sampling,
        rows_at_once: int | None = None,
        prefill_tokens: int | None = PREFILL_TOKENS,
        anyone_writes: Callable[[bool], bool] = bool,
    ):
        self.thinker = model.get_base_model() if hasattr(model, "get_base_model") else model  # its layers hold the adapter
        self.encoder = encoder
        self.sampling = sampling
        self.rows_at_once = rows_at_once
        self.prefill_tokens = prefill_tokens
        self.anyone_writes = anyone_writes
        self.end_ids = [encoder.end_of_turn_id, encoder.tokenizer.convert_tokens_to_ids("<|endoftext|>")]

    @torch.no_grad()
    def generate(self, examples: list[Example], seeds: list[int], n: int = 1) -> list[list[Completion]]:
        """`n` completions of every encoded prompt; a prompt's seed decides what is drawn for it when sampling."""
        prompts = max((self.rows_at_once or n * len(examples)) // n, 1)
        copies = min(self.rows_at_once or n, n)
        found: list[list[Completion]] = []
        for start in range(0, len(examples), prompts):
            part = slice(start, start + prompts)
            encoded = self.encode_clips(examples[part])
            written: list[list[Completion]] = [[] for _ in encoded]
            for first in range(0, n, copies):
                more = self._write(encoded, seeds[part], range(first, min(first + copies, n)))
                for own, further in zip(written, more, strict=True):
                    own += further
            found += written
        return found

    @torch.no_grad()
    def encode_clips(self, examples: list[Example]) -> list[Example]:
        """The examples with their clips encoded, for everybody who computes with them; as they are where the audio tower
        learns, since an encoding would be out of date after the next update."""
        if self.thinker.tower_learns:
            return examples
        return [example for part in self._parts(examples) for example in self._encode(part)]

    def _encode(self, examples: list[Example]) -> list[Example]:
        open_ = [e for e in examples if e.input_features is not None and e.audio_embeddings is None]
        if not open_:
            return examples
        batch = collate(open_, self.encoder.tokenizer.pad_token_id, "left")
        features = batch["input_features"].to(self.thinker.device, self.thinker.dtype)
        encodings = self.thinker.encode_clips(features, batch["feature_attention_mask"].to(self.thinker.device))
        sizes = [audio_token_count(example.input_features.shape[1]) for example in open_]
        made = {id(example): own for example, own in zip(open_, encodings.split(sizes), strict=True)}
        return [replace(e, audio_embeddings=made[id(e)]) if id(e) in made else e for e in examples]

    def _write(self, examples: list[Example], seeds: list[int], copies: range) -> list[list[Completion]]:
        """These copies of every prompt's completions."""
        own_seeds = [derive_seed(seed, copy) for seed in seeds for copy in copies]
        ids, log_probs = write_completions(
            self.thinker,
            self._embedded(examples),
            len(copies),
            TokenChooser(self.sampling, placeholder_ids(self.thinker), own_seeds, self.thinker.device),
            self.end_ids,
            self.sampling.max_new_tokens,
            self.anyone_writes,
        )
        done = [self._completion(*written) for written in zip(ids, log_probs, strict=True)]
        return [done[start : start + len(copies)] for start in range(0, len(done), len(copies))]

    def _embedded(self, examples: list[Example]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Embeddings and masks of prompts, some at a time: little memory, and little padding where lengths are sorted."""
        for part in self._parts(examples):
            batch = collate(part, self.encoder.tokenizer.pad_token_id, "left")
            batch = {name: tensor.to(self.thinker.device) for name, tensor in batch.items()}
            if "input_features" in batch:
                batch["input_features"] = batch["input_features"].to(self.thinker.dtype)
            mask = batch.pop("attention_mask")
            yield self.thinker.embed(**batch), mask

    def _parts(self, examples: list[Example]) -> Iterator[list[Example]]:
        """Neighbours that take at most `prefill_tokens` with their padding, or one that takes more."""
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
    """The audio, image and video placeholders: one in a completion would ask for a clip that is not there."""
    return [model.config.audio_token_id, model.config.image_token_id, model.config.video_token_id]
