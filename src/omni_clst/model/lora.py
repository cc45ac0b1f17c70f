"""LoRA adapters: which linear layers and experts they adapt, by a pattern of full names, and adding one to a thinker."""

import re

import torch
from peft import LoraConfig, PeftModel, get_peft_model

from ..errors import InputError
from .families.registry import family_of
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


def make_lora(model: OmniThinker, rank: int, alpha: float, targets: str | None = None, dropout: float = 0.0) -> LoraConfig:
    """LoRA (Hu et al. 2021) on the linear layers and experts whose full name matches `targets`, without them on those of
    the base; raises `InputError` if none does.

    Matched on the full name, since the towers have layers with the same last names.
    """
    targets = targets or family_of(model.config).lora_targets
    layers, experts = lora_layers(model, targets), lora_experts(model, targets)
    if experts and dropout:
        raise InputError(
            f"lora_dropout {dropout:g}: LoRA on experts has none; set it to 0, or leave them out of lora_targets"
        )
    return LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=list(layers) if model.experts else targets,  # PEFT widens a pattern over a model with experts
        target_parameters=list(experts) or None,
        task_type="CAUSAL_LM",
    )


def add_lora(model: OmniThinker, base: str, lora: LoraConfig, float32: bool) -> PeftModel:
    """Freeze the thinker and add an adapter with `base` as its base model.

    `float32` keeps the adapter in float32 on a bfloat16 model, which ZeRO-3 does not support.
    """
    peft_model = get_peft_model(model, lora, autocast_adapter_dtype=float32)
    peft_model.peft_config["default"].base_model_name_or_path = base
    return peft_model
