"""Convert samples to model inputs: chat template, audio placeholders, labels on the assistant's turn, padded batches.

`input_ids` equal those of the base's stock processor, and the mel features too, as far as they reach (`clip_format.py`).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch

from ..errors import InputError
from .audio import load_audio, probe_audio
from .clip_format import ClipFormat
from .prompts import Prompt
from .response import ANSWER_TAGS, FULL_THOUGHT_OPENING
from .samples import AudioQASample

IGNORED_LABEL = -100
QWEN2_5_OMNI_CLIPS = ClipFormat()


@dataclass(frozen=True)
class Example:
    """Model inputs of one sample, not yet batched.

    `input_ids` and `labels` have shape (tokens,), labels are -100 outside the assistant's turn (None for a prompt
    alone); `input_features` has shape (mel_bins, columns), None for a text without audio. `audio_embeddings`
    (audio tokens, hidden) is the clips' encoding, where the audio tower has computed it; `waveform` (samples,) at 16 kHz is
    kept for engines that compute mel features themselves. A question about several clips has the others' features and
    waveforms in `more_features` and `more_waveforms`. `frames` are the mel frames of every clip: the columns of its
    features before any padding; `audio_tokens` those of all clips.
    """

    input_ids: list[int]
    labels: list[int] | None
    input_features: torch.Tensor | None
    audio_embeddings: torch.Tensor | None = None
    waveform: np.ndarray | None = None
    sample_id: str = "text"
    more_features: tuple[torch.Tensor, ...] = ()
    more_waveforms: tuple[np.ndarray, ...] = ()
    frames: tuple[int, ...] = ()
    audio_tokens: int = 0

    @property
    def features(self) -> tuple[torch.Tensor, ...]:
        """The mel features of all clips, in their order in the prompt."""
        return () if self.input_features is None else (self.input_features, *self.more_features)

    @property
    def waveforms(self) -> tuple[np.ndarray, ...]:
        """The waveforms of all clips, where they are kept."""
        return () if self.waveform is None else (self.waveform, *self.more_waveforms)

    def __reduce__(self):
        """Pickle the features as plain bytes: sent as tensors by a data worker, torch would open a file for each clip of
        a batch, and a process may have 1,024 open files."""
        features = [features.numpy() for features in self.features]
        without = replace(
            self, input_features=None, more_features=(), audio_embeddings=None, waveform=None, more_waveforms=()
        )
        return _unpickle_example, (vars(without), features, self.waveforms)


def _unpickle_example(fields: dict, features: list[np.ndarray], waveforms: tuple[np.ndarray, ...]) -> Example:
    example = Example(**fields)
    return _with_clips(example, list(map(torch.from_numpy, features)), waveforms)


def _with_clips(example: Example, features: Sequence[torch.Tensor], waveforms: Sequence[np.ndarray] = ()) -> Example:
    """The example with the features of its clips, and with their waveforms where these are kept."""
    return replace(
        example,
        input_features=features[0] if features else None,
        more_features=tuple(features[1:]),
        waveform=waveforms[0] if waveforms else None,
        more_waveforms=tuple(waveforms[1:]),
    )


class OmniEncoder:
    """Converts samples to model inputs with a given processor and prompt; cheap to send to data workers.

    `opening` begins the assistant's turn: a prompt without a response ends with it, and the model continues from there.
    After `FULL_THOUGHT_OPENING` the tokens of an empty thought are suppressed.
    `keep_waveform` leaves the decoded clip in every example. `max_tokens` are as many as a prompt may have, where the model
    sets a limit. `clips` says how the processor's base takes clips.
    """

    def __init__(
        self,
        processor,
        prompt: Prompt,
        max_audio_seconds: float,
        opening: str = "",
        keep_waveform: bool = False,
        max_tokens: int | None = None,
        clips: ClipFormat = QWEN2_5_OMNI_CLIPS,
    ):
        clips.require_taken(max_audio_seconds)
        self.clips = clips
        self.max_tokens = max_tokens
        self.processor = processor
        self.prompt = prompt
        self.max_audio_seconds = max_audio_seconds
        self.opening = opening
        self.keep_waveform = keep_waveform
        for setting, text in (("system_prompt", prompt.system), ("prompt", prompt.template)):
            if token := self._control_token(text):
                raise InputError(f"{setting} {text!r} holds the special token {token!r}: write it in other words")

    @property
    def tokenizer(self):
        return self.processor.tokenizer

    @cached_property
    def end_of_turn_id(self) -> int:
        """The token that ends an assistant's turn; generation stops at it."""
        return self.tokenizer.convert_tokens_to_ids("<|im_end|>")

    @cached_property
    def end_ids(self) -> list[int]:
        """The tokens that end a completion."""
        return [self.end_of_turn_id, self.tokenizer.convert_tokens_to_ids("<|endoftext|>")]

    @cached_property
    def audio_token_id(self) -> int:
        """The placeholder that stands for an audio token in a prompt."""
        return self.tokenizer.convert_tokens_to_ids(self.processor.audio_token)

    @cached_property
    def placeholder_ids(self) -> tuple[int, ...]:
        """The audio, image and video placeholders: one in a completion would ask for a clip that is not there."""
        names = ("audio_token", "image_token", "video_token")
        tokens = [getattr(self.processor, name) for name in names if hasattr(self.processor, name)]
        return tuple(self.tokenizer.convert_tokens_to_ids(token) for token in tokens)

    @cached_property
    def suppressed_ids(self) -> tuple[int, ...]:
        """The tokens that no completion may have: placeholders, and where a thought is forced those that leave it empty."""
        if self.opening != FULL_THOUGHT_OPENING:
            return self.placeholder_ids
        candidates = [token_id for token, token_id in self.tokenizer.get_vocab().items() if token.startswith(">")]
        ends = [one for one in candidates if re.match(r">(\s*\n|</)", self.tokenizer.decode([one]))]
        return (*self.placeholder_ids, *sorted(ends))

    @cached_property
    def opening_ids(self) -> list[int]:
        """Token ids of the opening; empty without one."""
        return self.token_ids(self.opening) if self.opening else []

    def prompt_text(self, sample: AudioQASample, *audio_tokens: int) -> str:
        """The whole prompt up to the assistant's turn, with one audio placeholder per audio token of every clip."""
        return self.chat_text(self.prompt.user_text(sample), audio_tokens, sample.id)

    def audio_tokens(self, sample: AudioQASample) -> list[int]:
        """The audio tokens of every clip, from the files' headers."""
        tokens_of = self.clips.tokens_of_samples
        return [probe_audio(clip).audio_tokens(self.max_audio_seconds, tokens_of) for clip in sample.clips]

    def describe_prompt(self, sample: AudioQASample) -> str:
        """The sample's prompt as the model reads it, with one placeholder for a clip's tokens, under its token count."""
        text = self.prompt_text(sample, *(1 for _ in sample.clips)) + self.opening
        clips = "clips" if sample.more_clips else "clip"
        count = f"{self.length(sample)} tokens, {sum(self.audio_tokens(sample))} of them for the {clips}"
        return f"the prompt of sample {sample.id!r} ({count}):\n" + "\n".join(f"  | {line}" for line in text.split("\n"))

    def chat_text(self, user_text: str, audio_tokens: Sequence[int], sample_id: str = "text") -> str:
        """The chat template around a user's text, after one audio part per clip of so many audio tokens."""
        self._require_plain(user_text, sample_id)
        content = [{"type": "audio", "audio": ""} for _ in audio_tokens] + [{"type": "text", "text": user_text}]
        # The released template adds a system turn of its own where none is given, so one is always given to it.
        system = [{"role": "system", "content": [{"type": "text", "text": self.prompt.system}]}]
        conversation = (system if self.prompt.system else []) + [{"role": "user", "content": content}]
        text = self.processor.apply_chat_template(conversation, add_generation_prompt=True, tokenize=False)
        parts = text.split(self.processor.audio_token)  # neither text nor system prompt has one
        placeholders = [self.processor.audio_token * tokens for tokens in audio_tokens]
        return "".join(part + tokens for part, tokens in zip(parts, [*placeholders, ""], strict=True))

    def _require_plain(self, text: str, sample_id: str) -> None:
        """Raise `InputError` for a text of a sample that would be read as a special token (a turn's end, a clip)."""
        if token := self._control_token(text):
            raise InputError(f"sample {sample_id!r}: the text holds the special token {token!r}")

    @cached_property
    def _control_tokens(self) -> re.Pattern:
        """Matches the special tokens that a text may not contain, such as `<|im_end|>` or `<tool_call>`: the tokenizer
        would take them for control tokens. The answer tags are allowed where a model has tokens for them."""
        added = self.tokenizer.added_tokens_decoder.values()
        control = {token.content for token in added if token.special or re.fullmatch(r"<.+>", token.content)}
        control |= set(self.tokenizer.all_special_tokens)
        return re.compile("|".join(map(re.escape, sorted(control - ANSWER_TAGS, key=len, reverse=True))))

    def _control_token(self, text: str) -> str | None:
        match = self._control_tokens.search(text)
        return match[0] if match else None

    def token_ids(self, text: str) -> list[int]:
        """Token ids of a rendered text."""
        return self.tokenizer(text)["input_ids"]

    def load(self, sample: AudioQASample) -> np.ndarray:
        """The sample's clip: float32, shape (samples,), mono at 16 kHz, cropped at `max_audio_seconds`."""
        return load_audio(sample.audio_path, max_audio_seconds=self.max_audio_seconds)

    def load_clips(self, sample: AudioQASample) -> list[np.ndarray]:
        """All clips of a sample, as `load` gives the first."""
        return [load_audio(clip, max_audio_seconds=self.max_audio_seconds) for clip in sample.clips]

    def encode(self, sample: AudioQASample, response: str | None = None) -> Example:
        """Inputs of a prompt, or of a prompt and a response whose tokens and end token carry the labels."""
        return self.encode_waveforms(sample, self.load_clips(sample), response)

    def encode_waveform(self, sample: AudioQASample, waveform: np.ndarray, response: str | None = None) -> Example:
        """As `encode`, for a given waveform: float32, shape (samples,), 16 kHz."""
        return self.encode_waveforms(sample, [waveform], response)

    def encode_waveforms(
        self, sample: AudioQASample, waveforms: Sequence[np.ndarray], response: str | None = None
    ) -> Example:
        """As `encode`, for given waveforms of its clips."""
        extractor = self.processor.feature_extractor
        features = [torch.as_tensor(self.clips.features(extractor, waveform)) for waveform in waveforms]
        frames = [self.clips.frames_of(len(waveform)) for waveform in waveforms]
        example = self._encode_chat(self.prompt.user_text(sample), response, features, frames, sample.id)
        return _with_clips(example, features, waveforms if self.keep_waveform else ())

    def encode_chat(
        self, user_text: str, response: str | None, features: torch.Tensor | None, sample_id: str = "text"
    ) -> Example:
        """Inputs of one chat turn over mel features (mel_bins, frames), or over none for a chat without audio."""
        clips = [] if features is None else [features]
        return self._encode_chat(user_text, response, clips, [clip.shape[1] for clip in clips], sample_id)

    def _encode_chat(
        self, user_text: str, response: str | None, features: Sequence[torch.Tensor], frames: list[int], sample_id: str
    ) -> Example:
        audio_tokens = [self.clips.tokens_of(of_clip) for of_clip in frames]
        ids, labels = self.token_ids(self.chat_text(user_text, audio_tokens, sample_id)), None
        if response is None:
            ids += self.opening_ids
        else:
            self._require_plain(response, sample_id)
            response_ids = self.token_ids(response) + [self.end_of_turn_id]
            ids, labels = ids + response_ids, [IGNORED_LABEL] * len(ids) + response_ids
        example = Example(ids, labels, None, sample_id=sample_id, frames=tuple(frames), audio_tokens=sum(audio_tokens))
        return _with_clips(example, features)

    def length(self, sample: AudioQASample, response: str | None = None) -> int:
        """Number of tokens of the encoded sample, from the files' headers without decoding them; raises `InputError` for
        more than `max_tokens`."""
        self._require_plain(response or "", sample.id)
        audio_tokens = self.audio_tokens(sample)
        text = self.prompt_text(sample, *(1 for _ in audio_tokens)) + (response or "")
        more = len(self.opening_ids) if response is None else 1  # the end token
        length = len(self.token_ids(text)) + sum(tokens - 1 for tokens in audio_tokens) + more
        if self.max_tokens is not None and length > self.max_tokens:
            raise InputError(
                f"sample {sample.id!r}: a prompt of {length} tokens, {sum(audio_tokens)} of them audio, is longer than the "
                f"{self.max_tokens} that the model has positions for: lower max_audio_seconds"
            )
        return length


