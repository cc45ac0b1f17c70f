"""The sample file: read in order, written back the same, and every bad row named by file, line and value."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omni_clst.data.layouts import read_samples
from omni_clst.data.samples import AudioQASample, make_sample_id, read_rows, write_samples
from omni_clst.errors import InputError

ROW = {
    "id": "a",
    "audio_path": "a.wav",
    "question": "what?",
    "choices": ["cat", "cow"],
    "answer": "cat",
    "think": "miaow",
    "source": "farm",
}


def write(path: Path, *rows: dict | str) -> Path:
    """A JSON Lines file of rows, or of lines as they are."""
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


def message(path: Path) -> str:
    """What reading a file fails with."""
    with pytest.raises(InputError) as caught:
        read_samples(path)
    return str(caught.value)


def test_file_order_is_kept(tmp_path):
    names = ["z", "b", "y", "a"]  # the file's order is the curriculum
    path = write(tmp_path / "t.jsonl", *(ROW | {"id": name} for name in names))
    assert [sample.id for sample in read_samples(path)] == names


def test_all_fields_are_read(tmp_path):
    row = ROW | {"level": "hard", "prompt": "listen: what?", "base_pass_rate": 0.25}
    (sample,) = read_samples(write(tmp_path / "t.jsonl", row))
    assert sample == AudioQASample(
        id="a",
        audio_path=str(tmp_path / "a.wav"),
        question="what?",
        choices=("cat", "cow"),
        answer="cat",
        think="miaow",
        source="farm",
        level="hard",
        prompt="listen: what?",
        extra={"base_pass_rate": 0.25},
    )


def test_optional_fields_have_defaults(tmp_path):
    row = {key: ROW[key] for key in ("audio_path", "question", "choices", "answer")}
    (sample,) = read_samples(write(tmp_path / "t.jsonl", row))
    assert (sample.think, sample.prompt, sample.extra) == (None, None, {})
    assert (sample.source, sample.level) == ("unknown", "unknown")
    nulls = dict.fromkeys(("id", "think", "source", "level", "prompt"))
    assert read_samples(write(tmp_path / "t.jsonl", row | nulls)) == [sample]


def test_dropped_thought_is_no_missing_one(tmp_path):
    path = write(tmp_path / "t.jsonl", ROW | {"think": ""}, ROW | {"id": "b", "think": None})
    assert [sample.think for sample in read_samples(path)] == ["", None]


@pytest.mark.parametrize("name", ["t.jsonl", "t.json", "t.txt"])
@pytest.mark.parametrize("layout", ["lines", "array", "array, indented", "byte order mark", "blank lines", "CRLF"])
def test_content_decides_how_a_file_is_read(tmp_path, name, layout):
    rows = [ROW, ROW | {"id": "b", "question": "où ? 何"}]
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    text = {
        "lines": "\n".join(lines),
        "array": "  \n" + json.dumps(rows),
        "array, indented": json.dumps(rows, indent=2),
        "byte order mark": "\ufeff" + "\n".join(lines),
        "blank lines": "\n" + "\n \n".join(lines) + "\n\n",
        "CRLF": "\r\n".join(lines) + "\r\n",
    }[layout]
    (tmp_path / name).write_bytes(text.encode("utf-8"))
    assert [sample.question for sample in read_samples(tmp_path / name)] == ["what?", "où ? 何"]


def test_array_with_a_byte_order_mark_is_an_array(tmp_path):
    (tmp_path / "t.json").write_bytes(("\ufeff" + json.dumps([ROW])).encode("utf-8"))
    assert [place for place, _ in read_rows(tmp_path / "t.json")] == [f"{tmp_path}/t.json: row 1"]


def test_places_count_lines_from_one_blank_ones_too(tmp_path):
    path = write(tmp_path / "t.jsonl", "", ROW, " ", ROW)
    assert [place for place, _ in read_rows(path)] == [f"{path}:2", f"{path}:4"]


AUDIO_PATHS = [
    ("a.wav", None, "{folder}/a.wav", "from the file's folder"),
    ("clips/../b/a.wav", None, "{folder}/b/a.wav", "normalised"),
    ("b/a.wav", "/audio", "/audio/b/a.wav", "from audio_root"),
    ("./b/a.wav", "/audio/", "/audio/b/a.wav", "a leading ./ is nothing"),
    ("/else/a.wav", "/audio", "/else/a.wav", "absolute stays"),
    ("/else/a.wav", None, "/else/a.wav", "absolute stays, without a root"),
]


@pytest.mark.parametrize(("given", "root", "expected", "reason"), AUDIO_PATHS, ids=[row[-1] for row in AUDIO_PATHS])
def test_audio_path_is_resolved(tmp_path, given, root, expected, reason):
    path = write(tmp_path / "t.jsonl", ROW | {"audio_path": given})
    assert read_samples(path, root)[0].audio_path == expected.format(folder=tmp_path), reason


@pytest.mark.parametrize("root", [None, ".", "sub/.."])
def test_audio_path_is_absolute_also_from_a_relative_file(tmp_path, monkeypatch, root):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "t.jsonl", ROW)
    assert read_samples("t.jsonl", root)[0].audio_path == str(tmp_path / "a.wav")


def test_generated_id_depends_on_audio_question_and_choices_alone(tmp_path):
    bare = {key: value for key, value in ROW.items() if key != "id"}
    path = write(tmp_path / "t.jsonl", bare)
    (sample,) = read_samples(path)
    assert sample.id == make_sample_id("a.wav", "what?", ["cat", "cow"]) == "a246cebe7485d4e0"
    for same in ({"answer": "cow"}, {"think": None}, {"source": "x", "level": "easy"}, {"id": ""}, {"id": None}):
        assert read_samples(write(path, bare | same))[0].id == sample.id
    for other in ({"audio_path": "b.wav"}, {"question": "what ?"}, {"choices": ["cow", "cat"]}):
        assert read_samples(write(path, bare | other))[0].id != sample.id
    assert read_samples(path, "/elsewhere")[0].id == read_samples(path)[0].id  # the row's own path counts


TEXT = st.text(st.characters(blacklist_categories=["Cs"]), min_size=1).filter(str.strip)
SAFE = TEXT.filter(lambda text: "<" not in text)


@settings(max_examples=30, deadline=None)  # every write waits for the disk
@given(
    question=TEXT,
    choices=st.lists(SAFE, min_size=2, max_size=5, unique=True),
    think=st.none() | SAFE | st.just(""),
    prompt=st.none() | TEXT,
    level=st.sampled_from(["easy", "medium", "hard", "unknown"]),
    extra=st.dictionaries(st.sampled_from(["base_correct", "audio_id", "modality", "x"]), st.integers() | TEXT),
)
def test_what_is_written_is_read_back(tmp_path_factory, question, choices, think, prompt, level, extra):
    path = tmp_path_factory.getbasetemp() / "round trip.jsonl"
    sample = AudioQASample("a", "/a b.wav", question, tuple(choices), choices[-1], think, "s", level, prompt, extra)
    write_samples(path, [sample])
    assert read_samples(path) == [sample]


def test_foreign_rows_are_written_in_our_format_and_read_back(tmp_path):
    """A benchmark's row keeps its own fields in `extra`: they must not make it look foreign again."""
    common = {"id": "a", "question": "what?", "choices": ["cat", "cow"], "answer": "cat", "category": "x"}
    for row in (common | {"audio_id": "./a.wav", "task": "sound"}, common | {"audio_path": "./a.wav", "modality": "mix"}):
        first = read_samples(write(tmp_path / "foreign.jsonl", row))
        write_samples(tmp_path / "own.jsonl", first)
        assert read_samples(tmp_path / "own.jsonl", "/elsewhere") == first


