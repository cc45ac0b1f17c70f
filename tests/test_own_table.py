"""A user's own table of questions becomes samples: its columns are guessed or given, its faults are reported."""

import json
import subprocess

import pyarrow
import pytest
from own_table import write_table
from pyarrow import parquet
from tiny_world import write_clips

import prepare
from omni_clst.data.layouts import read_samples
from omni_clst.errors import InputError
from omni_clst.preparation.columns import choose_columns
from omni_clst.settings import REPOSITORY

PLAIN = ["file", "question", "option_a", "option_b", "option_c", "option_d", "answer_letter", "rationale", "city"]
GUESSED = [
    (PLAIN, {"question": "question", "choices": ("option_a", "option_b", "option_c", "option_d"), "answer": "answer_letter",
             "audio": "file", "think": "rationale"}),
    (["Question", "A", "B", "C", "Answer", "Audio"],
     {"question": "Question", "choices": ("A", "B", "C"), "answer": "Answer", "audio": "Audio"}),
    (["id", "audio_path", "question", "choices", "answer", "think", "source", "level"],
     {"question": "question", "choices": "choices", "answer": "answer", "audio": "audio_path", "think": "think", "id": "id",
      "source": "source", "level": "level"}),
    (["clip", "query", "choice10", "choice2", "choice1", "gold"],
     {"question": "query", "choices": ("choice1", "choice2", "choice10"), "answer": "gold", "audio": "clip"}),
]  # fmt: skip


@pytest.mark.parametrize(("keys", "columns"), GUESSED, ids=[keys[0] for keys, _ in GUESSED])
def test_plain_names_are_guessed(keys, columns):
    assert choose_columns(keys, {}, None, "t.csv:1").of == columns


def test_given_columns_go_before_guessed_ones():
    columns = choose_columns([*PLAIN, "frage"], {"question": "frage", "choices": ["option_b", "option_a"]}, None, "t.csv:1")
    assert (columns.of["question"], columns.of["choices"], columns.of["audio"]) == (
        "frage",
        ("option_b", "option_a"),
        "file",
    )


def test_given_columns_need_no_spaces_around_their_names():
    given = {"question": "question", "choices": ["a", "b"], "answer": "answer"}
    columns = choose_columns(["audio", " question ", " a", "b ", "answer"], given, None, "t.csv:1")
    assert (columns.of["question"], columns.of["choices"]) == (" question ", (" a", "b "))


def test_given_column_is_guessed_for_nothing_else():
    keys = ["source", "question", "option_a", "option_b", "option_c", "gold"]
    columns = choose_columns(keys, {"audio": "source", "answer": "option_c"}, None, "t.csv:1")
    assert columns.of == {
        "question": "question", "choices": ("option_a", "option_b"), "answer": "option_c", "audio": "source"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("keys", "given", "message"),
    [
        (
            ["frage", "a1", "x"],
            {},
            "t.csv:1: no column for question and choices and answer among frage, a1, x; name them: ",
        ),
        (PLAIN, {"question": "frage"}, "t.csv:1: has no column 'frage'; it has file, question, option_a"),
        (PLAIN, {"answer": ["city", "file"]}, "columns: answer is in one column, not in 2; only choices may be in several"),
        (PLAIN, {"choice": ["a"]}, "columns: 'choice' is not one of question, choices, answer, audio"),
    ],
)
def test_columns_that_cannot_be_known_are_named(keys, given, message):
    with pytest.raises(InputError) as error:
        choose_columns(keys, given, None, "t.csv:1")
    assert message in str(error.value)


@pytest.fixture
def table(tmp_path):
    """Writes a CSV of the given header and rows beside its clips, prepares it and returns the samples."""
    write_clips(tmp_path, 4)

    def prepared(header: str, *rows: str, **options: str):
        (tmp_path / "t.csv").write_text("\n".join([header, *rows]), encoding="utf-8")
        words = {
            "input": tmp_path / "t.csv",
            "output": tmp_path / "out",
            "audio_root": tmp_path,
            "against": "none",
        } | options
        prepare.main(["samples", *(word for key, value in words.items() for word in (f"--{key}", str(value)))])
        return read_samples(tmp_path / "out" / "samples.jsonl", tmp_path)

    return prepared


def test_row_keeps_its_source_its_level_and_every_other_column(table):
    header = "audio,question,a,b,answer,source,level,city"
    rows = ["clip000.wav,who?,x,y,B,mine,hard,Rome", "clip001.wav,who?,x,y,x,,odd,"]
    first, second = table(header, *rows)
    assert (first.answer, first.source, first.level, first.extra) == ("y", "mine", "hard", {"city": "Rome"})
    assert (second.answer, second.source, second.level, second.extra) == ("x", "samples", "unknown", {})


def test_questions_may_have_fewer_choices_than_the_table_has_columns(table, capsys):
    (sample,) = table("audio,question,a,b,c,d,answer", "clip000.wav,who?,x,y,,,B")
    assert sample.choices == ("x", "y")
    assert "choice" not in capsys.readouterr().out.split("1 rows in")[1]  # nothing to report


@pytest.mark.parametrize("cell", ["x|y|z", '"[""x"", ""y"", ""z""]"', '"{""A"": ""x"", ""B"": ""y"", ""C"": ""z""}"'])
def test_choices_may_be_in_one_cell(table, cell):
    (sample,) = table("audio,question,choices,answer", f"clip000.wav,who?,{cell},C")
    assert (sample.choices, sample.answer) == (("x", "y", "z"), "z")


