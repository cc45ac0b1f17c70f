"""Parameter counts of a model from its shapes, on the meta device: no weights are read."""

from dataclasses import dataclass

import torch

from ..model.checkpoints import load_thinker_config
from ..model.families.registry import family_of
from ..model.lora import lora_experts, lora_layers
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
    idle: int = 0  # the part of the language model that a token is not multiplied with: experts that it is not routed to
    audio_rate: float = 25.0  # audio tokens of a second
    adapted: int = 0  # weights of the layers that have an adapter
    linear: int = 0  # weights of the language model's linear layers, which can be quantised

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
    lora = _lora_count(model, lora_targets or family.lora_targets, lora_rank) if lora_rank else 0
    text = config.text_config
    total = sum(p.numel() for p in model.parameters())
    experts = sum(matrices.numel() for matrices in model.experts.values())
    chosen = getattr(text, "num_experts_per_tok", 0)  # experts of a token
    head = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return ModelSize(
        language=total - towers,
        towers=towers,
        lora=lora,
        hidden=text.hidden_size,
        intermediate=chosen * text.moe_intermediate_size if chosen else text.intermediate_size,
        layers=text.num_hidden_layers,
        vocabulary=text.vocab_size,
        cached=2 * text.num_key_value_heads * head,
        audio=audio,
        idle=experts - experts * chosen // text.num_experts if chosen else 0,
        audio_rate=family.clips.tokens_per_second,
        adapted=_adapted_count(model, lora_targets or family.lora_targets) if lora_rank else 0,
        linear=sum(layer.weight.numel() for layer in model.text_model.modules() if isinstance(layer, torch.nn.Linear)),
    )


def _lora_count(model: OmniThinker, targets: str, rank: int) -> int:
    """Parameters of an adapter: every expert has matrices of its own."""
    layers = sum(layer.in_features + layer.out_features for layer in lora_layers(model, targets).values())
    experts = sum(len(matrices) * sum(matrices.shape[1:]) for matrices in lora_experts(model, targets).values())
    return rank * (layers + experts)


def _adapted_count(model: OmniThinker, targets: str) -> int:
    """Weights of the layers and experts that have an adapter."""
    adapted = [layer.weight for layer in lora_layers(model, targets).values()] + [*lora_experts(model, targets).values()]
    return sum(weight.numel() for weight in adapted)
