"""Rows of the files that people have: JSON, JSON Lines, CSV, parquet and webdataset tars with the audio inside, the Hub.

Every reader yields `RawRow`s one by one, in the order of the files, so that memory does not grow with the set.
"""

import csv
import json
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from ..samples import read_rows

ROWS_AT_ONCE = 32  # of a parquet file: each may hold a minute of audio
AUDIO_SUFFIXES = (".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a", ".aac", ".mp4", ".webm", ".aiff", ".aif", ".w64")


@dataclass(frozen=True)
class RawRow:
    """A row as it stands at `place`; `audio` is the clip's file where it is embedded, else None."""

    place: str
    row: dict
    audio: bytes | None = None


def read_raw_rows(path: Path | str) -> Iterator[RawRow]:
    """Rows of a file or of all data files below a folder, by name; raises `InputError` for what cannot be read."""
    path = Path(path)
    if path.is_dir():
        files = data_files(path)
        if not files:
            raise InputError(f"{path}: no data file below it ({', '.join(READERS)})")
        for file in files:
            yield from READERS[file.suffix.lower()](file)
        return
    if not path.is_file():
        raise InputError(f"{path}: no such file or folder")
    if path.suffix.lower() not in READERS:
        raise InputError(f"{path}: is none of {', '.join(READERS)}")
    yield from READERS[path.suffix.lower()](path)


def data_files(folder: Path) -> list[Path]:
    """Data files below a folder, by name; hidden ones are left out."""
    found = [path for path in folder.rglob("*") if path.suffix.lower() in READERS and path.is_file()]
    return sorted(path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts))


def read_hub_rows(name: str, config: str | None, split: str) -> Iterator[RawRow]:
    """Rows of a data set on the Hub, or of a folder in its layout, streamed through `datasets`; audio is not decoded."""
    from datasets import Audio, load_dataset
    from datasets.exceptions import DatasetNotFoundError

    try:
        rows = load_dataset(name, config, split=split, streaming=True)
    except (DatasetNotFoundError, FileNotFoundError, ConnectionError, ValueError) as error:
        raise InputError(f"--hub {name}: {str(error).splitlines()[0]}") from None
    for column, feature in (rows.features or {}).items():
        if isinstance(feature, Audio):
            rows = rows.cast_column(column, Audio(decode=False))
    for number, row in enumerate(rows, 1):
        yield _with_audio(f"{name}: row {number}", row)


def _read_json(path: Path) -> Iterator[RawRow]:
    for place, row in read_rows(path):
        yield RawRow(place, row)


def _read_csv(path: Path) -> Iterator[RawRow]:
    csv.field_size_limit(sys.maxsize)
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            for row in reader:
                if None in row or None in row.values():
                    raise InputError(f"{path}:{reader.line_num}: has not the {len(reader.fieldnames)} fields of the header")
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
        raise InputError(f"{path}: not a whole parquet file ({str(error).splitlines()[0]})") from None


def _with_audio(place: str, row: dict) -> RawRow:
    """Take the clip out of the Hub's audio column, {"bytes", "path"}; where that only names a file, keep the name."""
    row = dict(row)
    audio = row.pop("audio", None)
    if not isinstance(audio, dict):
        return RawRow(place, row if audio is None else row | {"audio_path": audio})
    if audio.get("path"):
        row.setdefault("audio_path", audio["path"])
    return RawRow(place, row, audio.get("bytes"))


def _read_tar(path: Path) -> Iterator[RawRow]:
    """A webdataset shard: members of one key (the name up to its first dot) stand next to each other."""
    key, row, audio = None, None, None
    try:
        with tarfile.open(path, "r|*") as shard:
            for member in shard:
                if not member.isfile():
                    continue
                folder, _, name = member.name.rpartition("/")
                stem, _, suffix = name.partition(".")
                if (folder, stem) != key:
                    if key is not None:
                        yield _of_shard(path, key, row, audio)
                    key, row, audio = (folder, stem), None, None
                content = shard.extractfile(member).read()
                if suffix.lower() == "json":
                    row = _parse_member(f"{path}: {member.name}", content)
                elif f".{suffix.lower()}" in AUDIO_SUFFIXES:
                    audio = content
            if key is not None:
                yield _of_shard(path, key, row, audio)
    except tarfile.TarError as error:
        raise InputError(f"{path}: not a whole tar file ({error})") from None


def _parse_member(place: str, content: bytes) -> dict:
    try:
        row = json.loads(content.decode("utf-8-sig"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{place}: not JSON ({error})") from None
    if not isinstance(row, dict):
        raise InputError(f"{place}: expected an object, got {str(row)[:60]!r}")
    return row


def _of_shard(path: Path, key: tuple[str, str], row: dict | None, audio: bytes | None) -> RawRow:
    name = "/".join(part for part in key if part)
    if row is None:
        raise InputError(f"{path}: {name} has no .json beside its audio")
    return RawRow(f"{path}: {name}", {"file_name": key[1]} | row, audio)


READERS = {".json": _read_json, ".jsonl": _read_json, ".csv": _read_csv, ".parquet": _read_parquet, ".tar": _read_tar}
