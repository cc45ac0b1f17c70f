"""Merge LoRA adapters in PEFT's format, of any trainer, into the thinker; what cannot be merged in full is an error.

Trainers wrap different models (the thinker, or the whole Omni model that contains it), so the names of a layer differ, in
keys and in `target_modules`. Here a key is assigned to the layer of the thinker that its name ends in. All keys of the
adapter are merged: an unknown key, and an A matrix without its B matrix, are errors.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import TypeVar

import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from peft.utils.other import get_pattern_key
from safetensors import SafetensorError
from safetensors.torch import load_file

from ..errors import InputError
from ..files import read_object

Model = TypeVar("Model", bound=torch.nn.Module)
ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
_WRAPPERS = {"base_model", "model", "module", "thinker"}  # prefixes in front of a thinker's layer name
_INNER_WRAPPERS = {"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "base_layer"}
_LORA_KEY = re.compile(
    r"(?P<layer>.+)\.(?:(?P<matrix>lora_[AB])(?:\.[^.]+)?\.weight|(?P<other>lora_embedding_[AB]|lora_magnitude_vector)(?:\.[^.]+)?)"
)
_USED_SETTINGS = {"r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora", "use_dora", "target_parameters"}
_IGNORED_SETTINGS = {  # they do not change the merged weights
    "task_type", "peft_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision", "inference_mode",
    "target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "modules_to_save", "lora_dropout",
    "fan_in_fan_out", "bias", "init_lora_weights", "megatron_core", "loftq_config", "eva_config", "corda_config",
    "lora_ga_config", "velora_config", "qalora_group_size", "runtime_config", "ensure_weight_tying",
}  # fmt: skip
_PLAIN_INITS = (True, False, "gaussian", "eva", "orthogonal", None)  # the others also change the base's weights


@dataclass(frozen=True)
class Adapter:
    """An adapter as read, not yet matched to a model: its settings, weights, and `(layer, part)` of every LoRA key."""

    folder: Path
    settings: dict
    weights: dict[str, torch.Tensor]
    lora_keys: dict[str, tuple[str, str]] = field(default_factory=dict)


def read_adapter(folder: Path) -> Adapter:
    """Read an adapter; raises `InputError` for one that cannot be merged: not LoRA, or an A or B matrix is missing."""
    settings = read_object(folder / ADAPTER_CONFIG)
    if settings.get("peft_type") != "LORA":
        raise InputError(f"{folder}: adapter of type {settings.get('peft_type')!r}, only 'LORA' can be merged")
    if settings.get("init_lora_weights", True) not in _PLAIN_INITS:
        raise InputError(
            f"{folder}: init_lora_weights {settings['init_lora_weights']!r} changes the base's weights too; merge the "
            "adapter with the program that trained it and give the merged folder"
        )
    for name, value in settings.items():
        if value and name not in _USED_SETTINGS | _IGNORED_SETTINGS:
            raise InputError(
                f"{folder}: {ADAPTER_CONFIG} has {name} {value!r}, which cannot be merged here; merge it with its trainer"
            )
    weights = _read_weights(folder)
    adapter = Adapter(folder, settings, weights, {key: part for key in weights if (part := _lora_part(key))})
    if not adapter.lora_keys:
        raise InputError(f"{folder}: no LoRA weights in the adapter, its keys are {_first(sorted(weights))}")
    parts = set(adapter.lora_keys.values())
    for layer, part in sorted(parts):
        other = part.translate(str.maketrans("AB", "BA")) if part.endswith(("A.weight", "B.weight", "_A", "_B")) else part
        if (layer, other) not in parts:
            raise InputError(f"{folder}: the adapter has {layer}.{part} and no {layer}.{other}")
    return adapter


def _read_weights(folder: Path) -> dict[str, torch.Tensor]:
    file = next((folder / name for name in ADAPTER_WEIGHTS if (folder / name).exists()), None)
    if file is None:
        raise InputError(f"{folder}: no {ADAPTER_WEIGHTS[0]} in it")
    try:
        return load_file(file) if file.suffix == ".safetensors" else torch.load(file, "cpu", weights_only=True)
    except UnpicklingError:  # torch's message is about its change of defaults
        raise InputError(f"{file}: cannot be read (not a file of tensors)") from None
    except (SafetensorError, RuntimeError, EOFError) as error:
        raise InputError(f"{file}: cannot be read ({str(error).splitlines()[0]})") from None


def _lora_part(key: str) -> tuple[str, str] | None:
    """(layer, part) of a LoRA key, without the adapter's name; None for any other key."""
    match = _LORA_KEY.fullmatch(key)
    if match is None:
        return None
    return match["layer"], f"{match['matrix']}.weight" if match["matrix"] else match["other"]


