"""Hooks of tests/driver.py: what a run does not do by itself, by name.

A hook is a function with `@hook`, in the module of its subject: `ends`, `signals`, `computing`, `logs`. The driver calls it
before the entry point, so that it can replace what the entry point will call. Imports of torch and of the package stand
inside the functions.
"""

import inspect
import os
from collections.abc import Callable

HOOKS: dict[str, Callable[..., None]] = {}
AT_END: list[Callable[[], None]] = []  # called at the end of a run that succeeds


def hook(function: Callable[..., None]) -> Callable[..., None]:
    """Make a function a hook of its name; its parameters are `str`, `int` or `Path`, as annotated."""
    HOOKS[function.__name__] = function
    return function


def install(text: str) -> None:
    """Call a hook given as NAME[:VALUE...], a value for each of its parameters."""
    name, _, values = text.partition(":")
    if name not in HOOKS:
        raise ValueError(f"hook {name!r} is not one of {', '.join(HOOKS)}")
    types = [parameter.annotation for parameter in inspect.signature(HOOKS[name]).parameters.values()]
    words = values.split(":", max(len(types) - 1, 0)) if values else []  # the last one may be a path with colons
    HOOKS[name](*(type_(word) for type_, word in zip(types, words, strict=True)))


def is_last_rank() -> bool:
    return int(os.environ.get("RANK", "0")) == int(os.environ.get("WORLD_SIZE", "1")) - 1


@hook
def none() -> None:
    """The entry point as it is."""
