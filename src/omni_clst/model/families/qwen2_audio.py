"""Qwen2-Audio-7B: clips of up to 30 s, each padded to 30 s for the audio tower; 25 audio tokens a second of the clip.

Source: `config.json` of huggingface.co/Qwen/Qwen2-Audio-7B-Instruct, and transformers' `Qwen2AudioProcessor`.
"""

import re
from collections.abc import Iterator

import numpy as np
import torch
from transformers import Qwen2AudioConfig, Qwen2AudioForConditionalGeneration, Qwen2AudioProcessor
from transformers.masking_utils import create_bidirectional_mask
from transformers.modeling_outputs import BaseModelOutput

from ...data.audio import SAMPLING_RATE
from ...data.clip_format import ClipFormat
from ...data.mel import require_token
from ..thinker import OmniThinker, training_forward
from .family import Family, Weights, convert_as_released

_RELEASED_NAMES = (  # ours, as transformers 5 has them, and those of the released checkpoint, which vLLM loads
    (r"model\.language_model\.", "language_model.model."),
    (r"lm_head\.", "language_model.lm_head."),
    (r"model\.", ""),  # audio_tower and multi_modal_projector
)


class Qwen2AudioThinker(OmniThinker, Qwen2AudioForConditionalGeneration):
    """`Qwen2AudioForConditionalGeneration` with the training forwards."""

    TEXT_MODEL = "model.language_model"
    CLIP_ENCODER = ("model.audio_tower", "model.multi_modal_projector")
    UNUSED = ("model.audio_tower.embed_positions",)  # a fixed table
    forward = training_forward(Qwen2AudioForConditionalGeneration.forward)

    def get_audio_features(self, input_features: torch.Tensor, feature_attention_mask: torch.Tensor) -> BaseModelOutput:
        """Encodings (audio tokens of all clips, hidden) of clips that are padded to 30 s, as the released forward's."""
        tower, projector = self.model.audio_tower, self.model.multi_modal_projector
        convolved, tokens = tower._get_feat_extract_output_lengths(feature_attention_mask.sum(dim=-1))  # (clips,)
        positions = torch.arange(input_features.shape[-1] // 2, device=convolved.device)  # after the convolutions
        states = input_features.new_zeros(len(convolved), len(positions), 1)
        is_clip = (positions < convolved.unsqueeze(-1)).long()
        mask = create_bidirectional_mask(config=tower.config, inputs_embeds=states, attention_mask=is_clip)
        encoded = projector(tower(input_features, attention_mask=mask).last_hidden_state)  # (clips, most tokens, hidden)
        is_token = positions[: encoded.shape[1]] < tokens.unsqueeze(-1)
        return BaseModelOutput(last_hidden_state=encoded[is_token])


convert_as_released(Qwen2AudioThinker)


def padded_features(feature_extractor, waveform: np.ndarray) -> np.ndarray:
    """The features (mel_bins, 3000) of one clip with its padding, which reaches into the clip's last encodings."""
    require_token([waveform])
    stock = feature_extractor(waveform, sampling_rate=SAMPLING_RATE, padding="max_length", return_tensors="np")
    return stock["input_features"][0]


def released_weights(weights: Weights) -> Iterator[tuple[str, torch.Tensor]]:
    """The weights by the released checkpoint's names."""
    for name, tensor in weights:
        old, new = next(pair for pair in _RELEASED_NAMES if re.match(pair[0], name))
        yield re.sub(f"^{old}", new, name), tensor


FAMILY = Family(
    name="Qwen2-Audio",
    model_type="qwen2_audio",
    config=Qwen2AudioConfig,
    thinker_config=Qwen2AudioConfig,
    processor=Qwen2AudioProcessor,
    thinker=Qwen2AudioThinker,
    whole=Qwen2AudioForConditionalGeneration,
    architecture="Qwen2AudioForConditionalGeneration",
    clips=ClipFormat("Qwen2-Audio", max_seconds=30.0, features=padded_features),
    lora_targets=r"model\.language_model\.layers\.\d+\.(self_attn|mlp)\.\w+_proj",
    released_weights=released_weights,
    whole_config=lambda config: config,
    shapes={
        "Qwen2-Audio-7B": {
            "text_config": {
                "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32,
                "num_key_value_heads": 32, "vocab_size": 156032, "max_position_embeddings": 8192,
            },
        }
    },
)  # fmt: skip
