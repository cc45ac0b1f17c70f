"""Which layers an adapter adapts: linear layers and experts whose full name matches a pattern."""

import re

import torch

from ..errors import InputError
from .thinker import OmniThinker


def lora_experts(model: OmniThinker, targets: str) -> dict[str, torch.nn.Parameter]:
    """The stacked matrices of experts whose full name matches `targets`."""
    return {name: matrices for name, matrices in model.experts.items() if re.fullmatch(targets, name)}


def lora_layers(model: OmniThinker, targets: str) -> dict[str, torch.nn.Linear]:
    """The linear layers whose full name matches `targets`; raises `InputError` if neither they nor experts do."""
    linear = {name: module for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    matched = {name: module for name, module in linear.items() if re.fullmatch(targets, name)}
    if not matched and not lora_experts(model, targets):
        raise InputError(f"lora_targets {targets!r} matches none of the model's {len(linear)} linear layers")
    return matched
