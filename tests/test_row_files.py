"""Files of rows: which of a folder are read, clips inside, the same rows and numbers from every container."""

import csv
import datetime
import io
import json
import tarfile
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from foreign_sets import CHOICES, avqa_row, flac_bytes, waveform

from omni_clst.errors import InputError
from omni_clst.preparation.layouts import convert
from omni_clst.preparation.readers import NoRows, read_raw_rows

QUESTION = {"question": "Which?", "choices": CHOICES, "answer": "rain"}


# What becomes of each file of a folder: rows, or a line that says why it is passed over, or an error

ROW = json.dumps(QUESTION)
SKIPPED = [
    ("sizes.json", '{"0000.tar": 4}', "its rows have no question (keys 0000.tar)", "a writer's own notes"),
    ("sizes.json", '{\n  "a": 1,\n  "b": 2\n}', "is not a list of rows but an object (keys a, b)", "over several lines"),
    ("names.json", '["a", "b"]', "is not a list of rows but a list of other values", "a list of texts"),
    ("mixed.json", f"[3, {ROW}]", "is not a list of rows but a list of other values", "its first is none"),
    ("number.json", "3", "is not a list of rows but 3", "a number"),
    ("none.json", "[]", "holds no rows", "an empty list"),
    ("none.jsonl", "", "holds no rows", "an empty file"),
    ("sizes.jsonl", '{"a": 1}\n{"a": 2}', "its rows have no question (keys a)", "rows of something else"),
    ("coco.json", '[{"id": 1, "box": [0]}]', "its rows have no question (keys box, id)", "another task"),
    ("table.csv", "name,size\na,1\n", "its rows have no question (keys name, size)", "another table"),
    ("head.csv", "question,answer\n", "holds no rows", "a table without rows"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "line", "why"), SKIPPED, ids=[row[-1] for row in SKIPPED])
def test_file_that_holds_no_rows_is_named_and_passed_over(tmp_path, name, content, line, why):
    (tmp_path / name).write_text(content)
    with pytest.raises(NoRows) as alone:
        list(read_raw_rows(tmp_path / name))
    assert str(alone.value) == f"{tmp_path / name}: {line}"
    (tmp_path / "z.jsonl").write_text(ROW)
    skipped = []
    assert [raw.row for raw in read_raw_rows(tmp_path, skipped.append)] == [QUESTION]
    assert skipped == [f"{tmp_path / name}: {line}"]


BROKEN = [
    ("a.json", f"[{ROW}, {{", "not JSON", "a torn list"),
    ("a.json", f"[{ROW}, 3]", "row 2: expected an object", "a row that is none"),
    ("a.jsonl", f"{ROW}\n{{", "a.jsonl:2: not JSON", "a torn line"),
    ("a.jsonl", "not rows", "a.jsonl:1: not JSON", "no JSON"),
    ("a.csv", "question,answer\nx\n", "does not have the 2 fields of the header", "a short row"),
    ("a.parquet", "PAR1", "not a complete parquet file", "a torn parquet"),
    ("a.tar", "x" * 600, "not a complete tar file", "a torn tar"),
    *[(f"a.{suffix}", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a Git LFS pointer", f"{suffix}")
      for suffix in ("json", "jsonl", "csv", "parquet", "tar")],
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "line", "why"), BROKEN, ids=[f"{row[0]}: {row[-1]}" for row in BROKEN])
def test_broken_file_ends_the_reading_in_one_line(tmp_path, name, content, line, why):
    (tmp_path / name).write_text(content)
    (tmp_path / "z.jsonl").write_text(ROW)
    with pytest.raises(InputError) as caught:
        list(read_raw_rows(tmp_path))
    assert line in str(caught.value)
    assert str(tmp_path / name) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_folder_in_which_no_file_holds_rows_is_an_error_and_what_was_written_is_not_read(tmp_path):
    (tmp_path / "sizes.json").write_text("{}")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "samples.jsonl").write_text(ROW)
    with pytest.raises(NoRows, match=r"sizes\.json: its rows have no question"):
        list(read_raw_rows(tmp_path, leave_out=tmp_path / "out"))