def merge_adapter(model: Model, adapter: Adapter) -> Model:
    """The thinker with the adapter merged; raises `InputError` with the keys that are unknown or missing."""
    modules, parameters = dict(model.named_modules()), dict(model.named_parameters())
    layer_of = {key: _thinker_name(layer, modules) for key, (layer, _) in adapter.lora_keys.items()}
    name_of = {key: _thinker_name(key, parameters) for key in adapter.weights.keys() - layer_of.keys()}
    unknown = [key for key, name in (layer_of | name_of).items() if name is None]
    if unknown:
        raise InputError(
            f"{adapter.folder}: {len(unknown)} of the adapter's {len(adapter.weights)} keys belong to no layer of the "
            f"thinker: {_first(sorted(unknown))}"
        )
    lora = {key: (layer, adapter.lora_keys[key][1]) for key, layer in layer_of.items() if layer is not None}
    full_weights = {key: name for key, name in name_of.items() if name is not None}
    _require_all_targets(adapter, modules, {layer for layer, _ in lora.values()}, set(full_weights.values()))
    _replace_weights(adapter, parameters, full_weights)

    peft_model = get_peft_model(model, _lora_config(adapter, lora, modules))
    weights = {
        f"base_model.model.{layer}{_around_experts(key, modules[layer])}.{part}": adapter.weights[key]
        for key, (layer, part) in lora.items()
    }
    if len(weights) < len(lora):
        raise InputError(f"{adapter.folder}: several keys of the adapter name one layer: {_first(sorted(lora))}")
    expected = get_peft_model_state_dict(peft_model, save_embedding_layers=False)
    _require_shapes(adapter, weights, expected)
    set_peft_model_state_dict(peft_model, weights)
    peft_model.merge_and_unload()  # changes `model` in place
    return model.requires_grad_(True)


def _thinker_name(name: str, known: dict) -> str | None:
    """The thinker's name of a layer or weight, without the prefixes of wrappers; None where the thinker has none."""
    name = re.sub(r"\.modules_to_save(\.[^.]+(?=\.))?", "", name)  # and the adapter's name after it, where there is one
    words = [word for word in name.split(".") if word not in _INNER_WRAPPERS]
    while ".".join(words) not in known:
        if not words or words[0] not in _WRAPPERS:
            return None
        words = words[1:]
    return ".".join(words)


def _around_experts(key: str, module: torch.nn.Module) -> str:
    """What PEFT adds to the name of experts, which have a layer of the adapter for every parameter, one in another."""
    return "" if hasattr(module, "weight") else ".base_layer" * key.count(".base_layer")


def _require_all_targets(adapter: Adapter, modules: dict, layers: set[str], replaced: set[str]) -> None:
    """Raise `InputError` where the adapter lacks weights of a layer (`layers.3.mlp.up_proj`) that its settings target."""
    settings = adapter.settings
    for name in settings.get("modules_to_save") or ():
        if not any(re.search(rf"(^|\.){re.escape(name)}\.", f"{weight}.") for weight in replaced):
            raise InputError(f"{adapter.folder}: modules_to_save names {name!r}, and the adapter has no weights for it")
    if settings.get("exclude_modules") or settings.get("layers_to_transform"):
        return
    kinds = {re.sub(r"\d+", "*", layer) for layer in layers}
    alike = {name for name in modules if re.sub(r"\d+", "*", name) in kinds}
    missing = sorted(name for name in alike - layers if _is_target(name, settings.get("target_modules")))
    if missing:
        raise InputError(f"{adapter.folder}: the adapter lacks {len(missing)} layers that it targets: {_first(missing)}")


