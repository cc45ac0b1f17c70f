"""Read rows from JSON, JSON Lines, CSV, TSV, parquet, webdataset tars (both with embedded audio) and the Hub.

Every reader yields `RawRow`s one by one, in the order of the files, so that memory does not grow with the set.
"""

import csv
import io
import itertools
import json
import sys
import tarfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import numpy as np
import soundfile

from ..data.audio_files import LFS_POINTER
from ..data.samples import read_rows
from ..errors import InputError
from .folders import CLIP_SUFFIXES, files_below

ROWS_AT_ONCE = 32  # of a parquet file: each may contain a minute of audio
QUESTION_KEYS = {"question", "question_text", "messages"}  # a file whose first row has none of them has no questions
_CLIP_COLUMNS = ("audio", "context", "wav", "sound", "clip")  # preferred over other columns with bytes


class NoRows(InputError):
    """A data file without rows of questions, such as one with a data set's statistics."""


@dataclass(frozen=True)
class RawRow:
    """A row as read at `place`; `audio` is the content of the clip's file where it is embedded, else None."""

    place: str
    row: dict
    audio: bytes | None = None


def read_raw_rows(
    path: Path | str,
    skipped: Callable[[str], None] = lambda line: None,
    leave_out: Path | None = None,
    is_question: Callable[[Iterable[str]], bool] | None = None,
) -> Iterator[RawRow]:
    """Rows of a file or of all data files below a folder, in order of name; raises `InputError` for unreadable ones.

    In a folder a file without rows of questions is skipped, and `skipped` is called with its name and the reason; files
    below `leave_out` are ignored. `is_question` judges by the keys of a file's first row.
    """
    path, is_question = Path(path), is_question or has_question
    if not path.is_dir():
        yield from _read_file(path, is_question)
        return
    files = [Path(file) for file in files_below(path, leave_out) if Path(file).suffix.lower() in READERS]
    if not files:
        raise NoRows(f"{path}: no data file below it ({', '.join(READERS)})")
    reasons = []
    for file in files:
        try:
            yield from _read_file(file, is_question)
        except NoRows as reason:
            reasons.append(str(reason))
            skipped(str(reason))
    if len(reasons) == len(files):
        raise NoRows(reasons[0] if len(reasons) == 1 else f"{reasons[0]}; no rows in any of {len(reasons)} data files")


def has_question(keys: Iterable[str]) -> bool:
    """True if a row with these keys has a question, by the names of all published sets."""
    return bool(QUESTION_KEYS & set(keys))


def _read_file(path: Path, is_question: Callable[[Iterable[str]], bool]) -> Iterator[RawRow]:
    """Rows of one file; raises `NoRows` before the first if they are no questions."""
    if not path.is_file():
        raise InputError(f"{path}: no such file or folder")
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise InputError(f"{path}: is none of {', '.join(READERS)}")
    with open(path, "rb") as file:
        if file.read(len(LFS_POINTER)) == LFS_POINTER:
            raise InputError(f"{path}: is a Git LFS pointer, not the file itself (`git lfs pull` fetches it)")
    rows = reader(path)
    first = next(rows, None)
    if first is None:
        raise NoRows(f"{path}: holds no rows")
    if not is_question(first.row):
        raise NoRows(f"{path}: its rows have no question (keys {', '.join(sorted(map(str, first.row))[:6])})")
    yield from itertools.chain([first], rows)


def read_hub_rows(name: str, config: str | None, split: str) -> Iterator[RawRow]:
    """Rows of a data set on the Hub, or of a folder in its layout, streamed through `datasets`; audio is not decoded."""
    import pyarrow
    from datasets import Audio, load_dataset
    from datasets.exceptions import DatasetsError

    number = 0
    try:
        rows = load_dataset(name, config, split=split, streaming=True)
        for column, feature in (rows.features or {}).items():
            if isinstance(feature, Audio):
                rows = rows.cast_column(column, Audio(decode=False))
        for number, row in enumerate(rows, 1):
            yield _with_audio(f"{name}: row {number}", row)
    # not found, no network, no such split, an invalid file: `datasets` has no common exception for them
    except (DatasetsError, OSError, ValueError, pyarrow.ArrowException) as error:
        where = f" after row {number}" if number else ""
        raise InputError(f"--hub {name}{where}: {(str(error).splitlines() or [type(error).__name__])[0]}") from None


def _read_json(path: Path) -> Iterator[RawRow]:
    rows = read_rows(path)
    try:
        first = next(rows, None)
    except InputError:
        _require_rows(path)
        raise
    for place, row in rows if first is None else itertools.chain([first], rows):
        yield RawRow(place, row)


def _require_rows(path: Path) -> None:
    """Raise `NoRows` for a file that is JSON, but no list of objects (sizes.json, dataset_info.json)."""
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError:  # not JSON: the reader's error has the line
        return
    raise NoRows(f"{path}: is not a list of rows but {_described(value)}")


def _described(value: object) -> str:
    if isinstance(value, dict):
        return f"an object (keys {', '.join(list(value)[:4])})"
    return "a list of other values" if isinstance(value, list) else repr(value)[:40]


