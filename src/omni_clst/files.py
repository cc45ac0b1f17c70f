"""Read and write files: written whole or not at all, or append-only with a last line that a kill may cut off."""

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import ConstructorError

from .errors import InputError

_NOT_WRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)
# Libraries write files too: safetensors reports the system's reason in words, torch only that its archive is too short.
_LIBRARY_REASONS = re.compile(r"I/O error: (.*) \(os error \d+\)|.*(?:PytorchStreamWriter|inline_container).*", re.DOTALL)


def sha256_of_file(path: Path | str) -> str:
    """Hex SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_text(text: str) -> str:
    """Hex SHA-256 of a text's UTF-8 bytes."""
    return sha256_of_bytes(text.encode("utf-8"))


def sha256_of_bytes(data: bytes) -> str:
    """Hex SHA-256 of bytes."""
    return hashlib.sha256(data).hexdigest()


def require_writable(folder: Path | str) -> Path:
    """Create `folder` and check that a file can be written in it; raises `InputError` if not."""
    folder = Path(folder)
    probe = folder / f".writable-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise InputError(f"{folder}: cannot write there ({error.strerror})") from None
    return folder


def require_disk(folder: Path | str, needed_bytes: int, purpose: str) -> None:
    """Raise `InputError` if the disk of `folder` has less than `needed_bytes` free; `purpose` is named in it."""
    folder = Path(folder)
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        raise InputError(f"{folder}: {purpose} needs {needed_bytes / 1e9:.1f} GB of disk, {free / 1e9:.1f} GB are free")


def why_not_written(error: Exception) -> str | None:
    """The reason of an error that says that a file could not be written, such as a full disk; None for any other."""
    if isinstance(error, InputError) and isinstance(error.__cause__, Exception):  # explained already, by a part of it
        return why_not_written(error.__cause__)
    if isinstance(error, OSError):
        return error.strerror if error.errno in _NOT_WRITABLE else None
    found = _LIBRARY_REASONS.search(str(error))
    return (found[1] or "it was cut off, as on a full disk") if found else None


@contextmanager
def explaining_failed_writes(path: Path | str, remedy: str = "make room, then start again") -> Iterator[None]:
    """Turn an error of writing to `path` into an `InputError` with the reason and the remedy."""
    try:
        yield
    except Exception as error:
        reason = why_not_written(error)
        if reason is None:
            raise
        raise InputError(f"{path}: cannot be written ({reason}); {remedy}") from error


def flush_to_disk(path: Path | str) -> None:
    """Wait until a file or a folder's list of files is on the disk; raises `OSError` where the disk refuses it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some shared file systems flush no folders
            raise
    finally:
        os.close(descriptor)


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path to write to, which is renamed to `path` if the block ends without an error."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with explaining_failed_writes(path):
            yield temporary
            flush_to_disk(temporary)
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path | str, text: str) -> None:
    """Write UTF-8 text, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path | str, value: object) -> None:
    """Write one indented JSON value, whole or not at all."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def write_jsonl(path: Path | str, rows: Iterable[dict]) -> None:
    """Write JSON Lines, whole or not at all."""
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def append_jsonl(path: Path | str, rows: Iterable[dict]) -> None:
    """Append JSON Lines in one write, so that a kill leaves all rows, none, or an incomplete last line."""
    data = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode("utf-8")
    with explaining_failed_writes(path), open(path, "ab", buffering=0) as file:
        while data:  # a disk that fills up takes a part, and refuses the rest
            data = data[file.write(data) :]


def remove_incomplete_line(path: Path | str) -> None:
    """Remove an incomplete last line (of a process that was killed while appending) from an append-only file."""
    path = Path(path)
    if not path.exists():
        return
    data = path.read_bytes()
    complete = data.rfind(b"\n") + 1
    if complete != len(data):
        os.truncate(path, complete)


def read_appended(path: Path | str) -> Iterator[dict]:
    """Rows of an append-only file without an incomplete last line; none where there is no file."""
    if Path(path).exists():
        remove_incomplete_line(path)
        yield from (row for _, row in read_jsonl(path))


def read_text(path: Path | str) -> str:
    """Read a text, without a byte order mark; raises `InputError` with the file."""
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 ({error.reason} at byte {error.start})") from None


def read_json(path: Path | str) -> Any:
    """Read one JSON value; raises `InputError` with file and line."""
    text = read_text(path)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}:{error.lineno}: not JSON ({error.msg})") from None


def read_object(path: Path | str) -> dict:
    """Read one JSON object; raises `InputError` with the file for any other value."""
    value = read_json(path)
    if not isinstance(value, dict):
        raise InputError(f"{path}: expected an object, got {str(value)[:60]!r}")
    return value


def read_jsonl(path: Path | str) -> Iterator[tuple[int, dict]]:
    """Yield (line number from 1, object) of every line that is not blank; raises `InputError` with file and line."""
    try:
        with open(path, encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                try:
                    row = json.loads(line)
                except json.JSONDecodeError as error:
                    raise InputError(f"{path}:{number}: not JSON ({error.msg}): {line.strip()[:60]!r}") from None
                if not isinstance(row, dict):
                    raise InputError(f"{path}:{number}: expected an object, got {line.strip()[:60]!r}")
                yield number, row
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 ({error.reason} at byte {error.start})") from None


class _UniqueKeyLoader(yaml.SafeLoader):
    """A YAML loader that raises for repeated keys, of which PyYAML's keeps the last."""

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise ConstructorError(None, None, f"the key {key.value!r} is repeated", key.start_mark)
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else id(key))
        return super().construct_mapping(node, deep)


def read_yaml(file: str, may_be_empty: bool = False) -> dict:
    """Read one YAML mapping, {} from an empty file that may be empty; raises `InputError` with file and line."""
    text = read_text(file)
    try:
        value = yaml.load(text, _UniqueKeyLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        raise InputError(f"{file}:{line}: not YAML ({getattr(error, 'problem', error)})") from None
    if value is None and may_be_empty:
        return {}
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise InputError(f"{file}: expected `key: value` lines")
    return value


def write_yaml(values: dict, path: Path) -> None:
    """Write a mapping as YAML."""
    write_text(path, yaml.safe_dump(values, sort_keys=False, allow_unicode=True))
