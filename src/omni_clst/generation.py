"""The engine that answers: samples -> completions, in planned batches, resumable, the same on one process or many.

Its interface is `HFEngine.generate(examples, seeds, n)`: whatever turns prompts into completions (vLLM, say) can stand in.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch

from .audio import ClipError, audio_token_count
from .decoding import write_completions
from .modeling import OmniThinker
from .processing import Example, OmniEncoder, collate
from .samples import AudioQASample
from .sampling import Sampling, TokenChooser, derive_seed

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


@dataclass(frozen=True)
class Batch:
    """Samples that are answered together. The plan depends on the samples alone, so that a resumed or sharded run
    makes the same batches, and with them the same completions to the last bit."""

    index: int
    samples: tuple[AudioQASample, ...]


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


class HFEngine:
    """Batched generation with transformers' model: left padding, one prefill a prompt, settings of our own.

    `rows_at_once` bounds how many completions are written together (None: all that are asked for), `prefill_tokens` how
    many tokens of prompts are read at once (None: no bound, every process takes as many forwards). Where the audio tower
    does not learn, an example keeps what its clip was encoded to, and whoever scores its completions takes it from there.
    `anyone_writes` as in `write_completions`.
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
            written: list[list[Completion]] = [[] for _ in examples[part]]
            for first in range(0, n, copies):
                more = self._write(examples[part], seeds[part], range(first, min(first + copies, n)))
                for own, further in zip(written, more, strict=True):
                    own += further
            found += written
        return found

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
            self._hear(part)
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
        yield part

    def _hear(self, examples: list[Example]) -> None:
        """Encode the clips that are not encoded yet, once, where that can be kept."""
        open_ = [e for e in examples if e.input_features is not None and e.audio_embeddings is None]
        if self.thinker.tower_learns or not open_:
            return
        batch = collate(open_, self.encoder.tokenizer.pad_token_id, "left")
        features = batch["input_features"].to(self.thinker.device, self.thinker.dtype)
        heard = self.thinker.hear(features, batch["feature_attention_mask"].to(self.thinker.device))
        sizes = [audio_token_count(example.input_features.shape[1]) for example in open_]
        for example, own in zip(open_, heard.split(sizes), strict=True):
            example.audio_embeddings = own

    def _completion(self, ids: list[int], log_probs: list[float]) -> Completion:
        finished = bool(ids) and ids[-1] in self.end_ids
        text = self.encoder.tokenizer.decode(ids[: len(ids) - finished], skip_special_tokens=True)
        return Completion(text, len(ids), finished, tuple(ids), tuple(log_probs))


def placeholder_ids(model: OmniThinker) -> list[int]:
    """The audio, image and video placeholders: one in a completion would ask for a clip that is not there."""
    return [model.config.audio_token_id, model.config.image_token_id, model.config.video_token_id]


class PromptDataset(torch.utils.data.Dataset):
    """Encodes whole batches of prompts in data workers; `hear` says which clip a sample is given.

    In the place of a prompt whose clip cannot be decoded stands what is wrong with it.
    """

    def __init__(self, batches: list[Batch], encoder: OmniEncoder, hear: "Hearing"):
        self.batches = batches
        self.encoder = encoder
        self.hear = hear

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> list[Example | str]:
        return [self._encode(sample) for sample in self.batches[index].samples]

    def _encode(self, sample: AudioQASample) -> Example | str:
        try:
            return self.hear.encode(self.encoder, sample)
        except ClipError as error:
            return str(error)


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
) -> Iterator[tuple[Batch, list[Example], dict[str, str]]]:
    """Yield every batch with its encoded prompts, made ahead of the device by data workers.

    Samples whose clips cannot be decoded are taken out of their batch; by id what is wrong with them comes beside it.
    """
    loader = torch.utils.data.DataLoader(
        PromptDataset(batches, encoder, hearing), batch_size=None, num_workers=num_workers if len(batches) > 1 else 0
    )
    for batch, encoded in zip(batches, loader, strict=True):
        pairs = list(zip(batch.samples, encoded, strict=True))
        broken = {sample.id: what for sample, what in pairs if isinstance(what, str)}
        whole = replace(batch, samples=tuple(sample for sample, _ in pairs if sample.id not in broken))
        yield whole, [example for sample, example in pairs if sample.id not in broken], broken