def _read_csv(path: Path) -> Iterator[RawRow]:
    csv.field_size_limit(sys.maxsize)
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            header = file.readline()
            file.seek(0)
            reader = csv.DictReader(file, delimiter=max(",;\t", key=header.count))  # spreadsheets differ by country
            if repeated := [name for name, count in Counter(reader.fieldnames or ()).items() if count > 1]:
                raise InputError(f"{path}:1: the column {repeated[0]!r} is there twice: give each a name of its own")
            for row in reader:
                if None in row or None in row.values():
                    fields = len(reader.fieldnames or ())
                    raise InputError(f"{path}:{reader.line_num}: does not have the {fields} fields of the header")
                yield RawRow(f"{path}:{reader.line_num}", row)
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 ({error.reason} at byte {error.start})") from None
    except csv.Error as error:
        raise InputError(f"{path}:{reader.line_num}: not CSV ({error})") from None


def _read_parquet(path: Path) -> Iterator[RawRow]:
    import pyarrow
    from pyarrow import parquet

    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=ROWS_AT_ONCE):
                for row in batch.to_pylist():
                    number += 1
                    yield _with_audio(f"{path}: row {number}", row)
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(f"{path}: not a complete parquet file ({str(error).splitlines()[0]})") from None


def _with_audio(place: str, row: dict) -> RawRow:
    """Separate the clip from its row: the Hub's {"bytes", "path"}, a decoded array, or bytes, in any column.

    Where the column only names a file, the name stays in the row.
    """
    row = dict(row)
    column = next((name for name in (*_CLIP_COLUMNS, *row) if _is_clip(name, row.get(name))), None)
    clip = None if column is None else row.pop(column)
    row = json.loads(json.dumps(row, default=_as_json))
    if clip is None or isinstance(clip, bytes):
        return RawRow(place, row, clip)
    if isinstance(clip.get("path"), str) and clip["path"]:
        row.setdefault("audio_path", clip["path"])
    return RawRow(place, row, clip.get("bytes") or _encoded(clip.get("array"), clip.get("sampling_rate")))


def _as_json(value: object) -> object:
    """A value of parquet for JSON: a number for a decimal, None for bytes (a picture), else a text."""
    if isinstance(value, Decimal):
        return float(value)
    return None if isinstance(value, bytes) else str(value)


def _is_clip(name: str, value: object) -> bool:
    if isinstance(value, bytes):
        return name in _CLIP_COLUMNS
    is_picture = any(word in name.lower() for word in ("image", "picture", "video", "frame"))
    return isinstance(value, dict) and ("bytes" in value or "array" in value) and not is_picture


def _encoded(array: object, sampling_rate: object) -> bytes | None:
    """A decoded clip, (samples,) or (channels, samples), as the bytes of a WAV; None without one."""
    if array is None:
        return None
    waveform = np.atleast_2d(np.asarray(array, np.float32))
    waveform = waveform if waveform.shape[0] > waveform.shape[1] else waveform.T  # (samples, channels)
    buffer = io.BytesIO()
    try:
        soundfile.write(buffer, waveform, int(sampling_rate), format="WAV", subtype="FLOAT")
    except (TypeError, ValueError, soundfile.LibsndfileError):
        return b"array without a sampling rate"  # not decodable, so that the row is dropped and counted
    return buffer.getvalue()


def _read_tar(path: Path) -> Iterator[RawRow]:
    """Rows of a webdataset shard, in which members of one key (the name up to its first dot) are adjacent."""
    key, row, audio, is_first = None, None, None, True
    try:
        with tarfile.open(path, "r|*") as shard:
            for member in shard:
                if not member.isfile():
                    continue
                folder, _, name = member.name.rpartition("/")
                if name.startswith("."):  # added by macOS
                    continue
                stem, _, suffix = name.partition(".")
                if (folder, stem) != key:
                    if key is not None:
                        yield _of_shard(path, key, row, audio, is_first)
                        is_first = False
                    key, row, audio = (folder, stem), None, None
                file = shard.extractfile(member)
                content = b"" if file is None else file.read()
                if suffix.lower() == "json":
                    row = _parse_member(f"{path}: {member.name}", content)
                elif f".{suffix.lower()}" in CLIP_SUFFIXES:
                    audio = content
            if key is not None:
                yield _of_shard(path, key, row, audio, is_first)
    except tarfile.TarError as error:
        raise InputError(f"{path}: not a complete tar file ({error})") from None


def _parse_member(place: str, content: bytes) -> dict:
    try:
        row = json.loads(content.decode("utf-8-sig"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{place}: not JSON ({error})") from None
    if not isinstance(row, dict):
        raise InputError(f"{place}: expected an object, got {str(row)[:60]!r}")
    return row


def _of_shard(path: Path, key: tuple[str, str], row: dict | None, audio: bytes | None, is_first: bool) -> RawRow:
    name = "/".join(part for part in key if part)
    if row is None:
        error = NoRows if is_first else InputError  # a tar with clips only, or a shard with a missing member
        raise error(f"{path}: {name} has no .json beside it")
    return RawRow(f"{path}: {name}", {"file_name": key[1]} | row, audio)


READERS = {".json": _read_json, ".jsonl": _read_json, ".csv": _read_csv, ".tsv": _read_csv, ".parquet": _read_parquet,
           ".tar": _read_tar}  # fmt: skip