def test_own_fields_win_over_extra_ones_of_the_same_name():
    sample = AudioQASample("a", "/a.wav", "q", ("x", "y"), "x", extra={"answer": "z", "id": "b", "note": 1})
    assert sample.to_row() == {
        "id": "a", "audio_path": "/a.wav", "question": "q", "choices": ["x", "y"], "answer": "x", "think": None,
        "source": "unknown", "note": 1,
    }  # fmt: skip


def test_written_file_is_plain_utf8_lines(tmp_path):
    write_samples(tmp_path / "t.jsonl", [AudioQASample("a", "/a.wav", "où?", ("x", "y"), "x")])
    assert (tmp_path / "t.jsonl").read_bytes() == (
        '{"id": "a", "audio_path": "/a.wav", "question": "où?", "choices": ["x", "y"], "answer": "x", '
        '"think": null, "source": "unknown"}\n'
    ).encode()


def test_failed_write_leaves_the_old_file(tmp_path):
    path = write(tmp_path / "t.jsonl", ROW)
    before = path.read_bytes()

    def samples():
        yield AudioQASample("a", "/a.wav", "q", ("x", "y"), "x")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_samples(path, samples())
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["t.jsonl"]


BAD_ROWS = [
    ({"answer": "Dog"}, "answer 'Dog' is not one of ['cat', 'cow']"),
    ({"answer": "CAT"}, "answer 'CAT' is not one of ['cat', 'cow']"),
    ({"answer": None}, "has no answer (one of ['cat', 'cow'])"),
    ({"answer": 0}, "answer 0 is not a text"),
    ({"choices": ["cat"]}, "choices ['cat'] are fewer than two"),
    ({"choices": []}, "has no choices (a list of two or more texts)"),
    ({"choices": ["cat", "cow", "cat"]}, "choices ['cat', 'cow', 'cat'] hold one twice"),
    ({"choices": ["cat", " "]}, "choices ['cat', ' '] hold an empty one"),
    ({"choices": "cat, cow"}, "choices 'cat, cow' is not a list of texts"),
    ({"choices": ["cat", 3]}, "choices ['cat', 3] is not a list of texts"),
    ({"choices": None}, "choices None is not a list of texts"),
    ({"audio_path": ""}, "audio_path '' is not a text"),
    ({"audio_path": ["a.wav"]}, "audio_path ['a.wav'] is not a text"),
    ({"question": " "}, "question ' ' is not a text"),
    ({"question": 5}, "question 5 is not a text"),
    ({"id": 7}, "id 7 is not a text"),
    ({"think": ["x"]}, "think ['x'] is not a text"),
    ({"level": "tricky"}, "level 'tricky' is not one of ['easy', 'medium', 'hard', 'unknown']"),
    ({"level": 3}, "level 3 is not a text"),
    ({"prompt": "listen", "choices": [], "answer": None}, "answer None is not a text"),
    ({"prompt": "listen", "choices": [], "answer": " "}, "answer ' ' is not a text"),
    ({"think": "so <answer>cow</answer>"}, "think 'so <answer>cow</answer>' holds a tag of the answer's form"),
    ({"think": "a</think>b"}, "think 'a</think>b' holds a tag of the answer's form"),
    ({"choices": ["cow", "<think>"], "answer": "<think>"}, "answer '<think>' holds a tag of the answer's form"),
    ({"question": "\ud83d?"}, "holds a text that is not Unicode (half of a surrogate pair)"),
]


