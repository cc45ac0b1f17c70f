"""Settings as pydantic fields, each with its rule, its help text, and whether a resumed run may change it.

pydantic validates strictly; before, `FieldType.read` converts values of a YAML or a command line to the field's type where
possible. Rules between settings are methods marked with `rule`, which yield one line per problem.
"""

import math
import os
import re
import types
import typing
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from annotated_types import Ge, Gt, Le, Lt
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError, core_schema

Lines = Iterator[str]
T = TypeVar("T")
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
NO_SUCH_FILE = "no such file"  # of a setting that names data
DOES_NOT_EXIST = "does not exist"  # of one that names code
_RULE_MARK = "is_rule"


def rule(method: Callable[..., Lines]) -> Callable[..., Lines]:
    """Mark a method of `Settings` that yields problems between several settings."""
    setattr(method, _RULE_MARK, True)
    return method


class Settings(BaseModel):
    """A stage's settings; the `description` of every field says what it trades."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    def problems(self, needs_files: bool = True) -> list[str]:
        """The problems of all rules, base classes first; rules that read a setting without a valid value are skipped.

        `needs_files` False allows files that do not exist.
        """
        problems: list[str] = []
        for cls in reversed(type(self).__mro__):
            for method in vars(cls).values():
                if isinstance(method, types.FunctionType) and hasattr(method, _RULE_MARK):
                    problems += self._lines_of(method)
        return [line for line in problems if needs_files or NO_SUCH_FILE not in line]

    def _lines_of(self, method: Callable[..., Lines]) -> list[str]:
        try:
            return list(method(self))
        except AttributeError as error:
            if error.name not in type(self).model_fields:
                raise
            return []

    @rule
    def _files_exist(self) -> Lines:
        for name, info in type(self).model_fields.items():
            location = FieldType.of(info).location
            if location and location.is_existing_file:
                yield from missing_file(name, getattr(self, name, None))

    @classmethod
    def why_not(cls, key: str) -> str | None:
        """Why a key that is known from other programs cannot be set here; None for an unknown key."""
        return None

    @classmethod
    def may_change_on_resume(cls) -> set[str]:
        """Settings that a resumed run may change."""
        return {name for name, info in cls.model_fields.items() if _RESUMABLE in info.metadata}


_RESUMABLE = object()
# A setting that a resumed run may change, since it does not affect the trained weights.
MayChange = Annotated[T, _RESUMABLE]


@dataclass(frozen=True)
class Location:
    """Marks a text as a path, which is made absolute when read, or a Hub id."""

    is_existing_file: bool = False
    may_be_hub_id: bool = False
    suffix: str = ""  # only a text that ends with it is a path

    def resolve(self, value: str, base: Path) -> str:
        """The absolute path, where relative ones count from `base`; a Hub id is unchanged if no such folder exists."""
        if not value.endswith(self.suffix):
            return value
        absolute = os.path.normpath(base / os.path.expanduser(value))
        if not self.may_be_hub_id:
            return absolute
        looks_like_id = value.count("/") == 1 and not value.startswith((".", "/", "~"))
        is_misspelt = os.path.isdir(os.path.dirname(absolute))  # `runs/sft_lroa` is not an id if there is a folder `runs`
        return value if looks_like_id and not is_misspelt else absolute


@dataclass(frozen=True)
class FunctionInFile(Location):
    """Marks a text as `FILE.py:FUNCTION`, whose file is a path; any other text is a name."""

    suffix: str = ".py"

    def resolve(self, value: str, base: Path) -> str:
        file, function = self.split(value)
        return ":".join([super().resolve(file, base), *([function] if function else [])])

    @classmethod
    def split(cls, value: str) -> tuple[str, str]:
        """File and function; a name alone has no function."""
        file, _, function = value.rpartition(":")
        return (file, function) if file.endswith(cls.suffix) else (value, "")

    @classmethod
    def is_file(cls, value: str) -> bool:
        """True if the text names a file, with or without a function."""
        return cls.split(value)[0].endswith(cls.suffix)


@dataclass(frozen=True)
class OneOf:
    """Marks a text as one of a registry's names; for names that are fixed in the code use `Literal`."""

    names: tuple[str, ...]

    def __init__(self, names: Iterable[str]):
        object.__setattr__(self, "names", tuple(names))

    def __get_pydantic_core_schema__(self, source, handler):
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def _check(self, value: str) -> str:
        if value not in self.names:
            raise PydanticCustomError("one_of", "is not one of {names}", {"names": ", ".join(self.names)})
        return value


def _require_folder_name(value: str) -> str:
    name = Path(value)
    if name.is_absolute() or not name.parts or ".." in name.parts:  # overwrite deletes this folder
        raise PydanticCustomError("folder_name", "does not name a folder below runs_dir")
    return value