def _is_target(name: str, targets: str | list[str] | None) -> bool:
    """Whether `target_modules`, in the thinker's names or the whole model's, matches this layer."""
    if targets is None or targets == "all-linear":
        return True
    if isinstance(targets, str):
        return any(re.fullmatch(targets, prefix + name) for prefix in ("", "thinker.", "model.", "model.thinker."))
    return any(f".thinker.{name}".endswith(f".{target}") for target in targets)


def _replace_weights(adapter: Adapter, parameters: dict[str, torch.nn.Parameter], full_weights: dict[str, str]) -> None:
    """Replace the base's weights by those that were trained in full (modules_to_save, biases)."""
    for key, name in full_weights.items():
        if adapter.weights[key].shape != parameters[name].shape:
            raise InputError(
                f"{adapter.folder}: {key} has shape {tuple(adapter.weights[key].shape)}, the base's "
                f"{tuple(parameters[name].shape)}"
            )
        parameters[name].data.copy_(adapter.weights[key])


def _lora_config(adapter: Adapter, lora: dict[str, tuple[str, str]], modules: dict) -> LoraConfig:
    """PEFT's settings with the full name of every layer, its rank and its scale."""
    settings = adapter.settings
    ranks, alphas = {}, {}
    for key, (layer, _) in lora.items():
        names = (adapter.lora_keys[key][0].removeprefix("base_model.model."), layer)  # in training, and here
        ranks[layer] = _setting_of(names, settings.get("rank_pattern") or {}, settings.get("r", 8))
        alphas[layer] = _setting_of(names, settings.get("alpha_pattern") or {}, settings.get("lora_alpha", 8))
    linear = sorted(layer for layer in ranks if hasattr(modules[layer], "weight"))
    has_experts = any(name.endswith(".mlp.experts") for name in modules)
    return LoraConfig(
        r=next(iter(ranks.values())),
        lora_alpha=next(iter(alphas.values())),
        rank_pattern={re.escape(layer): ranks[layer] for layer in linear},
        alpha_pattern={re.escape(layer): alphas[layer] for layer in linear},
        # PEFT widens a pattern over a model with experts to all layers with the same last names
        target_modules=linear if has_experts else "|".join(map(re.escape, linear)),
        target_parameters=settings.get("target_parameters"),
        use_rslora=bool(settings.get("use_rslora")),
        use_dora=bool(settings.get("use_dora")),
    )


def _setting_of(names: tuple[str, ...], patterns: dict[str, float], default: float) -> float:
    """The value of the first pattern that matches one of a layer's names, as PEFT matches them; else the default."""
    return next((patterns[key] for name in names if (key := get_pattern_key(patterns, name)) in patterns), default)


def _require_shapes(adapter: Adapter, weights: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    """Raise `InputError` where names or shapes of the adapter's weights do not match its settings and the base."""
    if weights.keys() != expected.keys():
        differing = sorted(weights.keys() ^ expected.keys())
        raise InputError(f"{adapter.folder}: settings and weights of the adapter differ in {_first(differing)}")
    for name, tensor in weights.items():
        if tensor.shape != expected[name].shape:
            raise InputError(
                f"{adapter.folder}: {name} has shape {tuple(tensor.shape)}, base and {ADAPTER_CONFIG} ask for "
                f"{tuple(expected[name].shape)}"
            )


def _first(names: list[str], count: int = 3) -> str:
    return ", ".join(names[:count]) + (", ..." if len(names) > count else "")