def write_tar(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as shard:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            shard.addfile(member, io.BytesIO(content))


def test_tar_of_clips_alone_is_passed_over_and_a_shard_with_a_hole_is_an_error(tmp_path):
    row = json.dumps(QUESTION).encode()
    write_tar(tmp_path / "a.tar", {"x.flac": b"1", "y.flac": b"2"})
    write_tar(tmp_path / "b.tar", {"._x.json": b"\0", "x.json": row, "x.OPUS": b"1", "notes.txt": b""})
    skipped = []
    with pytest.raises(InputError, match="b.tar: notes has no .json beside it"):
        list(read_raw_rows(tmp_path, skipped.append))
    assert skipped == [f"{tmp_path / 'a.tar'}: x has no .json beside it"]
    write_tar(tmp_path / "b.tar", {"._x.json": b"\0", "x.json": row, "x.OPUS": b"1"})
    assert [(raw.row["file_name"], raw.audio) for raw in read_raw_rows(tmp_path / "b.tar")] == [("x", b"1")]


# Parquet with the audio inside, in every shape that `datasets` and others write

FLAC = flac_bytes(1)
HUB_STRUCT = pa.struct([("bytes", pa.large_binary()), ("path", pa.large_string())])
WAVE = waveform(1)
EMBEDDED = [
    ("audio", {"bytes": FLAC, "path": "v.flac"}, None, (FLAC, "v.flac"), "bytes and a name"),
    ("audio", {"bytes": FLAC, "path": None}, None, (FLAC, None), "bytes alone"),
    ("audio", {"bytes": None, "path": "v.wav"}, None, (None, "v.wav"), "a name alone"),
    ("audio", {"bytes": b"", "path": "v.wav"}, None, (None, "v.wav"), "no bytes, and a name"),
    ("audio", {"bytes": FLAC, "path": None}, HUB_STRUCT, (FLAC, None), "large binaries"),
    ("context", {"bytes": FLAC, "path": None}, None, (FLAC, None), "another column"),
    ("speech", {"bytes": FLAC, "path": None}, None, (FLAC, None), "any other column"),
    ("audio", FLAC, None, (FLAC, None), "a column of bytes"),
    ("audio", "v.wav", None, (None, "v.wav"), "a column of names"),
    ("audio", None, HUB_STRUCT, (None, None), "null"),
    ("image", {"bytes": b"png", "path": None}, None, (None, None), "a picture is no clip"),
    ("audio", {"bytes": b"no sound", "path": None}, None, (b"no sound", None), "garbage is found out when decoded"),
]


@pytest.mark.parametrize(("column", "value", "type_", "expected", "why"), EMBEDDED, ids=[row[-1] for row in EMBEDDED])
def test_clip_in_a_parquet_file_is_taken_in_every_shape(tmp_path, column, value, type_, expected, why):
    table = pa.table({"question": ["Which?"], column: pa.array([value], type=type_)})
    pq.write_table(table, tmp_path / "a.parquet")
    [raw] = read_raw_rows(tmp_path / "a.parquet")
    assert (raw.audio, raw.row.get("audio_path") or raw.row.get("audio")) == expected


def test_values_that_json_does_not_know_are_plain_ones(tmp_path):
    row = {"question_text": "How many?", "multi_choice": ["1", "2"], "answer": Decimal("2"), "audio_path": "a.wav",
           "think": None, "picture": b"png", "made": datetime.date(2025, 1, 2)}  # fmt: skip
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "a.parquet")
    [raw] = read_raw_rows(tmp_path / "a.parquet")
    assert raw.audio is None
    assert raw.row == row | {"answer": 2.0, "picture": None, "made": "2025-01-02"}


def test_choices_by_number_are_in_the_order_of_their_numbers():
    choices = {str(number): f"sound {number}" for number in range(1, 12)}
    assert convert("audsem", QUESTION | {"choices": choices, "answer": "sound 2"}).sample.choices[:3] == (
        "sound 1", "sound 2", "sound 3",
    )  # fmt: skip


@pytest.mark.parametrize("array", [WAVE.tolist(), np.stack([WAVE, WAVE]).tolist(), np.stack([WAVE, WAVE], 1).tolist()])
def test_decoded_array_in_a_parquet_file_is_a_clip(tmp_path, array):
    clip = {"array": array, "sampling_rate": 16_000, "path": None}
    pq.write_table(pa.table({"question": ["Which?"], "audio": [clip]}), tmp_path / "a.parquet")
    [raw] = read_raw_rows(tmp_path / "a.parquet")
    samples, rate = soundfile.read(io.BytesIO(raw.audio), dtype="float32", always_2d=True)
    assert rate == 16_000
    np.testing.assert_array_equal(samples[:, 0], WAVE)


# The same rows from every container; numbers that are answers

NUMBERS = [
    ([1, 2, 3, 4], 2, "2"),
    (["1", "2", "3", "4"], 2, "2"),
    (["1", "2", "3", "4"], "2", "2"),
    (["5", "3", "4", "2"], 3, "3"),
    (["two", "three", "four", "five"], 2, "four"),
    (["1", "2", "3", "4"], 2.0, "2"),
    ([1.0, 2.0, 3.0], 2, "2"),
    (["1.0", "2.0", "3.0"], 2, "2.0"),
    (["10", "20", "30", "40"], 20, "20"),
    (["0.5", "1.5"], 0.5, "0.5"),
    (["1", "2"], 0, None),
    (["1", "2"], 3, None),
    (["-1", "1"], -1, "-1"),
]


def write_rows(folder: Path, rows: list[dict], container: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"rows.{container}"
    if container == "csv":
        with open(path, "w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    elif container == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text(json.dumps(rows) if container == "json" else "".join(json.dumps(row) + "\n" for row in rows))
    return path


def answer_of(source: str, path: Path) -> str | None:
    from omni_clst.preparation.rules import Dropped

    [raw] = read_raw_rows(path)
    try:
        return convert(source, raw.row).sample.answer
    except Dropped as dropped:
        assert dropped.rule == "answer is no choice"
        return None


@pytest.mark.parametrize("container", ["json", "jsonl", "csv", "parquet"])
@pytest.mark.parametrize(("choices", "answer", "expected"), NUMBERS, ids=[f"{row[1]!r} of {row[0]}" for row in NUMBERS])
def test_number_is_the_choice_that_reads_so_from_every_container(tmp_path, container, choices, answer, expected):
    row = {"audio_path": "a.wav", "question": "How many?", "choices": choices, "answer": answer}
    assert answer_of("audiomcq", write_rows(tmp_path, [row], container)) == expected


@pytest.mark.parametrize("container", ["json", "jsonl", "csv", "parquet"])
@pytest.mark.parametrize(("answer", "expected"), [(2, "4"), (2.0, "4"), ("2", "4"), ("2.0", "4"), (4, None), (1.5, None)])
def test_index_is_an_index_from_every_container(tmp_path, container, answer, expected):
    row = avqa_row(0, multi_choice=["5", "3", "4", "2"], answer=answer)
    assert answer_of("avqa", write_rows(tmp_path, [row], container)) == expected


def test_published_rows_read_numbers_as_texts():
    row = {"question_text": "How many?", "multi_choice": [5, 3, 4, 2], "answer": 2.0, "audio_path": "a.wav", "think": ""}
    assert convert("published", row).sample.answer == "2"
