"""MMAU and MMAR as they are: every row kept, odd ones flagged, files found where the README puts them."""

import json
from collections import Counter
from pathlib import Path

import pytest

from omni_clst.data.benchmark_rows import BenchmarkRows, find_benchmark, load_benchmark, resolve_audio
from omni_clst.data.benchmarks.registry import BENCHMARKS
from omni_clst.data.samples import AudioQASample
from omni_clst.errors import InputError

FILES = {  # file -> (benchmark, release)
    "mmau-test-mini.json": ("mmau-mini", "v05.15.25"),
    "MMAR-meta.jsonl": ("mmar", "MMAR-meta.jsonl of February 2026"),
    "MMAR-meta.json": ("mmar", "MMAR-meta.json, the first release"),
}


@pytest.fixture(scope="module")
def real(real_data) -> dict[str, BenchmarkRows]:
    return {file: load_benchmark(name, real_data / file) for file, (name, _) in FILES.items()}


def count_oddities(rows: BenchmarkRows) -> dict[str, int]:
    return dict(Counter(what for _, what in rows.oddities))


@pytest.mark.parametrize("file", FILES)
def test_real_files_are_read_whole_in_order_and_their_release_is_known(real, real_data, file):
    name, release = FILES[file]
    text = (real_data / file).read_text(encoding="utf-8")
    originals = json.loads(text) if file.endswith(".json") else [json.loads(line) for line in text.splitlines()]
    rows = real[file]
    assert len(rows.samples) == 1000
    assert [sample.id for sample in rows.samples] == [row["id"] for row in originals]
    assert list(rows.original_rows) == originals
    assert (rows.benchmark.name, rows.release) == (name, release)


def test_oddities_of_mmau_mini(real):
    rows = real["mmau-test-mini.json"]
    assert count_oddities(rows) == {
        "category is a list": 13,
        "a choice stands twice": 27,
        "choices are lists written as text": 1,
    }
    (stringified,) = [key for key, what in rows.oddities if what == "choices are lists written as text"]
    assert rows.samples[54].id == stringified
    assert all(choice.startswith("['") for choice in rows.samples[54].choices)
    lengths = {len(sample.choices) for sample in rows.samples}
    assert (min(lengths), max(lengths)) == (2, 8)


def test_groups_of_mmau_mini_are_filled_and_categories_are_texts(real):
    rows = real["mmau-test-mini.json"]
    assert {sample.extra["task"] for sample in rows.samples} == {"sound", "music", "speech"}
    assert {sample.extra["difficulty"] for sample in rows.samples} == {"easy", "medium", "hard"}
    assert all(isinstance(sample.extra["category"], str) for sample in rows.samples)


@pytest.mark.parametrize(("file", "lost_answers"), [("MMAR-meta.jsonl", 0), ("MMAR-meta.json", 6)])
def test_oddities_of_mmar(real, file, lost_answers):
    found = count_oddities(real[file])
    assert found.pop("a choice is empty") == 4
    assert found.pop("the answer is not among the choices", 0) == lost_answers
    assert found == {}


def test_clip_names_of_mmar_are_not_always_its_ids(real):
    for file in ("MMAR-meta.jsonl", "MMAR-meta.json"):
        samples = real[file].samples
        assert sum(sample.audio_path != f"./audio/{sample.id}.wav" for sample in samples) == 46
        assert len({resolve_audio(sample, "/r").parent for sample in samples}) == 1


def test_both_files_of_mmar_hold_the_same_questions_and_five_other_answers(real):
    newer, older = ({s.id: s for s in real[file].samples} for file in ("MMAR-meta.jsonl", "MMAR-meta.json"))
    assert newer.keys() == older.keys()
    assert list(newer) != list(older)
    assert sum(newer[key].answer != older[key].answer for key in newer) == 5


def test_groups_of_mmar_are_filled(real):
    samples = real["MMAR-meta.jsonl"].samples
    assert {sample.extra["modality"] for sample in samples} == {
        "sound", "music", "speech", "mix-sound-music", "mix-sound-speech", "mix-music-speech", "mix-sound-music-speech",
    }  # fmt: skip
    assert {sample.extra["category"] for sample in samples} == {
        f"{layer} Layer" for layer in ("Signal", "Perception", "Semantic", "Cultural")
    }


def test_subset_of_real_clips_resolves_to_files(real_data):
    subset = real_data / "mmau_mini_subset"
    rows = load_benchmark("mmau-mini", subset / "mmau-test-mini.json")
    assert len(rows.samples) == 38
    assert all(resolve_audio(sample, subset / "test-mini-audios").is_file() for sample in rows.samples)
    assert rows.release == "unknown release"


