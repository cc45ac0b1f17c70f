"""A tiny random model and a processor of the released classes for every base."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import (
    Qwen2_5OmniThinkerForConditionalGeneration,
    Qwen2AudioConfig,
    Qwen2AudioForConditionalGeneration,
    Qwen2AudioProcessor,
    Qwen2TokenizerFast,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
    Qwen3OmniMoeProcessor,
    Qwen3OmniMoeThinkerConfig,
    Qwen3OmniMoeThinkerForConditionalGeneration,
    WhisperFeatureExtractor,
)

from omni_clst.data.prompts import make_prompt
from omni_clst.demo.pretrain import tokenizer_corpus
from omni_clst.demo.tiny import CHAT_TEMPLATE, MEL_BINS, MULTIMODAL_TOKENS, make_config, make_processor, train_tokenizer
from omni_clst.model.checkpoints import save_omni, write_prompt
from omni_clst.model.families.family import Family
from omni_clst.model.families.registry import FAMILIES

QWEN3_TOKENS = {  # in the place of Qwen2.5-Omni's
    "<|IMAGE|>": "<|image_pad|>", "<|AUDIO|>": "<|audio_pad|>", "<|VIDEO|>": "<|video_pad|>",
    "<|vision_bos|>": "<|vision_start|>", "<|vision_eos|>": "<|vision_end|>",
    "<|audio_bos|>": "<|audio_start|>", "<|audio_eos|>": "<|audio_end|>",
}  # fmt: skip


@dataclass(frozen=True)
class TinyBase:
    """How a base is made tiny: its processor, and the whole configuration for a tokenizer. `stock` is transformers' class
    of its thinker; `speech` whether releases have a talker."""

    make_processor: Callable
    make_config: Callable
    stock: type
    audio_token: str = "<|AUDIO|>"


def _omni3_processor() -> Qwen3OmniMoeProcessor:
    template = CHAT_TEMPLATE
    for old, new in QWEN3_TOKENS.items():
        template = template.replace(old, new)
    return Qwen3OmniMoeProcessor(
        image_processor=Qwen2VLImageProcessor(),
        video_processor=Qwen2VLVideoProcessor(),
        feature_extractor=WhisperFeatureExtractor(feature_size=MEL_BINS, chunk_length=30),
        tokenizer=train_tokenizer(
            tokenizer_corpus(), tokens={name: QWEN3_TOKENS[token] for name, token in MULTIMODAL_TOKENS.items()}
        ),
        chat_template=template,
    )


def _audio_processor() -> Qwen2AudioProcessor:
    return Qwen2AudioProcessor(WhisperFeatureExtractor(feature_size=MEL_BINS), train_tokenizer(tokenizer_corpus()))


def _text(tokenizer: Qwen2TokenizerFast, hidden: int, **more) -> dict:
    return {
        "vocab_size": len(tokenizer), "hidden_size": hidden, "intermediate_size": 3 * hidden, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 4096, "tie_word_embeddings": False,
        **more,
    }  # fmt: skip


def _audio_config(processor, hidden: int) -> Qwen2AudioConfig:
    tokenizer = processor.tokenizer
    return Qwen2AudioConfig(
        audio_config={
            "num_mel_bins": MEL_BINS, "encoder_layers": 1, "encoder_attention_heads": 4, "encoder_ffn_dim": 2 * hidden,
            "d_model": hidden,
        },
        text_config=_text(tokenizer, hidden),
        audio_token_index=tokenizer.convert_tokens_to_ids("<|AUDIO|>"),
    )  # fmt: skip


def _omni3_config(processor, hidden: int):
    token_id = processor.tokenizer.convert_tokens_to_ids
    text = _text(
        processor.tokenizer, hidden, head_dim=32, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=64,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [8, 4, 4],
                         "mrope_interleaved": True},
    )  # fmt: skip
    thinker = Qwen3OmniMoeThinkerConfig(
        audio_config={
            "num_mel_bins": MEL_BINS, "encoder_layers": 1, "encoder_attention_heads": 4, "encoder_ffn_dim": 2 * hidden,
            "d_model": hidden, "output_dim": hidden, "downsample_hidden_size": 16,
        },
        vision_config={
            "depth": 1, "hidden_size": 32, "intermediate_size": 32, "num_heads": 2, "out_hidden_size": hidden,
            "deepstack_visual_indexes": [0], "image_size": 64, "apply_vit_abs_pos_embed": True,  # the last two for vLLM
        },
        text_config=text,
        audio_token_id=token_id("<|audio_pad|>"), image_token_id=token_id("<|image_pad|>"),
        video_token_id=token_id("<|video_pad|>"), audio_start_token_id=token_id("<|audio_start|>"),
        vision_start_token_id=token_id("<|vision_start|>"), vision_end_token_id=token_id("<|vision_end|>"),
    )  # fmt: skip
    return next(family for family in FAMILIES if family.name == "Qwen3-Omni").whole_config(thinker)


TINY = {  # one row a base
    "Qwen2.5-Omni": TinyBase(
        lambda: make_processor(tokenizer_corpus()),
        lambda processor, hidden: make_config(processor, hidden=hidden, layers=2, audio_layers=1),
        Qwen2_5OmniThinkerForConditionalGeneration,
    ),
    "Qwen2-Audio": TinyBase(_audio_processor, _audio_config, Qwen2AudioForConditionalGeneration),
    "Qwen3-Omni": TinyBase(_omni3_processor, _omni3_config, Qwen3OmniMoeThinkerForConditionalGeneration, "<|audio_pad|>"),
}


def family_named(name: str) -> Family:
    return next(family for family in FAMILIES if family.name == name)


def make_tiny(name: str, folder: Path, seed: int = 0, hidden: int = 32, gain: float = 5.0) -> Path:
    """Save a random model of a base with its processor in the released layout."""
    family, tiny = family_named(name), TINY[name]
    torch.manual_seed(seed)
    processor = tiny.make_processor()
    config = tiny.make_config(processor, hidden)
    model = family.thinker(family.thinker_of(config))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim >= 2:
                parameter.mul_(gain)  # far from uniform, so that answers differ
    save_omni(folder, model.state_dict(), config, base=None)
    processor.save_pretrained(folder)
    torch.save({}, folder / "spk_dict.pt")  # transformers' class of the whole Qwen2.5-Omni does not load without one
    write_prompt(folder, make_prompt("demo_direct", system=""))
    return folder
