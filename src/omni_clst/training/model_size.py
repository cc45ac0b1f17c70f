"""Parameter counts of a model from its shapes, on the meta device: no weights are read."""

from dataclasses import dataclass

import torch

from ..model.checkpoints import load_model_config, lora_layers
from ..model.config import LANGUAGE_MODEL_LINEAR
from ..model.thinker import OmniThinker


@dataclass(frozen=True)
class ModelSize:
    """Parameter counts of a thinker, and the sizes that its activations depend on."""

    language: int
    towers: int
    lora: int
    hidden: int
    intermediate: int
    layers: int
    vocabulary: int
    cached: int  # values in the cache per token and layer: keys and values of all heads
    audio: int = 0  # the part of the towers that encodes clips
    adapted: int = 0  # weights of the layers that have an adapter
    linear: int = 0  # weights of the language model's linear layers, which can be quantised

    @property
    def total(self) -> int:
        return self.language + self.towers


def measure_model(source: str, lora_targets: str | None, lora_rank: int) -> ModelSize:
    """Count the thinker of a folder or Hub id; `lora_targets` None counts no adapter."""
    return measure_thinker(load_model_config(source).thinker_config, lora_targets, lora_rank)


def measure_thinker(config, lora_targets: str | None, lora_rank: int) -> ModelSize:
    """Count a thinker's parameters; `lora_targets` None counts no adapter."""
    with torch.device("meta"):
        model = OmniThinker(config)
    audio, visual = (sum(p.numel() for p in tower.parameters()) for tower in (model.audio_tower, model.visual))
    matched = lora_layers(model, lora_targets) if lora_targets else []
    lora = sum(lora_rank * (layer.in_features + layer.out_features) for layer in matched)
    text = config.text_config
    total = sum(p.numel() for p in model.parameters())
    return ModelSize(
        language=total - audio - visual,
        towers=audio + visual,
        lora=lora,
        hidden=text.hidden_size,
        intermediate=text.intermediate_size,
        layers=text.num_hidden_layers,
        vocabulary=text.vocab_size,
        cached=2 * text.num_key_value_heads * text.hidden_size // text.num_attention_heads,
        audio=audio,
        adapted=sum(layer.weight.numel() for layer in matched),
        linear=sum(layer.weight.numel() for layer in lora_layers(model, LANGUAGE_MODEL_LINEAR)),
    )
