"""Parameter counts of a model from its shapes, on the meta device: no weights are read."""

from dataclasses import dataclass

import torch

from ..model.checkpoints import load_thinker_config, lora_layers
from ..model.families.registry import family_of


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

    @property
    def total(self) -> int:
        return self.language + self.towers


def measure_model(source: str, lora_targets: str | None, lora_rank: int) -> ModelSize:
    """Count the thinker of a folder or Hub id, as `measure_thinker`."""
    return measure_thinker(load_thinker_config(source), lora_targets, lora_rank)


def measure_thinker(config, lora_targets: str | None, lora_rank: int) -> ModelSize:
    """Count a thinker's parameters; `lora_targets` None are the base's, and `lora_rank` 0 counts no adapter."""
    family = family_of(config)
    with torch.device("meta"):
        model = family.thinker(config)
    audio = sum(parameter.numel() for module in model.clip_encoder for parameter in module.parameters())
    towers = audio + (sum(p.numel() for p in model.visual.parameters()) if hasattr(model, "visual") else 0)
    matched = lora_layers(model, lora_targets or family.lora_targets) if lora_rank else []
    lora = sum(lora_rank * (layer.in_features + layer.out_features) for layer in matched)
    text = config.text_config
    total = sum(p.numel() for p in model.parameters())
    return ModelSize(
        language=total - towers,
        towers=towers,
        lora=lora,
        hidden=text.hidden_size,
        intermediate=text.intermediate_size,
        layers=text.num_hidden_layers,
        vocabulary=text.vocab_size,
        cached=2 * text.num_key_value_heads * text.hidden_size // text.num_attention_heads,
        audio=audio,
    )
