"""Read settings: the YAML overrides the defaults, a project's file the YAML, the command line both; `--help` prints them.

All problems of a configuration are reported together, before anything heavy is imported or loaded. Relative paths count
from the caller's directory on the command line and from the repository, or the project, in a YAML. Fields are defined by
`fields.py`, projects described in `project.py`.
"""

import difflib
import inspect
import os
import shutil
import textwrap
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

import yaml
from pydantic import ValidationError

from .errors import InputError
from .fields import DOES_NOT_EXIST, NO_SUCH_FILE, FieldType, Settings
from .files import read_yaml
from .processes import say
from .project import FILE as PROJECT_FILE
from .project import Project, open_project

REPOSITORY = Path(__file__).resolve().parents[2]
COMMAND_LINE = "command line"
Config = TypeVar("Config", bound=Settings)


class Given(NamedTuple):
    """A value as given by the user."""

    value: object
    place: str  # the YAML's name, PROJECT_FILE or COMMAND_LINE
    base: Path  # relative paths count from here


class LibraryKey(Protocol):
    """One setting of another library."""

    default: object
    help: str
    is_offered: bool

    @property
    def words(self) -> str: ...

    @property
    def values(self) -> str: ...

    def read(self, value: object) -> object: ...


LibraryKeys = Callable[[], Mapping[str, LibraryKey]]  # called only when needed, since it imports the library


def load_config(
    config_class: type[Config],
    argv: list[str],
    library_keys: LibraryKeys | None = None,
    other_stages: Mapping[str, type[Settings]] | None = None,
    about: str | None = None,
    first_word: str | None = None,
    needs_files: bool = True,
) -> Config:
    """Build a config from `--config FILE` and `--key value` arguments; raises one `InputError` with all problems.

    `library_keys` returns the settings of the library's trainer that are allowed too; they are collected in the config's
    `trainer`. `other_stages` are stages by name that may share the YAML: keys that only they have are ignored there, and on
    the command line if `--also_for NAME` says that the stage gets it too. `--help` prints `about` and every key and ends
    the process. `first_word` is the key of a first argument without key.
    `needs_files` False allows files that do not exist, to plan without data.
    """
    if first_word and argv and not argv[0].startswith("-"):
        argv = [f"--{first_word}", *argv]
    if asks_for_help(argv):
        print_help(config_class, library_keys, other_stages, about)
        raise SystemExit(0)
    words, problems = parse_arguments(argv)
    others = _OtherStages(other_stages or {}, words, problems)
    project = open_project(words.pop("project")[-1], REPOSITORY / "configs") if "project" in words else None
    given = _collect(words, project, config_class.model_fields)
    library = library_keys() if library_keys and given.keys() - config_class.model_fields.keys() else {}
    values: dict[str, object] = {}
    further: dict[str, object] = {}
    for key, one in given.items():
        if key in config_class.model_fields and key != "trainer":
            values[key] = _resolved(config_class, key, one.value, one.base)
        elif key in library:
            try:
                further[key] = library[key].read(one.value)
            except (ValueError, yaml.YAMLError):
                problems.append(f"{one.place}: {key} {one.value!r} is not {library[key].words}")
        elif line := others.problem(key, one) if key in others.keys else _why_unknown(config_class, key, library, others):
            problems.append(f"{one.place}: {line}")
    if "trainer" in config_class.model_fields:
        values["trainer"] = further
    config, lines = _validate(config_class, values, given, project.folder if project else REPOSITORY)
    _raise_all([*problems, *lines, *(_with_origin(line, config_class, given) for line in config.problems(needs_files))])
    return config


def asks_for_help(argv: list[str]) -> bool:
    """True if a command line asks for help."""
    return "--help" in argv or "-h" in argv


def parse_arguments(argv: list[str]) -> tuple[dict[str, list[str]], list[str]]:
    """Split `--key value`, `--key=value` and bare `--flag` (true) into {key: values}, and problems of other words."""
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


def _collect(words: dict[str, list[str]], project: Project | None, fields: Collection[str]) -> dict[str, Given]:
    """The values of the last YAML, overridden by those of the project, and these by the command line."""
    base = project.folder if project else REPOSITORY
    file = words.pop("config", [None])[-1]
    given = {key: Given(value, os.path.basename(file), base) for key, value in read_yaml(file).items()} if file else {}
    if project:
        model = given["model"].value if "model" in given else None
        values = project.of_stage(file, fields, model)
        given |= {key: Given(value, PROJECT_FILE, project.folder) for key, value in values.items()}
    return given | {key: Given(values[-1], COMMAND_LINE, Path.cwd()) for key, values in words.items()}