ROW = {
    "id": "a", "audio_id": "./test-mini-audios/a.wav", "question": "q", "choices": ["x", "y"], "answer": "x",
    "task": "sound", "difficulty": "easy", "sub-category": "s", "category": "c",
}  # fmt: skip
ODD_ROWS = [
    ({}, [], "nothing odd"),
    ({"choices": ["x", "x", "y"]}, ["a choice stands twice"], "repeated choice"),
    ({"choices": ["x", " "]}, ["a choice is empty"], "empty choice"),
    ({"choices": ["x"]}, ["1 choices"], "one choice"),
    ({"choices": []}, ["0 choices", "the answer is not among the choices"], "no choices"),
    ({"choices": "x or y"}, ["0 choices", "the answer is not among the choices"], "choices as one text"),
    ({"choices": ["['x']", "['y']"], "answer": "['x']"}, ["choices are lists written as text"], "lists as texts"),
    ({"choices": None}, ["0 choices", "the answer is not among the choices"], "choices without a value"),
    ({"question": " "}, ["no question"], "no question"),
    ({"audio_id": None}, ["no clip"], "no clip"),
    ({"answer": "z"}, ["the answer is not among the choices"], "lost answer"),
    ({"answer": None}, ["the answer is not among the choices"], "no answer"),
    ({"category": ["c", "d"]}, ["category is a list"], "category as a list"),
    ({"task": "", "difficulty": None}, ["no task", "no difficulty"], "groups without a value"),
]


def write(path: Path, rows: list) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows), encoding="utf-8")
    return path


@pytest.mark.parametrize(("change", "expected", "reason"), ODD_ROWS, ids=[row[-1] for row in ODD_ROWS])
def test_odd_row_is_flagged_and_kept(tmp_path, change, expected, reason):
    rows = load_benchmark("mmau-mini", write(tmp_path / "m.json", [ROW | change]))
    assert [what for _, what in rows.oddities] == expected, reason
    assert len(rows.samples) == 1


def test_row_without_a_key_is_flagged_and_kept(tmp_path):
    whole = ["question", "choices", "answer", "difficulty", "sub-category", "category"]
    row = {key: value for key, value in ROW.items() if key not in whole}
    rows = load_benchmark("mmau-mini", write(tmp_path / "m.json", [row]))
    assert [what for _, what in rows.oddities] == [
        "no question", "0 choices", "the answer is not among the choices", "no difficulty", "no sub-category",
    ]  # fmt: skip


@pytest.mark.parametrize(("name", "group"), [("mmar", "modality"), ("mmau-mini", "task")])
def test_another_benchmarks_file_is_an_error(tmp_path, name, group):
    row = {"id": "v", "audio_path": "./audio/v.wav", "question": "q", "choices": ["x", "y"], "answer": "x", "modality": "m"}
    path = write(tmp_path / "m.json", [ROW if name == "mmar" else row])
    with pytest.raises(InputError) as caught:
        load_benchmark(name, path)
    assert str(caught.value) == f"{path}: no row has a {group}: is it the metadata of {name}?"


def test_benchmark_without_answers_is_not_odd_for_it(tmp_path):
    unanswered = {key: value for key, value in ROW.items() if key != "answer"}
    rows = load_benchmark("mmau-test", write(tmp_path / "m.json", [unanswered]))
    assert (rows.samples[0].answer, rows.oddities) == (None, ())
    assert load_benchmark("mmau-test", write(tmp_path / "m.json", [ROW | {"answer": ""}])).oddities == ()


BAD_META = [
    ([ROW, ROW], "{path}: row 2: id 'a' is used already at {path}: row 1"),
    ([ROW | {"id": 3.5}], "{path}: row 1: id 3.5 is not a text"),
    ([ROW | {"id": 3}, ROW | {"id": "3"}], "{path}: row 2: id '3' is used already at {path}: row 1"),
    ([ROW, ROW | {"id": ""}], "{path}: row 2: id '' is not a text"),
    ([{key: value for key, value in ROW.items() if key != "id"}], "{path}: row 1: id None is not a text"),
    ([{"id": "a", "x": 1}], "{path}: no row has a task: is it the metadata of mmau-mini?"),
    ([], "{path}: holds no rows"),
]


@pytest.mark.parametrize(("rows", "message"), BAD_META, ids=[row[1][8:40] for row in BAD_META])
def test_rows_that_cannot_be_told_apart_or_read_are_errors(tmp_path, rows, message):
    path = write(tmp_path / "m.json", rows)
    with pytest.raises(InputError) as caught:
        load_benchmark("mmau-mini", path)
    assert str(caught.value) == message.format(path=path)