def test_number_as_answer_needs_to_be_said_how_it_is_counted(table):
    rows = ("audio,question,a,b,c,answer", "clip000.wav,who?,x,y,z,2")
    with pytest.raises(InputError, match=r"t.csv:2: answer 2 is the place of a choice.*--first_choice 0 or 1 says which"):
        table(*rows)
    assert table(*rows, first_choice="0")[0].answer == "z"
    assert table(*rows, first_choice="1")[0].answer == "y"
    assert table("audio,question,a,b,c,answer", "clip000.wav,who?,1,2,3,2")[0].answer == "2"  # a choice itself


@pytest.mark.parametrize(
    ("answer", "first_choice", "shown"),
    [
        ("0", "1", "0, counted from 1, of ['ja', '2,7']"),  # not the first choice, as if it were counted from 0
        ("3", "1", "3, counted from 1, of ['ja', '2,7']"),
        ("2", "0", "2, counted from 0, of ['ja', '2,7']"),
        ("2.7", "0", "'2.7' of ['ja', '2,7']"),  # not the choice at place 2
        ("2.7", "none", "'2.7' of ['ja', '2,7']"),
    ],
)
def test_number_that_is_the_place_of_no_choice_is_dropped(table, tmp_path, answer, first_choice, shown):
    rows = (f"clip000.wav;who?;ja;2,7;{answer}", "clip001.wav;who?;ja;2,7;b)")
    (kept,) = table("audio;question;a;b;answer", *rows, first_choice=first_choice)
    assert kept.answer == "2,7"
    (dropped,) = map(json.loads, (tmp_path / "out" / "dropped.jsonl").read_text().splitlines())
    assert (dropped["rule"], dropped["value"]) == ("answer is no choice", shown)


def test_table_may_be_separated_by_tabs(table, tmp_path):
    (tmp_path / "t.tsv").write_text(
        "audio\tquestion\ta\tb\tanswer\nclip000.wav\twho, then?\t1,5\t2,7\tb\n", encoding="utf-8"
    )
    (sample,) = table("", input=tmp_path / "t.tsv")
    assert (sample.question, sample.choices, sample.answer) == ("who, then?", ("1,5", "2,7"), "2,7")


def test_table_may_be_in_a_folder_with_the_layout_of_the_hub(table, tmp_path):
    (tmp_path / "hub").mkdir()
    rows = {"audio": ["clip000.wav"], "question": ["who?"], "a": ["x"], "b": ["y"], "answer": ["B"]}
    parquet.write_table(pyarrow.table(rows), tmp_path / "hub" / "train.parquet")
    (sample,) = table("", input="none", hub=tmp_path / "hub", clips=tmp_path)
    assert (sample.choices, sample.answer) == (("x", "y"), "y")


def test_columns_of_a_known_set_cannot_be_given(table):
    with pytest.raises(InputError, match="columns and first_choice are of source samples; the columns of avqa are known"):
        prepare.main(["avqa", "--input", ".", "--output", "out", "--first_choice", "1"])


def test_column_that_is_there_twice_is_named(table):
    with pytest.raises(InputError, match=r"t.csv:1: the column 'choice' is there twice: give each a name of its own"):
        table("audio,question,choice,choice,answer", "clip000.wav,who?,x,y,x")


def test_table_without_any_usable_row_is_status_1(table, capsys):
    with pytest.raises(SystemExit) as ended:
        table("audio,question,a,b,answer", "clip000.wav,who?,x,y,Q", "clip001.wav,who?,x,y,Z")
    assert ended.value.code == 1
    printed = capsys.readouterr()
    assert "no row stays of 2; dropped.jsonl in it says why" in printed.err
    assert "2 dropped  answer is no choice" in printed.out


def test_own_format_is_read_as_it_is(table, tmp_path):
    rows = [{"id": "q", "audio_path": "clip000.wav", "question": "who?", "choices": ["x", "y"], "answer": "y", "think": "",
             "source": "mine", "base_pass_rate": 0.5}]  # fmt: skip
    (tmp_path / "s.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (sample,) = table("audio", input=tmp_path / "s.jsonl")
    assert (sample.id, sample.think, sample.source, sample.extra) == ("samples-q", "", "mine", {"base_pass_rate": 0.5})


def test_table_with_every_fault_is_prepared_in_a_project(tmp_path, real_data):
    """What a user has: German, semicolons, CRLF, a lost file, a letter out of range, an MP3 named wav, a clip twice."""
    write_table(tmp_path / "data" / "samples", real_data / "fsdd" / "recordings")
    command = ["bash", REPOSITORY / "script" / "prepare_data.sh", "--project", tmp_path, "--held_out", "20"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert (
        "choices: [option_a, option_b, option_c, option_d], answer: answer_letter, audio: file, think: rationale (guessed"
        in (result.stdout)
    )
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    reported = [line for line in lines if line.split()[1:2] in (["dropped"], ["changed"])]
    assert [line.split(" samples/")[0] for line in reported] == [
        "1 dropped answer is no choice", reported[1], "2 dropped the same question about the same clip"
    ]  # fmt: skip
    assert reported[0].endswith("samples.csv:11: 'E' of ['9', '16', '15', '17']")
    assert reported[1].startswith("1 dropped no clip")
    dropped = (tmp_path / "data" / "prepared" / "samples" / "dropped.jsonl").read_text()
    assert "samples.csv:6" in dropped and "verloren.wav: no such file" in dropped
    assert "1 codec is not what the name says: samples/clips/clip10.wav" in lines
    source = read_samples(tmp_path / "data" / "source.jsonl", tmp_path / "data")
    held_out = read_samples(tmp_path / "data" / "held_out.jsonl", tmp_path / "data")
    assert (len(source), len(held_out)) == (96, 20)
    assert not {sample.audio_path for sample in source} & {sample.audio_path for sample in held_out}
    assert {sample.extra["depth"] for sample in held_out} == {"shallow", "deep"}