class _OtherStages:
    """Keys of other stages that read the same YAML, and the same command line if `--also_for` names the stage."""

    def __init__(self, stages: Mapping[str, type[Settings]], words: dict[str, list[str]], problems: list[str]):
        self.stage_of = {key: name for name, stage in stages.items() for key in stage.model_fields}
        self.also_for = words.pop("also_for")[-1] if stages and "also_for" in words else None
        if self.also_for is not None and self.also_for not in stages:
            problems.append(f"command line: also_for {self.also_for!r} is not one of {', '.join(stages)}")
        self.shared = stages[self.also_for].model_fields.keys() if self.also_for in stages else set()

    @property
    def keys(self) -> Iterable[str]:
        return self.stage_of

    def problem(self, key: str, given: Given) -> str | None:
        """The problem of a key that only other stages have; None where it may be ignored."""
        if key in self.shared or (given.place != COMMAND_LINE and self.also_for is None):
            return None
        return f"{key} is a setting of the stage {self.stage_of[key]}, not of this command"


def _why_unknown(config_class: type[Settings], key: str, library: Mapping[str, LibraryKey], others: _OtherStages) -> str:
    """The problem of an unknown key: the reason if it is known from other programs, else the nearest key."""
    reason = config_class.why_not(key)
    if reason:
        return f"{key} {reason}"
    close = difflib.get_close_matches(key, {*config_class.model_fields, *library, *others.keys} - {"trainer"}, n=1)
    return f"unknown key {key!r}" + (f" (did you mean {close[0]!r}?)" if close else "")


def _resolved(config_class: type[Settings], key: str, value: object, base: Path) -> object:
    """A value converted to its field's type, and a path made absolute, also where it is a name in a mapping."""
    kind = FieldType.of(config_class.model_fields[key])
    value = kind.read(value)
    if kind.location is not None and isinstance(value, dict):
        return {kind.location.resolve(name, base): item for name, item in value.items()}
    if kind.location is None or not isinstance(value, str):
        return value
    path = kind.location.resolve(value, base)
    shipped = kind.location.resolve(value, REPOSITORY)  # such as configs/zero3.json, which no project has
    return shipped if kind.location.is_existing_file and not os.path.exists(path) and os.path.exists(shipped) else path


def _validate(
    config_class: type[Config], values: dict[str, object], given: dict[str, Given], base: Path
) -> tuple[Config, list[str]]:
    """The config, without the settings that have no valid value, and the problems of single values."""
    fields = config_class.model_fields
    defaults = {key: info.default for key, info in fields.items() if key not in values and isinstance(info.default, str)}
    values = {key: _resolved(config_class, key, value, base) for key, value in defaults.items()} | values
    try:
        return config_class.model_validate(values), []
    except ValidationError as error:
        errors = error.errors(include_url=False)
    invalid = {str(error["loc"][0]) for error in errors}
    valid = {key: value for key, value in values.items() if key not in invalid}
    config = config_class.model_construct(_fields_set=None, **valid)
    for key in invalid:
        vars(config).pop(key, None)  # its default
    lines = [_line(config_class, error, given) for error in errors]
    return config, list(dict.fromkeys(lines))


def _line(config_class: type[Settings], error: dict, given: dict[str, Given]) -> str:
    """The problem of one of pydantic's errors."""
    key, value, kind_of_error = error["loc"][0], error["input"], error["type"]
    if kind_of_error == "missing":
        return f"{key} is not set (--{key} VALUE, or in the YAML)"
    kind = FieldType.of(config_class.model_fields[key])
    if kind_of_error in ("greater_than", "greater_than_equal", "less_than", "less_than_equal", "finite_number"):
        return f"{key} {value} is not {kind.range_in_words(value)}"
    if kind_of_error == "literal_error" and isinstance(value, str):
        return f"{key} {value!r} is not one of {', '.join(kind.names)}"
    if kind_of_error.endswith("_type") or kind_of_error == "literal_error":
        return f"{given[key].place}: {key} {given[key].value!r} is not {kind.words}"
    return f"{key} {value!r} {error['msg']}"  # of a validator in this project


