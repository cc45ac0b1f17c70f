"""The shapes of the released models, so that a run can be planned without the Hub."""

import copy
from pathlib import Path

from ..errors import InputError
from .checkpoints import find_checkpoint, load_thinker_config
from .families.registry import FAMILIES

RELEASED = ("3B", "7B")  # of Qwen2.5-Omni, which the recipes are made for


def thinker_config_of(model: str):
    """The thinker's configuration of a released model (3B and 7B are Qwen2.5-Omni's), also given as a Hub id; else of a
    folder. Raises `InputError`."""
    name = model.removeprefix("Qwen/").lower()
    name = f"qwen2.5-omni-{name}" if name.upper() in RELEASED else name
    for family in FAMILIES:
        for shape, sizes in family.shapes.items():
            if name.startswith(shape.lower()):  # a release has variants of one shape: -Instruct, -Thinking
                return family.thinker_config(**copy.deepcopy(sizes))
    if not Path(model).is_dir():
        names = [shape for family in FAMILIES for shape in family.shapes]
        raise InputError(f"model {model!r} is neither a folder nor one of {', '.join([*RELEASED, *names])}")
    return load_thinker_config(find_checkpoint(model).full_model)
