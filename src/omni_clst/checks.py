"""Rules that settings meet: each returns what is wrong as lines, and none where nothing is."""

import math
from importlib.util import find_spec
from pathlib import Path

from .errors import InputError
from .files import read_object


def one_of(name: str, value: str, allowed: tuple[str, ...]) -> list[str]:
    """A value that is none of those that a setting has."""
    return [] if value in allowed else [f"{name} {value!r} is not one of {', '.join(allowed)}"]


def existing_file(name: str, value: str | None) -> list[str]:
    """A path, where one is given, at which no file is."""
    return [] if value is None or Path(value).is_file() else [f"{name} {value}: no such file"]


def json_object(name: str, path: str | None) -> list[str]:
    """A file, where there is one, that holds no JSON object."""
    try:
        if path is not None and Path(path).is_file():
            read_object(path)
    except InputError as error:
        return [f"{name} {error}"]
    return []


def positive(config: object, *names: str) -> list[str]:
    """A value that is no number (NaN) is not positive either, and infinity no value."""
    return [f"{name} {getattr(config, name)} is not positive" for name in names if not 0 < getattr(config, name) < math.inf]


def seed_in_range(config: object) -> list[str]:
    """Seeds that all random generators take."""
    return between(config, "seed", 0, 2**32 - 1)


def between(config: object, name: str, low: float, high: float = math.inf) -> list[str]:
    """A setting's value outside of [low, high] as a line."""
    value = getattr(config, name)
    limits = f"at least {low}" if high == math.inf else f"between {low} and {high}"
    return [] if low <= value <= high and value < math.inf else [f"{name} {value} is not {limits}"]


def missing_package(setting: str, package: tuple[str, str] | None) -> list[str]:
    """The line for a setting whose package, as imported and as installed, is not there; [] where it is."""
    if package is None or find_spec(package[0]) is not None:
        return []
    return [f"{setting} needs a package that is not installed: pip install {package[1]}"]
