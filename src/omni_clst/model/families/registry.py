"""All bases, found in the modules of this folder, and which of them a checkpoint is of."""

import pkgutil
from importlib import import_module
from pathlib import Path

from ...errors import InputError
from .family import Family


def find_families(folder: str) -> list[Family]:
    """The bases that modules of the folder set as `FAMILY`, in the modules' order."""
    package = __name__.rpartition(".")[0]
    names = sorted(module.name for module in pkgutil.iter_modules([folder]))
    modules = [import_module(f"{package}.{name}") for name in names if f"{package}.{name}" != __name__]
    return [module.FAMILY for module in modules if hasattr(module, "FAMILY")]


FAMILIES = find_families(str(Path(__file__).parent))


def is_thinker_type(model_type: object) -> bool:
    """Whether a `model_type` in a config is that of a thinker without the rest of its base."""
    return any(family.has_parts and family.thinker_config.model_type == model_type for family in FAMILIES)


def family_of(config) -> Family:
    """The base of a configuration, whole or of the thinker alone; raises `InputError` for a model of another kind."""
    for family in FAMILIES:
        if isinstance(config, (family.config, family.thinker_config)):
            return family
    names = ", ".join(f"{family.name} ({family.model_type})" for family in FAMILIES)
    raise InputError(f"model type {config.model_type!r} is none of the bases: {names}")
