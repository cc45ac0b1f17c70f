"""What a setting is: a pydantic field that carries its rule, its help text, and whether a resumed run may change it.

pydantic judges strictly; before it does, `FieldType.read` turns what people write in a YAML or on a command line into the
field's type where it fits. Rules between settings are methods marked with `rule`, which yield one line a problem.
"""

import math
import os
import types
import typing
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import yaml
from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError, core_schema

Lines = Iterator[str]
T = TypeVar("T")


def rule(method: Callable[..., Lines]) -> Callable[..., Lines]:
    """Mark a method of `Settings` that yields what is wrong with several settings together."""
    method.is_rule = True
    return method


class Settings(BaseModel):
    """A stage's settings; every field says in its `description` what it trades."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    def problems(self) -> list[str]:
        """Lines of all rules, the base classes' first; a rule that reads a setting without a usable value says nothing."""
        found: list[str] = []
        for cls in reversed(type(self).__mro__):
            for method in vars(cls).values():
                if isinstance(method, types.FunctionType) and hasattr(method, "is_rule"):
                    found += self._lines_of(method)
        return found

    def _lines_of(self, method: Callable[..., Lines]) -> list[str]:
        try:
            return list(method(self))
        except AttributeError as error:
            if error.name not in type(self).model_fields:
                raise
            return []

    @rule
    def _files_are_there(self) -> Lines:
        for name, info in type(self).model_fields.items():
            location = FieldType.of(info).location
            if location and location.is_existing_file:
                yield from missing_file(name, getattr(self, name, None))

    @classmethod
    def why_not(cls, key: str) -> str | None:
        """Why a key that people know from elsewhere cannot be set here; None for a key that nobody knows."""
        return None

    @classmethod
    def may_change_on_resume(cls) -> set[str]:
        """Settings that a resumed run may change."""
        return {name for name, info in cls.model_fields.items() if _RESUMABLE in info.metadata}


_RESUMABLE = object()
# Of a setting that shows or stores more or less, while the run learns the same: a resumed run may change it.
MayChange = Annotated[T, _RESUMABLE]


@dataclass(frozen=True)
class Location:
    """Marks a text that is a path, made absolute when read, or a Hub id."""

    is_existing_file: bool = False
    may_be_hub_id: bool = False

    def resolve(self, value: str, base: Path) -> str:
        """An absolute path, relative ones counted from `base`; an id stays as it is where no such folder exists."""
        absolute = os.path.normpath(base / os.path.expanduser(value))
        if not self.may_be_hub_id:
            return absolute
        looks_like_id = value.count("/") == 1 and not value.startswith((".", "/", "~"))
        is_misspelt = os.path.isdir(os.path.dirname(absolute))  # `runs/sft_lroa` is no id: there is a folder `runs`
        return value if looks_like_id and not is_misspelt else absolute


@dataclass(frozen=True)
class OneOf:
    """Marks a text that is one of names which a registry knows; `Literal` where they stand in the code."""

    names: tuple[str, ...]

    def __init__(self, names: Iterable[str]):
        object.__setattr__(self, "names", tuple(names))

    def __get_pydantic_core_schema__(self, source, handler):
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def _check(self, value: str) -> str:
        if value not in self.names:
            raise PydanticCustomError("one_of", "is not one of {names}", {"names": ", ".join(self.names)})
        return value


FilePath = Annotated[str, Location()]
ExistingFile = Annotated[str, Location(is_existing_file=True)]
ModelSource = Annotated[str, Location(may_be_hub_id=True)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]  # what all random generators take
AudioRoot = Annotated[
    FilePath | None, Field(description="relative audio paths count from here; none: from the file's folder")
]
AnyFloat = Annotated[float, Field(allow_inf_nan=True)]  # a rule judges it


