"""Make the tiny Qwen2.5-Omni of the embedded world: processor and configuration of the released model's classes.

About 1.4 M parameters; only the sizes differ from the released model.
"""

import json
import math
from collections.abc import Mapping

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    Qwen2_5OmniConfig,
    Qwen2_5OmniProcessor,
    Qwen2_5OmniThinkerConfig,
    Qwen2TokenizerFast,  # ty: ignore[missing-module-member]  # exported lazily
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,  # ty: ignore[missing-module-member]  # exported lazily
    WhisperFeatureExtractor,
)

END_OF_TEXT, TURN_START, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
MULTIMODAL_TOKENS = {
    "image_token": "<|IMAGE|>",
    "audio_token": "<|AUDIO|>",
    "video_token": "<|VIDEO|>",
    "vision_bos_token": "<|vision_bos|>",
    "vision_eos_token": "<|vision_eos|>",
    "audio_bos_token": "<|audio_bos|>",
    "audio_eos_token": "<|audio_eos|>",
}
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'audio' %}<|audio_bos|><|AUDIO|><|audio_eos|>"
    "{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
MEL_BINS = 64
SHORTEST_WINDOW_SECONDS = 3.0


def train_tokenizer(
    corpus: list[str], vocab_size: int = 700, tokens: Mapping[str, str] = MULTIMODAL_TOKENS
) -> Qwen2TokenizerFast:
    """A byte-level BPE trained on the world's words, which become single tokens; any other text can be encoded too."""
    released = Qwen2TokenizerFast()._tokenizer  # for its splitting rules, which saving and loading keep
    bpe = Tokenizer(models.BPE())
    bpe.normalizer, bpe.pre_tokenizer = released.normalizer, released.pre_tokenizer
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        corpus, trainers.BpeTrainer(vocab_size=vocab_size, initial_alphabet=alphabet, show_progress=False)
    )
    learned = json.loads(bpe.to_str())["model"]
    return Qwen2TokenizerFast(
        vocab=learned["vocab"],
        merges=[tuple(merge) for merge in learned["merges"]],
        eos_token=TURN_END,
        pad_token=END_OF_TEXT,
        unk_token=END_OF_TEXT,
        extra_special_tokens={**tokens, "turn_start_token": TURN_START},
    )


def make_processor(corpus: list[str], chunk_seconds: int = 30) -> Qwen2_5OmniProcessor:
    """A processor with the parts of the released one and a tokenizer trained on `corpus`."""
    return Qwen2_5OmniProcessor(
        image_processor=Qwen2VLImageProcessor(),
        video_processor=Qwen2VLVideoProcessor(),
        feature_extractor=WhisperFeatureExtractor(feature_size=MEL_BINS, chunk_length=chunk_seconds),
        tokenizer=train_tokenizer(corpus),
        chat_template=CHAT_TEMPLATE,
    )


def _mrope_section(head_dim: int) -> list[int]:
    """The numbers of rotary frequencies for time, height and width, in the released proportions."""
    half = head_dim // 2
    spatial = 3 * half // 8
    return [half - 2 * spatial, spatial, spatial]


def make_config(
    processor: Qwen2_5OmniProcessor,
    hidden: int = 128,
    layers: int = 4,
    audio_layers: int = 2,
    clip_seconds: float = SHORTEST_WINDOW_SECONDS,
) -> Qwen2_5OmniConfig:
    """The configuration of a model without speech output, with a tiny thinker."""
    thinker = make_thinker_config(processor, hidden, layers, audio_layers, clip_seconds)
    talker = {"vocab_size": 152064}  # unused; its default text ids exceed its default vocabulary
    return Qwen2_5OmniConfig(thinker_config=thinker, talker_config=talker, enable_audio_output=False)


def make_thinker_config(
    processor: Qwen2_5OmniProcessor,
    hidden: int = 128,
    layers: int = 4,
    audio_layers: int = 2,
    clip_seconds: float = SHORTEST_WINDOW_SECONDS,
) -> Qwen2_5OmniThinkerConfig:
    """The thinker's configuration, with the token ids of `processor`; one attention window covers a clip."""
    token_id = processor.tokenizer.convert_tokens_to_ids
    return Qwen2_5OmniThinkerConfig(
        audio_config={
            "num_mel_bins": MEL_BINS,
            "encoder_layers": audio_layers,
            "encoder_attention_heads": 4,
            "encoder_ffn_dim": 2 * hidden,
            "d_model": hidden,
            "output_dim": hidden,
            "n_window": 2 * math.ceil(25 * max(clip_seconds, SHORTEST_WINDOW_SECONDS)),  # of half the frames, 100 a second
        },
        vision_config={
            "depth": 1,
            "hidden_size": 32,
            "intermediate_size": 32,
            "num_heads": 2,
            "out_hidden_size": hidden,
            "fullatt_block_indexes": [0],
        },
        text_config={
            "vocab_size": len(processor.tokenizer),
            "hidden_size": hidden,
            "intermediate_size": 3 * hidden,
            "num_hidden_layers": layers,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 4096,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10_000.0,
                "mrope_section": _mrope_section(hidden // 4),
            },
            "tie_word_embeddings": False,
        },
        audio_token_index=token_id(MULTIMODAL_TOKENS["audio_token"]),
        image_token_index=token_id(MULTIMODAL_TOKENS["image_token"]),
        video_token_index=token_id(MULTIMODAL_TOKENS["video_token"]),
        audio_start_token_id=token_id(MULTIMODAL_TOKENS["audio_bos_token"]),
        audio_end_token_id=token_id(MULTIMODAL_TOKENS["audio_eos_token"]),
        # further keys are kept as attributes, which the constructor's signature does not state
        vision_start_token_id=token_id(MULTIMODAL_TOKENS["vision_bos_token"]),  # ty: ignore[unknown-argument]
        vision_end_token_id=token_id(MULTIMODAL_TOKENS["vision_eos_token"]),  # ty: ignore[unknown-argument]
        pad_token_id=processor.tokenizer.pad_token_id,  # ty: ignore[unknown-argument]
    )
