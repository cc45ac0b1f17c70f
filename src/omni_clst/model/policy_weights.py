"""The weights of a policy in training, one at a time, as a plain model would have them."""

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext

import torch
from peft.tuners.lora import LoraLayer


def policy_weights(model: torch.nn.Module, in_pieces: bool) -> Iterator[tuple[str, torch.Tensor]]:
    """Names as in the thinker's state dict, and weights with their adapter's change added.

    Nothing in the model is changed: an adapter that is merged and taken out again would leave rounding behind. With
    `in_pieces` (ZeRO-3) a weight is gathered when its turn comes, so all processes have to go through all of them.
    """
    layers = {name: module for name, module in model.named_modules() if isinstance(module, LoraLayer)}
    for name, parameter in model.named_parameters(remove_duplicate=True):
        owner, _, kind = name.rpartition(".")
        if ".lora_" in name:
            continue
        layer = _layer_of(owner, kind, layers)
        needed = [parameter, *_adapter_parameters(layer)]
        with torch.no_grad(), _gathered(needed, in_pieces):
            weight = parameter.detach()
            if layer is not None:
                for adapter in layer.active_adapters:
                    weight = weight + layer.get_delta_weight(adapter).to(weight.dtype)
            yield _plain_name(name), weight


def _layer_of(owner: str, kind: str, layers: dict[str, LoraLayer]) -> LoraLayer | None:
    """The layer that adapts a weight: around a linear layer, or one of those around experts, each for one parameter."""
    while owner.endswith(".base_layer"):
        owner = owner.removesuffix(".base_layer")
        if getattr(layers[owner], "parameter_name", "weight") == kind:
            return layers[owner]
    return None


def _adapter_parameters(layer: LoraLayer | None) -> list[torch.nn.Parameter]:
    if layer is None:
        return []
    return [part[name].get_parameter("weight") for name in layer.active_adapters for part in (layer.lora_A, layer.lora_B)]


def _gathered(parameters: list[torch.nn.Parameter], in_pieces: bool) -> AbstractContextManager:
    if not in_pieces:
        return nullcontext()
    from deepspeed import zero

    return zero.GatheredParameters(parameters)


def _plain_name(name: str) -> str:
    return re.sub(r"(\.base_layer)+\.", ".", name.removeprefix("module.").removeprefix("base_model.model."))