def _with_origin(line: str, config_class: type[Settings], given: dict[str, Given]) -> str:
    """A problem of a file that is named in the YAML, not on the command line, with that place and how to unset it."""
    key = line.split(" ", 1)[0]
    if not line.endswith((NO_SUCH_FILE, DOES_NOT_EXIST)) or key not in given or given[key].place == COMMAND_LINE:
        return line
    is_optional = FieldType.of(config_class.model_fields[key]).is_optional
    return f"{line} (from {given[key].place}{f'; --{key} none unsets it' if is_optional else ''})"


def _raise_all(problems: list[str]) -> None:
    if len(problems) == 1:
        raise InputError(problems[0])
    if problems:
        raise InputError(f"{len(problems)} problems in the settings:\n  " + "\n  ".join(problems))


_LEGEND = """\
Every key is listed with its default; one with ... has none and must be given. A key is set in a YAML (--config FILE) or on
the command line (--key value), which has precedence; none, null or "" unsets one that may be none (where that is a text,
"" is the empty text). Relative paths count from the caller's directory on the command line
and from the repository in a YAML, or from FOLDER with --project FOLDER, whose project.yaml overrides the YAML."""
_LEGEND_OF_RUNS = "A run that is started again resumes; keys with a * may differ from its first start."


def print_help(
    config_class: type[Settings],
    library_keys: LibraryKeys | None = None,
    other_stages: Mapping[str, type[Settings]] | None = None,
    about: str | None = None,
) -> None:
    """Print every key with its default, help text and values: ours, then those of the library's trainer."""
    text = inspect.cleandoc(about or config_class.__doc__)
    lines = []
    for paragraph in [*text.split("\n\n"), _LEGEND, *([_LEGEND_OF_RUNS] if _has_runs(config_class) else [])]:
        is_command = paragraph.startswith(" ")
        lines += [paragraph if is_command else textwrap.fill(paragraph, _width()), ""]
    shown = {"trainer"}
    for cls in reversed(config_class.__mro__):
        names = [name for name in inspect.get_annotations(cls) if name in config_class.model_fields.keys() - shown]
        shown.update(names)
        if names:
            title = textwrap.fill(inspect.getdoc(cls).splitlines()[0].rstrip("."), _width())
            lines += [title, *_key_lines(config_class, names), ""]
    if other_stages:
        text = "another stage that gets the same arguments, for launchers of both: its keys are ignored here"
        lines += ["Together with another stage", *_columns(f"--also_for {'|'.join(other_stages)}", text), ""]
    say("\n".join(lines))  # before the library is imported, which takes seconds
    if library_keys:
        say("\n".join(_library_lines(library_keys(), config_class)))


def _library_lines(keys: Mapping[str, LibraryKey], config_class: type[Settings]) -> Iterator[str]:
    yield "Settings that are passed on to the library's trainer, with its help texts"
    for name, key in sorted(keys.items()):
        if key.is_offered and name not in config_class.model_fields:
            yield from _columns(f"--{name} {_as_argument(key.default)}", _first_sentence(key.help), key.values)


def _has_runs(config_class: type[Settings]) -> bool:
    return "run_name" in config_class.model_fields


def _key_lines(config_class: type[Settings], names: list[str]) -> Iterator[str]:
    resumable = config_class.may_change_on_resume() if _has_runs(config_class) else set()
    for name in names:
        info = config_class.model_fields[name]
        default = "..." if info.is_required() else _as_argument(info.get_default(call_default_factory=True))
        star = " *" if name in resumable else ""
        yield from _columns(f"--{name} {default}{star}", info.description, FieldType.of(info).values)


def _as_argument(value: object) -> str:
    """A value as it is given on a command line."""
    if isinstance(value, list):
        return ",".join(map(str, value))
    if isinstance(value, dict):
        return '"' + ", ".join(f"{name}: {item}" for name, item in value.items()) + '"'
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) and (" " in value or not value) else str(value)


def _first_sentence(text: str) -> str:
    return text.split(". ")[0].rstrip(".")


def _width() -> int:
    return min(max(shutil.get_terminal_size((100, 24)).columns, 70), 100)


def _columns(left: str, text: str, values: str = "", indent: int = 38) -> list[str]:
    """A key with its default, followed by its help text and values, on the next line where the key is long."""
    width = _width() - indent
    unbroken = values.replace(" ", "\u00a0") if len(values) < width - 2 else values
    wrapped = textwrap.wrap(f"{text} [{unbroken}]" if values else text, width, break_on_hyphens=False)
    lines = [" " * indent + line.replace("\u00a0", " ") for line in wrapped]
    left = f"  {left}"
    return [left.ljust(indent) + lines[0].lstrip(), *lines[1:]] if len(left) < indent else [left, *lines]
