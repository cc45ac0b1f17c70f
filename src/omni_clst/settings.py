"""Settings: every default once, in a dataclass; the YAML wins over the default and the command line over the YAML.

All problems of a configuration are reported together, before anything heavy is imported or loaded. Relative paths count
from the caller's directory on the command line and from the repository in a YAML.
"""

import dataclasses
import difflib
import math
import os
import types
import typing
from collections.abc import Callable
from dataclasses import field
from enum import Enum
from pathlib import Path

import yaml

from .errors import InputError
from .files import write_text

REPOSITORY = Path(__file__).resolve().parents[2]


def path_field(default: object = dataclasses.MISSING, **metadata):
    """A setting that is a path: made absolute when read."""
    return field(default=default, metadata={"path": True, **metadata})


def model_field(default: object = dataclasses.MISSING):
    """A setting that is a folder or a Hub id: made absolute when it is not an id."""
    return field(default=default, metadata={"model": True})


def load_config(
    config_class: type,
    argv: list[str],
    passthrough: Callable[[], dict[str, object]] | None = None,
    shared_with: type | tuple[type, ...] | None = None,
):
    """Build a config from `--config FILE` and `--key value` arguments; raises one `InputError` with all problems.

    `passthrough` gives the keys of another library's settings with their types; they are collected in the config's
    `trainer` field. Keys
    that only another stage knows (`shared_with`, or several) are left to it: they read one YAML and one command line.
    """
    given, problems = parse_arguments(argv)
    settings: dict[str, tuple[object, str, Path]] = {}  # key -> (value, place, where relative paths count from)
    for file in given.pop("config", [])[-1:]:
        place = os.path.basename(file)
        settings |= {key: (value, place, REPOSITORY) for key, value in read_yaml(file).items()}
    settings |= {key: (values[-1], "command line", Path.cwd()) for key, values in given.items()}
    known = {f.name: f for f in dataclasses.fields(config_class) if f.name != "trainer"}
    hints = typing.get_type_hints(config_class)
    foreign = passthrough() if passthrough else {}
    stages = shared_with if isinstance(shared_with, tuple) else (shared_with,) if shared_with else ()
    left_out = {f.name for stage in stages for f in dataclasses.fields(stage)} - known.keys()
    arguments: dict[str, object] = {}
    others: dict[str, object] = {}
    for key, (value, place, base) in settings.items():
        if key in known:
            try:
                arguments[key] = _resolve(known[key], _coerce(value, hints[key]), base)
            except (ValueError, OverflowError):  # the latter for an infinity where a whole number belongs
                problems.append(f"{place}: {key} {value!r} is not {_describe(hints[key])}")
        elif key in foreign:
            try:
                others[key] = as_type(value, foreign[key])
            except (ValueError, yaml.YAMLError):
                problems.append(f"{place}: {key} {value!r} is not {describe_type(foreign[key])}")
        elif foreign and (reason := config_class.why_not(key)):
            problems.append(f"{place}: {key} {reason}")
        elif key not in left_out:
            problems.append(f"{place}: unknown key {key!r}{_nearest(key, {*known, *foreign, *left_out})}")
    for name, f in known.items():
        if name in arguments or any(key == name for key in settings):
            continue
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING:
            problems.append(f"{name} is not set (--{name} VALUE, or in the YAML)")
        elif f.metadata and isinstance(f.default, str):
            arguments[name] = _resolve(f, f.default, REPOSITORY)
    if "trainer" in {f.name for f in dataclasses.fields(config_class)}:
        arguments["trainer"] = others
    _raise_all(problems)
    config = config_class(**arguments)
    _raise_all(config.problems())
    return config


def parse_arguments(argv: list[str]) -> tuple[dict[str, list[str]], list[str]]:
    """Split `--key value`, `--key=value` and bare `--flag` (true) into {key: values}, and what fits none."""
    given: dict[str, list[str]] = {}
    problems = []
    index = 0
    while index < len(argv):
        word = argv[index]
        index += 1
        if not word.startswith("--") or word == "--":
            problems.append(f"command line: {word!r} is not a --key")
            continue
        key, equals, value = word[2:].partition("=")
        if not equals and index < len(argv) and not argv[index].startswith("--"):
            value = argv[index]
            index += 1
        elif not equals:
            value = "true"
        given.setdefault(key.replace("-", "_"), []).append(value)
    return given, problems


class _LoaderOfUniqueKeys(yaml.SafeLoader):
    """YAML's own loader keeps the last of several equal keys and says nothing."""

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key.value!r} stands twice", key.start_mark)
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else id(key))
        return super().construct_mapping(node, deep)