@pytest.mark.parametrize(("change", "problem"), BAD_ROWS, ids=[row[1][:50] for row in BAD_ROWS])
def test_bad_row_is_named_by_file_line_and_value(tmp_path, change, problem):
    path = write(tmp_path / "train.jsonl", "", ROW | {"id": "first"}, json.dumps(ROW | change))
    assert message(path) == f"{path}:3: {problem}"


def test_row_number_is_named_in_an_array(tmp_path):
    path = tmp_path / "train.json"
    path.write_text(json.dumps([ROW, ROW | {"id": "b", "answer": "Dog"}]))
    assert message(path) == f"{path}: row 2: answer 'Dog' is not one of ['cat', 'cow']"


def test_line_of_the_readme(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [ROW | {"id": str(number)} for number in range(811)]
    write(Path("train.jsonl"), *rows, ROW | {"id": "x", "answer": "Dog"})
    assert message(Path("train.jsonl")) == "train.jsonl:812: answer 'Dog' is not one of ['cat', 'cow']"


def test_problems_are_named_together(tmp_path):
    path = write(tmp_path / "t.jsonl", ROW | {"answer": "x"}, ROW, ROW | {"id": "b", "question": ""})
    assert message(path).splitlines() == [
        "2 bad rows:",
        f"  {path}:1: answer 'x' is not one of ['cat', 'cow']",
        f"  {path}:3: question '' is not a text",
    ]


def test_only_the_first_problems_are_shown_and_the_others_counted(tmp_path):
    path = write(tmp_path / "t.jsonl", *(ROW | {"answer": str(number)} for number in range(7)))
    shown = [f"  {path}:{number + 1}: answer '{number}' is not one of ['cat', 'cow']" for number in range(5)]
    assert message(path).splitlines() == ["7 bad rows:", *shown, "  ... and 2 more"]


def test_five_problems_are_all_shown(tmp_path):
    path = write(tmp_path / "t.jsonl", *(ROW | {"answer": str(number)} for number in range(5)))
    assert len(message(path).splitlines()) == 6
    assert "more" not in message(path)


def test_duplicate_id_names_both_lines(tmp_path):
    path = write(tmp_path / "t.jsonl", ROW, ROW | {"id": "b"}, ROW)
    assert message(path) == f"{path}:3: id 'a' is used already at {path}:1"


def test_equal_rows_without_ids_are_duplicates(tmp_path):
    bare = {key: value for key, value in ROW.items() if key != "id"}
    path = write(tmp_path / "t.jsonl", bare, bare)
    assert message(path) == f"{path}:2: id 'a246cebe7485d4e0' is used already at {path}:1"


BAD_FILES = [
    (b"", "{path}: holds no samples", "empty"),
    (b"\n \n", "{path}: holds no samples", "blank"),
    (b"[]", "{path}: holds no samples", "empty array"),
    (b'{"id": "a", "au', '{path}:1: not JSON (Unterminated string starting at): \'{{"id": "a", "au\'', "torn"),
    (b'{"id": 1}\n{"id": \n', "{path}:2: not JSON (Expecting value): '{{\"id\":'", "torn at its end"),
    (b"audio,question\n", "{path}:1: not JSON (Expecting value): 'audio,question'", "CSV"),
    (b'"a"\n', "{path}:1: expected an object, got '\"a\"'", "a text"),
    (b"[1]", "{path}: row 1: expected an object, got '1'", "array of numbers"),
    (b'[{"id": 1},\n{"id": ]', "{path}:2: not JSON (Expecting value)", "torn array"),
    ("é".encode("latin-1"), "{path}: not UTF-8 (unexpected end of data at byte 0)", "Latin-1"),
    (b'["\xff"]', "{path}: not UTF-8 (invalid start byte at byte 2)", "array in Latin-1"),
    (b"\xff\xfe{\x00", "{path}: not UTF-8 (invalid start byte at byte 0)", "UTF-16"),
]


@pytest.mark.parametrize(("content", "problem", "reason"), BAD_FILES, ids=[row[-1] for row in BAD_FILES])
def test_bad_file_is_named(tmp_path, content, problem, reason):
    path = tmp_path / "t.jsonl"
    path.write_bytes(content)
    assert message(path) == problem.format(path=path), reason


def test_missing_file_and_folder_are_named(tmp_path):
    assert message(tmp_path / "gone.jsonl") == f"{tmp_path}/gone.jsonl: No such file or directory"
    assert message(tmp_path) == f"{tmp_path}: Is a directory"


BENCHMARK_ROW = {"id": "a", "audio_id": "a.wav", "question": "what?", "choices": ["cat", "cow"], "answer": "cat"}


HOLES = [
    ("question", "question '' is not a text"),
    ("audio_id", "audio_path '' is not a text"),
    ("choices", "has no choices (a list of two or more texts)"),
    ("answer", "has no answer (one of ['cat', 'cow'])"),
]


@pytest.mark.parametrize(("missing", "problem"), HOLES, ids=[row[0] for row in HOLES])
def test_incomplete_benchmark_row_is_not_trainable(tmp_path, missing, problem):
    """Benchmarks are read leniently; training is not."""
    path = write(tmp_path / "t.jsonl", BENCHMARK_ROW | {missing: None})
    assert message(path) == f"{path}:1: {problem}"


def test_sample_with_its_own_prompt_needs_no_choices(tmp_path):
    path = write(tmp_path / "t.jsonl", ROW | {"prompt": "listen. cat or cow?", "choices": []})
    assert read_samples(path)[0].choices == ()


def test_clips_below_the_audio_root_are_written_relative_to_it(tmp_path):
    """A file with absolute paths breaks when its folder is moved."""
    inside, outside = str(tmp_path / "audio" / "a.wav"), str(tmp_path / "other" / "b.wav")
    samples = [AudioQASample(path, path, "q", ("a", "b"), "a") for path in (inside, outside)]
    file = tmp_path / "t.jsonl"
    write_samples(file, samples, tmp_path / "audio")
    assert [json.loads(line)["audio_path"] for line in file.read_text().splitlines()] == ["a.wav", outside]
    assert read_samples(file, tmp_path / "audio") == samples
