"""Qwen2.5-Omni-3B and -7B: clips of up to 300 s, 25 audio tokens a second.

Source: `config.json` of huggingface.co/Qwen/Qwen2.5-Omni-3B and -7B, and transformers' `Qwen2_5OmniProcessor`.
"""

from typing import Any

from transformers import (
    Qwen2_5OmniConfig,
    Qwen2_5OmniForConditionalGeneration,
    Qwen2_5OmniProcessor,
    Qwen2_5OmniThinkerConfig,
    Qwen2_5OmniThinkerForConditionalGeneration,
)

from ...data.clip_format import ClipFormat
from ...data.mel import padded_length
from ..thinker import OmniThinker, training_forward
from .family import Family, under_thinker, without_dtype

_AUDIO = {"d_model": 1280, "encoder_layers": 32, "encoder_attention_heads": 20, "encoder_ffn_dim": 5120}
_VISION = {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16}


class Qwen2_5OmniThinker(OmniThinker, Qwen2_5OmniThinkerForConditionalGeneration):
    """`Qwen2_5OmniThinkerForConditionalGeneration` with the training forwards."""

    UNUSED = ("visual", "audio_tower.audio_bos_eos_token")
    forward = training_forward(Qwen2_5OmniThinkerForConditionalGeneration.forward)


def whole_config(thinker: Qwen2_5OmniThinkerConfig) -> Qwen2_5OmniConfig:
    """The configuration of a model without speech output around a thinker's."""
    # a vocabulary size for the absent talker: its default text ids exceed its default vocabulary
    return Qwen2_5OmniConfig(
        thinker_config=without_dtype(thinker.to_dict()), talker_config={"vocab_size": 152064}, enable_audio_output=False
    )


def vllm_options(feature_extractor, samples: int) -> dict[str, Any]:
    """The stock extractor would cut a clip at its chunk_length, and pad each to it."""
    return {"truncation": False, "max_length": padded_length(feature_extractor, samples)}


def _shape(**text) -> dict:
    width = text["hidden_size"]
    return {
        "text_config": text,
        "audio_config": {**_AUDIO, "output_dim": width},
        "vision_config": {**_VISION, "out_hidden_size": width},
    }


FAMILY = Family(
    name="Qwen2.5-Omni",
    model_type="qwen2_5_omni",
    config=Qwen2_5OmniConfig,
    thinker_config=Qwen2_5OmniThinkerConfig,
    processor=Qwen2_5OmniProcessor,
    thinker=Qwen2_5OmniThinker,
    whole=Qwen2_5OmniForConditionalGeneration,
    whole_needs=("spk_dict.pt",),  # speakers; also of a model that does not speak
    architecture="Qwen2_5OmniModel",
    clips=ClipFormat(),
    lora_targets=r"model\.layers\.\d+\.(self_attn|mlp)\.\w+_proj",
    released_weights=under_thinker,
    whole_config=whole_config,
    speech=("talker.", "token2wav."),
    vllm_options=vllm_options,
    vllm_server=True,
    shapes={
        "Qwen2.5-Omni-3B": _shape(
            hidden_size=2048, intermediate_size=11008, num_hidden_layers=36, num_attention_heads=16, num_key_value_heads=2,
            vocab_size=151936,
        ),
        "Qwen2.5-Omni-7B": _shape(
            hidden_size=3584, intermediate_size=18944, num_hidden_layers=28, num_attention_heads=28, num_key_value_heads=4,
            vocab_size=152064,
        ),
    },
)  # fmt: skip
