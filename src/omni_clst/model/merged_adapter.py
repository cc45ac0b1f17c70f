"""Merge a LoRA adapter into its base while completions are generated, and give the base back bit by bit.

An unmerged adapter launches four kernels more for every layer it adapts, and casts where it is float32. Adding its change
to a weight and subtracting it again would leave rounding behind, so the original weights are put aside for the time and put
back.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from peft.tuners.lora import LoraLayer


@contextmanager
def adapter_merged(model: torch.nn.Module) -> Iterator[None]:
    """Within, the active adapters are merged; takes memory for a second copy of the adapted weights."""
    layers = [module for module in model.modules() if isinstance(module, LoraLayer)]
    weights = [_weight_of(layer) for layer in layers]
    originals = [weight.data for weight in weights]
    try:
        for layer in layers:
            _merge(layer)
        yield
    finally:
        for layer, weight, original in zip(layers, weights, originals, strict=True):
            weight.data = original
            layer.merged_adapters.clear()


def _weight_of(layer: LoraLayer) -> torch.nn.Parameter:
    """The adapted weight: of a linear layer, or the stacked matrices of experts."""
    return layer.get_base_layer().get_parameter(getattr(layer, "parameter_name", "weight"))


@torch.no_grad()
def _merge(layer: LoraLayer) -> None:
    """Give the layer a merged weight in new memory; its forward then computes no adapter."""
    weight = _weight_of(layer)
    merged = weight.detach().clone()
    for adapter in layer.active_adapters:
        merged += layer.get_delta_weight(adapter).to(merged.dtype)
    weight.data = merged
    layer.merged_adapters.extend(layer.active_adapters)