@dataclass(frozen=True)
class FieldType:
    """A setting's type as people write it: what kind of value, whether none is one, and the rules that stand beside it."""

    kind: object
    is_optional: bool
    marks: tuple

    @classmethod
    def of(cls, info: FieldInfo) -> "FieldType":
        options = list(_options(info.annotation, tuple(info.metadata)))
        kind, marks = next(option for option in options if option[0] is not type(None))
        return cls(kind, len(options) > 1, marks)

    @property
    def plain(self) -> type:
        """bool, int, float, str, list or dict."""
        origin = typing.get_origin(self.kind)
        return str if origin is Literal else origin or self.kind

    @property
    def location(self) -> Location | None:
        return next((mark for mark in self.marks if isinstance(mark, Location)), None)

    @property
    def names(self) -> tuple[str, ...]:
        """The only values that a text, or a text in a list, may have; () where all are allowed."""
        options = [(self.kind, self.marks)]
        if self.plain is list:
            options = list(_options(typing.get_args(self.kind)[0], ()))
        for kind, marks in options:
            if typing.get_origin(kind) is Literal:
                return typing.get_args(kind)
            for mark in marks:
                if isinstance(mark, OneOf):
                    return mark.names
        return ()

    @property
    def words(self) -> str:
        """The type in words."""
        words = {bool: "true or false", int: "a whole number", float: "a number", str: "a text",
                 list: "a list of names", dict: "names with numbers (a: 0.5, b: 1)"}  # fmt: skip
        return words[self.plain] + (" or none" if self.is_optional else "")

    def read(self, value: object) -> object:
        """A YAML's value or a command line's text as this type; the value as it is where it does not fit."""
        if self.is_optional and (value is None or value in ("none", "None", "null")):
            return None
        try:
            return _READERS[self.plain](value)
        except (ValueError, OverflowError, yaml.YAMLError):  # the second for an infinity where a whole number belongs
            return value

    @property
    def values(self) -> str:
        """What may be given, in the fewest words; "" for any text."""
        if self.names or self.plain is bool:
            return " | ".join(self.names or ("true", "false"))
        if self.location:
            words = "folder or Hub id" if self.location.may_be_hub_id else "path"
        else:
            words = {int: "whole number", float: "number", list: "names"}.get(self.plain, "")
        if not words:
            return ""
        limits = [(">", "gt"), (">=", "ge"), ("<", "lt"), ("<=", "le")]
        stated = [f"{sign} {self._limit(name)}" for sign, name in limits if self._limit(name) is not None]
        return f"{words} {', '.join(stated)}".rstrip() + (" | none" if self.is_optional else "")

    def range_in_words(self, value: float) -> str:
        """The range that a number is not in."""
        low, above = self._limit("ge"), self._limit("gt")
        high, below = self._limit("le"), self._limit("lt")
        if above == 0 and not 0 < value < math.inf:
            return "positive"
        if above is not None:
            low = above
        if below is not None:
            return f"in [{low}, {below})"
        if high is not None:
            return f"between {low} and {high}"
        return "a finite number" if low is None else f"at least {low}"

    def _limit(self, name: str) -> float | None:
        limit = {"ge": Ge, "gt": Gt, "le": Le, "lt": Lt}[name]
        return next((getattr(mark, name) for mark in self.marks if isinstance(mark, limit)), None)


def _options(annotation: object, marks: tuple) -> Iterator[tuple[object, tuple]]:
    """The members of a union, each with what stands beside it in `Annotated`."""
    if typing.get_origin(annotation) is Annotated:
        inner, *more = typing.get_args(annotation)
        unfolded = [part for mark in more for part in (mark.metadata if isinstance(mark, FieldInfo) else [mark])]
        yield from _options(inner, (*marks, *unfolded))
    elif typing.get_origin(annotation) in (typing.Union, types.UnionType):
        for member in typing.get_args(annotation):
            yield from _options(member, marks)
    else:
        yield annotation, marks


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _read_bool(value: object) -> object:
    return {"true": True, "false": False}.get(value.lower(), value) if isinstance(value, str) else value


def _read_int(value: object) -> object:
    if isinstance(value, str):
        return int(value)
    return int(value) if _is_number(value) and value == int(value) else value


def _read_float(value: object) -> object:
    return float(value) if isinstance(value, str) or _is_number(value) else value  # YAML reads 1e-4 as a text


def _read_str(value: object) -> object:
    return str(value) if _is_number(value) else value


def _read_list(value: object) -> object:
    items = value.split(",") if isinstance(value, str) else value
    return [_read_str(item) for item in items] if isinstance(items, list) else value


def _read_dict(value: object) -> object:
    """A YAML mapping, or its text on a command line (`a: 1, b: 0.5`, in braces or not); it replaces the whole default."""
    if isinstance(value, str):
        value = yaml.safe_load("{" + value.strip().removeprefix("{").removesuffix("}") + "}")
    return {str(name): _read_float(item) for name, item in value.items()} if isinstance(value, dict) else value


_READERS = {bool: _read_bool, int: _read_int, float: _read_float, str: _read_str, list: _read_list, dict: _read_dict}


def missing_file(name: str, path: str | None) -> Lines:
    """The line for a path, where one is given, at which no file is."""
    if path is not None and not Path(path).is_file():
        yield f"{name} {path}: no such file"


def missing_package(setting: str, package: tuple[str, str] | None) -> Lines:
    """The line for a setting whose package, as imported and as installed, is not there."""
    if package is not None and find_spec(package[0]) is None:
        yield f"{setting} needs a package that is not installed: pip install {package[1]}"
