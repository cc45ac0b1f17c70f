"""Rewards and level rules from the user's own Python files: a setting names one as `FILE.py:FUNCTION`.

The file is run once per process, when the settings are checked. Its folder is then at the end of Python's search path, so
that it can import modules beside it. An error in a function names the file, the line and the sample.
"""

import difflib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from ..data.samples import AudioQASample
from ..errors import InputError
from ..fields import DOES_NOT_EXIST, FunctionInFile, Lines
from ..files import sha256_of_bytes


@dataclass(frozen=True)
class OwnRule:
    """A function of a user's file; called with the sample first."""

    file: str
    function: Callable[..., Any]
    name: str  # of the function in the file
    sha256: str  # of the file

    def __str__(self) -> str:
        return f"{self.file}:{self.name}"

    def __call__(self, sample: AudioQASample, *arguments: object) -> Any:
        try:
            return self.function(sample, *arguments)
        except Exception as error:
            where = f"{_place(error, self.file)}: {self.name} failed for the sample {sample.id!r}"
            raise InputError(f"{where}: {_in_words(error)}") from error


def load_rule(setting: str, parameters: tuple[str, ...]) -> OwnRule:
    """The function that `FILE.py:FUNCTION` names, which takes `parameters`; raises `InputError`."""
    file, name = FunctionInFile.split(setting)
    if not name:
        raise InputError(f"{setting!r} names no function; write {setting}:FUNCTION")
    if not Path(file).is_file():
        raise InputError(f"{file}: {DOES_NOT_EXIST}")
    source = Path(file).read_bytes()
    module = _run_file(file, source)
    function = getattr(module, name, None)
    if not callable(function):
        own = [key for key, value in vars(module).items() if inspect.isfunction(value)]
        close = difflib.get_close_matches(name, own, n=1)
        raise InputError(f"{file} has no function {name!r}" + (f" (did you mean {close[0]!r}?)" if close else ""))
    _require_parameters(f"{file}:{name}", function, parameters)
    return OwnRule(file, function, name, sha256_of_bytes(source))


def problems_of_rule(key: str, setting: str, parameters: tuple[str, ...]) -> Lines:
    """The problem of a function that the setting `key` names, if any."""
    try:
        load_rule(setting, parameters)
    except InputError as error:
        yield f"{key} {error}"


def names_in_logs(names: list[str], others: Iterable[str]) -> list[str]:
    """Short names: of `FILE.py:FUNCTION` the function, with as much of its path as makes it unlike all, also `others`."""
    endings = {name: _endings(name) for name in [*others, *names]}
    return [_unlike(endings[name], [ends for other, ends in endings.items() if other != name]) for name in names]


def _endings(name: str) -> list[str]:
    """`f`, `my_rewards.f`, `folder.my_rewards.f` and so on of /folder/my_rewards.py:f."""
    file, function = FunctionInFile.split(name)
    words = [*Path(file).with_suffix("").parts[1:], function] if function else [name]
    return [".".join(words[-count:]) for count in range(1, len(words) + 1)]


def _unlike(endings: list[str], others: list[list[str]]) -> str:
    """The shortest ending that no other name has; all where a longer path ends with this one."""
    return next((ending for ending in endings if not any(ending in other for other in others)), endings[-1])


@cache
def _run_file(file: str, source: bytes) -> ModuleType:
    """The module of a file with this content, which is the content that is hashed."""
    module_name = f"{Path(file).stem}_{sha256_of_bytes(file.encode() + source)[:8]}"  # unlike any other module's
    spec = importlib.util.spec_from_file_location(module_name, file)
    assert spec is not None  # of a name that ends with .py
    module = importlib.util.module_from_spec(spec)
    folder = str(Path(file).parent)
    if folder not in sys.path:
        sys.path.append(folder)  # at the end: a file of the user's takes no other module's place
    writes_bytecode, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # the folder may be anywhere
    sys.modules[module_name] = module
    try:
        exec(compile(source, file, "exec"), vars(module))
    except (Exception, SystemExit) as error:
        del sys.modules[module_name]
        raise InputError(f"{_place(error, file)}: {_in_words(error)}") from error
    finally:
        sys.dont_write_bytecode = writes_bytecode
    return module


def _require_parameters(rule: str, function: Callable, parameters: tuple[str, ...]) -> None:
    try:
        signature = inspect.signature(function)
    except ValueError:  # of a function in C
        return
    try:
        signature.bind(*parameters)
    except TypeError:
        raise InputError(f"{rule}{signature} is called with ({', '.join(parameters)})") from None


def _place(error: BaseException, file: str) -> str:
    """`file:line` of an error: the last line of the file that it passed through, or of a syntax error its own."""
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        return f"{error.filename}:{error.lineno}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return f"{file}:{lines[-1]}" if lines else file


def _in_words(error: BaseException) -> str:
    text = error.msg if isinstance(error, SyntaxError) else " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