LAYOUTS = [
    ("mmau-mini", ["MMAU/mmau-test-mini.json", "MMAU/test-mini-audios/"], 0, 1, "as MMAU unpacks"),
    ("mmau-mini", ["MMAU/mmau-test-mini.json", "MMAU/audio/"], 0, 1, "clips in a folder called audio"),
    ("mmau-mini", ["MMAU/mmau-test-mini.json", "MMAU/audio/", "MMAU/test-mini-audios/"], 0, 2, "both folders"),
    ("mmau-test", ["MMAU/mmau-test.json", "MMAU/test-audios/"], 0, 1, "the test set"),
    ("mmar", ["MMAR/MMAR-meta.json", "MMAR/audio/"], 0, 1, "MMAR's first release"),
    ("mmar", ["MMAR/meta/MMAR-meta.json", "MMAR/audio/"], 0, 1, "as its repository has it"),
    ("mmar", ["MMAR/MMAR-meta.json", "MMAR/MMAR-meta.jsonl", "MMAR/audio/"], 1, 2, "the newer file wins"),
    ("mmau-mini", ["mmau-test-mini.json", "test-mini-audios/"], 0, 1, "data_root is MMAU's own folder"),
    ("mmar", ["MMAR-meta.json", "MMAR/MMAR-meta.json", "audio/", "MMAR/audio/"], 1, 3, "MMAR/ goes first"),
]


@pytest.mark.parametrize(("name", "there", "meta", "audio", "reason"), LAYOUTS, ids=[row[-1] for row in LAYOUTS])
def test_benchmark_is_found(tmp_path, name, there, meta, audio, reason):
    for entry in there:
        path = tmp_path / entry
        (path if entry.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
        if not entry.endswith("/"):
            path.write_text("[]")
    assert find_benchmark(tmp_path, name) == (tmp_path / there[meta], tmp_path / there[audio]), reason


def test_missing_clips_are_left_to_the_reader(tmp_path):
    write(tmp_path / "MMAU" / "mmau-test-mini.json", [ROW])
    meta, audio = find_benchmark(tmp_path, "mmau-mini")
    assert audio == tmp_path / "MMAU" / "test-mini-audios"


def test_benchmark_that_is_not_there_is_none_and_says_what_to_put_where(tmp_path):
    (tmp_path / "MMAU" / "test-mini-audios").mkdir(parents=True)
    assert {find_benchmark(tmp_path, name) for name in BENCHMARKS} == {None}
    assert find_benchmark(tmp_path / "gone", "mmar") is None
    assert [BENCHMARKS[name].missing_line(tmp_path) for name in ("mmar", "mmau-mini", "mmau-test", "mmsu")] == [
        f"mmar: no {tmp_path}/MMAR/MMAR-meta.jsonl (from https://huggingface.co/datasets/BoJack/MMAR)",
        f"mmau-mini: no {tmp_path}/MMAU/mmau-test-mini.json (from https://github.com/Sakshi113/MMAU)",
        f"mmau-test: no {tmp_path}/MMAU/mmau-test.json (from https://github.com/Sakshi113/MMAU)",
        f"mmsu: no {tmp_path}/MMSU/mmsu.jsonl (from https://huggingface.co/datasets/ddwang2000/MMSU, through "
        "prepare_data.sh mmsu)",
    ]


@pytest.mark.parametrize("given", ["./test-mini-audios/a b.wav", "a b.wav", "/elsewhere/audio/a b.wav", "x/../a b.wav"])
def test_clip_is_its_file_name_in_the_audio_folder(given):
    sample = AudioQASample("another id", given, "q", ("x", "y"), "x")
    assert resolve_audio(sample, "/data/MMAU/audio") == Path("/data/MMAU/audio/a b.wav")


def test_a_benchmark_is_one_file_that_is_found_by_itself(tmp_path, monkeypatch):
    """A new file in the folder is all that a benchmark takes: rows, groups, official rule, place."""
    text = """
from omni_clst.data.benchmarks.benchmark import Benchmark, lenient_sample

BENCHMARKS = (
    Benchmark(
        name="barks", homepage="x", meta_files=("Barks/meta.json",), audio_folders=("Barks/audio",),
        row_keys=frozenset({"bark_id"}), to_sample=lambda row: lenient_sample({**row, "source": "barks"}),
        is_correct=lambda prediction, answer, choices: prediction == answer, groups=("breed",),
        output_keys=("model_output",), releases={},
    ),
)
"""
    (tmp_path / "barks.py").write_text(text)
    import omni_clst.data.benchmarks as package
    from omni_clst.data.benchmarks import registry

    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    found = registry.find_benchmarks([*package.__path__])
    assert found["barks"].folder == "Barks"
    assert found.keys() - BENCHMARKS.keys() == {"barks"}