def describe_clips(samples: list[AudioQASample], max_audio_seconds: float) -> str:
    """How many clips are cropped or truncated by their headers, as `; 2 clips cropped at 60 s, 1 clips truncated`."""
    infos = [probe_audio(path) for path in sorted({clip for sample in samples for clip in sample.clips})]
    cropped = sum(info.seconds > max_audio_seconds for info in infos)
    truncated = sum(info.promised_frames > info.frames for info in infos)
    words = [f"{cropped} clips cropped at {max_audio_seconds:g} s"] if cropped else []
    words += [f"{truncated} clips truncated"] if truncated else []
    return "; " + ", ".join(words) if words else ""


def collate(examples: list[Example], pad_token_id: int, padding_side: str) -> dict[str, torch.Tensor]:
    """Pad examples to one batch.

    Returns `input_ids`, `attention_mask` and, where the examples have them, `labels`, all (batch, tokens), and
    `input_features` (clips, mel_bins, frames) with `feature_attention_mask` (clips, frames), clips in batch order; where
    all clips are encoded already, `audio_embeddings` (audio tokens of all clips, hidden) in their place.
    """
    length = max(len(example.input_ids) for example in examples)

    def pad(values: list[int], fill: int) -> list[int]:
        missing = [fill] * (length - len(values))
        return missing + values if padding_side == "left" else values + missing

    batch = {
        "input_ids": torch.tensor([pad(example.input_ids, pad_token_id) for example in examples]),
        "attention_mask": torch.tensor([pad([1] * len(example.input_ids), 0) for example in examples]),
    }
    if all(example.labels is not None for example in examples):
        batch["labels"] = torch.tensor([pad(example.labels, IGNORED_LABEL) for example in examples])
    with_audio = [example for example in examples if example.input_features is not None]
    if with_audio and all(example.audio_embeddings is not None for example in with_audio):
        batch["audio_embeddings"] = torch.cat([example.audio_embeddings for example in with_audio])
        return batch
    clips = [features for example in with_audio for features in example.features]
    if clips:
        columns = max(clip.shape[1] for clip in clips)
        batch["input_features"] = torch.stack(
            [torch.nn.functional.pad(clip, (0, columns - clip.shape[1])) for clip in clips]
        )
        frames = [count for example in with_audio for count in example.frames]
        batch["feature_attention_mask"] = torch.tensor(
            [[1] * count + [0] * (columns - count) for count, _ in zip(frames, clips, strict=True)]
        )
    return batch