def read_yaml(file: str) -> dict:
    """One YAML mapping; raises `InputError` naming file and line."""
    try:
        value = yaml.load(Path(file).read_text(encoding="utf-8"), _LoaderOfUniqueKeys)
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: not UTF-8 ({error.reason} at byte {error.start})") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        raise InputError(f"{file}:{line}: not YAML ({getattr(error, 'problem', error)})") from None
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise InputError(f"{file}: expected `key: value` lines")
    return value


def write_config(config: object, path: Path) -> None:
    """Write everything in force as YAML."""
    write_text(path, yaml.safe_dump(dataclasses.asdict(config), sort_keys=False, allow_unicode=True))


def _coerce(value: object, hint: object) -> object:
    """`value` (a YAML value or a text) as the annotated type; raises ValueError."""
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if type(None) in options and (value is None or value in ("none", "None", "null")):
        return None
    kind = next(option for option in options if option is not type(None))
    if kind is bool:
        if isinstance(value, bool):
            return value
        return {"true": True, "false": False}[str(value).lower()] if str(value).lower() in ("true", "false") else _no()
    if kind is str:
        return str(value) if isinstance(value, (str, int, float)) and not isinstance(value, bool) else _no()
    if kind in (int, float):
        is_number = isinstance(value, (int, float, str)) and not isinstance(value, bool)
        return kind(value) if is_number and (isinstance(value, str) or value == kind(value) or kind is float) else _no()
    if typing.get_origin(kind) is dict:
        return _coerce_mapping(value, typing.get_args(kind)[1])
    if typing.get_origin(kind) is list:
        items = value if isinstance(value, list) else value.split(",") if isinstance(value, str) else _no()
        return [_coerce(item, str) for item in items]
    return value


def _coerce_mapping(value: object, hint: object) -> dict[str, object]:
    """A YAML mapping, or its text on a command line (`a: 1, b: 0.5`, in braces or not); it replaces the whole default."""
    if isinstance(value, str):
        try:
            value = yaml.safe_load("{" + value.strip().removeprefix("{").removesuffix("}") + "}")
        except yaml.YAMLError:
            _no()
    if not isinstance(value, dict):
        _no()
    return {str(name): _coerce(item, hint) for name, item in value.items()}


def _no():
    raise ValueError


def _describe(hint: object) -> str:
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
    names |= {dict[str, float]: "names with numbers (a: 0.5, b: 1)", list[str]: "a list of names"}
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    return " or ".join("none" if option is type(None) else names.get(option, str(option)) for option in options)


def _resolve(f: dataclasses.Field, value: object, base: Path) -> object:
    """Make a path setting absolute; a model setting stays as it is where no such folder exists and it can be a Hub id."""
    if not isinstance(value, str):
        return value
    absolute = os.path.normpath(base / os.path.expanduser(value))
    if f.metadata.get("path"):
        return absolute
    if f.metadata.get("model"):
        looks_like_id = value.count("/") == 1 and not value.startswith((".", "/", "~"))
        is_misspelt = os.path.isdir(os.path.dirname(absolute))  # `runs/sft_lroa` is no id: there is a folder `runs`
        return value if looks_like_id and not is_misspelt else absolute
    return value


def _nearest(key: str, known: set[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _raise_all(problems: list[str]) -> None:
    if len(problems) == 1:
        raise InputError(problems[0])
    if problems:
        raise InputError(f"{len(problems)} problems in the settings:\n  " + "\n  ".join(problems))


def as_type(value: object, kind: object) -> object:
    """A YAML value, or a command line's text, as one of the types of a library's field; raises ValueError."""
    kinds = _plain_types(kind)
    if isinstance(value, str) and kinds & {bool, int, float, dict, list, type(None)}:
        value = yaml.safe_load(value) if value else None  # a command line's `false`, `0.5`, `{a: 1}`
        value = None if value == "none" else value
    if isinstance(value, str) and float in kinds:
        value = float(value)  # YAML reads 1e-4 as a text
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if is_number and (float in kinds or (int in kinds and value == int(value))):
        return value if float in kinds else int(value)
    if (value is None and type(None) in kinds) or (type(value) in kinds and type(value) in (bool, str, dict, list)):
        return value
    if str in kinds and is_number:
        return str(value)
    raise ValueError


def _plain_types(kind: object) -> set[type]:
    """The types that a field's annotation allows, an enumeration as the texts that it is written as."""
    options = typing.get_args(kind) if typing.get_origin(kind) in (typing.Union, types.UnionType) else (kind,)
    plain = {typing.get_origin(option) or option for option in options}
    plain = {str if isinstance(option, type) and issubclass(option, Enum) else option for option in plain}
    return plain - {str} if dict in plain else plain  # there a text would be JSON, or a file's name


def describe_type(kind: object) -> str:
    """The types of a library's field in words."""
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", type(None): "none",
             dict: "names with values ({a: 1})", list: "a list"}  # fmt: skip
    return " or ".join(text for option, text in words.items() if option in _plain_types(kind))