FolderName = Annotated[str, AfterValidator(_require_folder_name)]
FilePath = Annotated[str, Location()]
ExistingFile = Annotated[str, Location(is_existing_file=True)]
ModelSource = Annotated[str, Location(may_be_hub_id=True)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]  # what all random generators take
AudioRoot = Annotated[
    FilePath | None, Field(description="relative audio paths count from here; none: from the file's folder")
]
GroupBy = Annotated[
    list[str], Field(description="of a sample file: fields of its rows that scores are broken down by, as source,level")
]
AnyFloat = Annotated[float, Field(allow_inf_nan=True)]  # a rule judges it


@dataclass(frozen=True)
class FieldType:
    """A setting's type as users give it: the kind of value, whether none is allowed, and the marks in `Annotated`."""

    kind: Any
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
        """Of a path, or of the names in a mapping."""
        marks = self.marks
        if self.plain is dict:
            _, marks = next(_options(typing.get_args(self.kind)[0], ()))
        return next((mark for mark in marks if isinstance(mark, Location)), None)

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
    def is_columns(self) -> bool:
        """True for a mapping to texts, False for one to numbers."""
        return self.plain is dict and typing.get_args(self.kind)[1] == str | list[str]

    @property
    def words(self) -> str:
        """The type in words."""
        words = {bool: "true or false", int: "a whole number", float: "a number", str: "a text",
                 list: "a list of names", dict: "names with numbers (a: 0.5, b: 1)"}  # fmt: skip
        if self.is_columns:
            return "names with their columns (a: x, b: [y, z])"
        return words[self.plain] + (" or none" if self.is_optional else "")

    def read(self, value: object) -> object:
        """A YAML's value or a command line's text converted to this type; unchanged if it does not fit."""
        if self.is_optional and (value is None or value in ("none", "None", "null")):
            return None
        if self.is_optional and value == "" and (self.location is not None or self.plain is not str):
            return None
        try:
            return _read_columns(value) if self.is_columns else _READERS[self.plain](value)
        except (ValueError, OverflowError, yaml.YAMLError):  # the second: infinity for a whole number
            return value

    @property
    def values(self) -> str:
        """The allowed values in a few words; "" for any text."""
        if self.names or self.plain is bool:
            return " | ".join(self.names or ("true", "false"))
        if self.location and not self.location.suffix:
            words = "folder or Hub id" if self.location.may_be_hub_id else "path"
        else:
            words = {int: "whole number", float: "number", list: "names"}.get(self.plain, "")
        if not words:
            return ""
        limits = [(">", "gt"), (">=", "ge"), ("<", "lt"), ("<=", "le")]
        bounds = [f"{sign} {self._limit(name)}" for sign, name in limits if self._limit(name) is not None]
        return f"{words} {', '.join(bounds)}".rstrip() + (" | none" if self.is_optional else "")

    def range_in_words(self, value: float) -> str:
        """The allowed range, for the error about a number outside it."""
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
    """The members of a union, each with its marks in `Annotated`."""
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
    items = [item.strip() for item in value.split(",") if item.strip()] if isinstance(value, str) else value
    return [_read_str(item) for item in items] if isinstance(items, list) else value


def _read_dict(value: object) -> object:
    """A YAML mapping, or its text on a command line (`a: 1, b: 0.5`, in braces or not); it replaces the whole default."""
    if isinstance(value, str):
        value = yaml.safe_load("{" + value.strip().removeprefix("{").removesuffix("}") + "}")
    return {str(name): _read_float(item) for name, item in value.items()} if isinstance(value, dict) else value


def _read_columns(value: object) -> object:
    """As `_read_dict`, with texts or lists of texts."""
    if isinstance(value, str):
        value = yaml.safe_load("{" + value.strip().removeprefix("{").removesuffix("}") + "}")
    if not isinstance(value, dict) or None in value.values():
        return value
    return {str(name): [str(i) for i in item] if isinstance(item, list) else str(item) for name, item in value.items()}


_READERS = {bool: _read_bool, int: _read_int, float: _read_float, str: _read_str, list: _read_list, dict: _read_dict}


def missing_file(name: str, path: str | None) -> Lines:
    """The problem of a path at which no file exists; none for None."""
    if path is not None and not Path(path).is_file():
        yield f"{name} {path}: {NO_SUCH_FILE}"


def missing_package(setting: str, package: tuple[str, str] | None) -> Lines:
    """The problem of a setting whose package (import name, install name) is not installed."""
    if package is not None and find_spec(package[0]) is None:
        yield f"{setting} needs a package that is not installed: pip install {package[1]}"
