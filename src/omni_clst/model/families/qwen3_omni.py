"""Qwen3-Omni-30B-A3B: a mixture of experts; clips of any length, 13 audio tokens a second.

Source: `config.json` of huggingface.co/Qwen/Qwen3-Omni-30B-A3B-Instruct, and transformers' `Qwen3OmniMoeProcessor`.
"""

import math
import re
from collections.abc import Iterator

import numpy as np
import torch
from transformers import (
    Qwen3OmniMoeConfig,
    Qwen3OmniMoeForConditionalGeneration,
    Qwen3OmniMoeProcessor,
    Qwen3OmniMoeThinkerConfig,
    Qwen3OmniMoeThinkerForConditionalGeneration,
)

from ...data.audio import HOP_LENGTH, SAMPLING_RATE
from ...data.clip_format import ClipFormat
from ...data.mel import require_token
from ..thinker import OmniThinker, training_forward
from .family import Family, Weights, convert_as_released, under_thinker, without_dtype

CHUNK_FRAMES, CHUNK_TOKENS = 100, 13  # the audio tower's windows of a second


class Qwen3OmniThinker(OmniThinker, Qwen3OmniMoeThinkerForConditionalGeneration):
    """`Qwen3OmniMoeThinkerForConditionalGeneration` with the training forwards, without a loss of the router."""

    UNUSED = ("visual",)
    forward = training_forward(Qwen3OmniMoeThinkerForConditionalGeneration.forward)

    def __init__(self, config):
        super().__init__(config)
        config.text_config.output_router_logits = False  # which would add the router's loss to that of the answers

    def get_audio_features(self, input_features, feature_attention_mask, *_, **options):
        """The released encodings of clips, where none is shorter than a window; else those beside a longer clip.

        The release pads windows to the longest one of a batch, which reaches into the encodings of a clip under a second:
        alone it would be encoded otherwise than in a batch.
        """
        missing = CHUNK_FRAMES - int(feature_attention_mask.sum(dim=-1).max())
        if missing <= 0:
            return super().get_audio_features(input_features, feature_attention_mask, **options)
        pad = (0, CHUNK_FRAMES - input_features.shape[-1])
        features = torch.nn.functional.pad(input_features, pad)
        mask = torch.nn.functional.pad(feature_attention_mask, pad)
        silence, whole = torch.zeros_like(features[:1]), torch.ones_like(mask[:1])
        output = super().get_audio_features(torch.cat([features, silence]), torch.cat([mask, whole]), **options)
        output.last_hidden_state = output.last_hidden_state[:-CHUNK_TOKENS]
        return output


convert_as_released(Qwen3OmniThinker)


def frame_count(samples: int) -> int:
    """Mel frames of so many samples: whole ones only, since the clip is not padded."""
    return samples // HOP_LENGTH


def token_count(frames: int) -> int:
    """Audio tokens of a clip with so many mel frames: three convolutions of stride 2 within every window."""
    whole, rest = divmod(frames, CHUNK_FRAMES)
    return CHUNK_TOKENS * whole + -(-rest // 8)


def unpadded_features(feature_extractor, waveform: np.ndarray) -> np.ndarray:
    """The features (mel_bins, frames) of one clip alone, without any padding."""
    require_token([waveform])
    stock = feature_extractor(waveform, sampling_rate=SAMPLING_RATE, padding=True, truncation=False, return_tensors="np")
    return np.ascontiguousarray(stock["input_features"][0])


def whole_frames(waveform: np.ndarray) -> np.ndarray:
    """The clip without the last samples (under 10 ms) that make no mel frame: vLLM counts one frame less with them."""
    return waveform[: len(waveform) // HOP_LENGTH * HOP_LENGTH]


def released_weights(weights: Weights) -> Iterator[tuple[str, torch.Tensor]]:
    """The weights by the released checkpoint's names, in which every expert has matrices of its own."""
    return under_thinker(part for name, tensor in weights for part in _by_expert(name, tensor))


def _by_expert(name: str, tensor: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
    match = re.fullmatch(r"(.+\.mlp\.experts)\.(gate_up_proj|down_proj)", name)
    if match is None:
        yield name, tensor
        return
    for number, of_expert in enumerate(tensor):
        names = ("gate_proj", "up_proj") if match[2] == "gate_up_proj" else ("down_proj",)
        for part, matrix in zip(names, of_expert.chunk(len(names)), strict=True):
            yield f"{match[1]}.{number}.{part}.weight", matrix.clone()  # a view could not be saved


def whole_config(thinker: Qwen3OmniMoeThinkerConfig) -> Qwen3OmniMoeConfig:
    """The configuration of a model without speech output around a thinker's."""
    return Qwen3OmniMoeConfig(thinker_config=without_dtype(thinker.to_dict()), enable_audio_output=False)


FAMILY = Family(
    name="Qwen3-Omni",
    model_type="qwen3_omni_moe",
    config=Qwen3OmniMoeConfig,
    thinker_config=Qwen3OmniMoeThinkerConfig,
    processor=Qwen3OmniMoeProcessor,
    thinker=Qwen3OmniThinker,
    whole=Qwen3OmniMoeForConditionalGeneration,
    architecture="Qwen3OmniMoeForConditionalGeneration",
    clips=ClipFormat("Qwen3-Omni", math.inf, 13.0, frame_count, token_count, unpadded_features),
    lora_targets=r"model\.layers\.\d+\.self_attn\.\w+_proj",
    released_weights=released_weights,
    whole_config=whole_config,
    speech=("talker.", "code2wav."),
    vllm_clip=whole_frames,
    vllm_reload=False,  # answers after a reload were not those of the new experts (vLLM 0.31.0, CPU)
    shapes={
        "Qwen3-Omni-30B-A3B": {
            "text_config": {
                "hidden_size": 2048, "intermediate_size": 768, "moe_intermediate_size": 768, "num_hidden_layers": 48,
                "num_attention_heads": 32, "num_key_value_heads": 4, "head_dim": 128, "vocab_size": 152064,
                "num_experts": 128, "num_experts_per_tok": 8, "max_position_embeddings": 65536,
            },
            "audio_config": {"output_dim": 2048},
            "vision_config": {"out_hidden_size": 2048},
        }
    },
)  # fmt: skip
