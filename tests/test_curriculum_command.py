"""`src/curriculum.py`: the files it writes, what it refuses in one line, settings that are mappings."""

import json
import subprocess

import curriculum_runs
import pytest
from curriculum_runs import run
from graded_samples import levels_in
from PIL import Image

from omni_clst.data.layouts import read_samples
from omni_clst.errors import InputError
from omni_clst.method.config import CurriculumConfig
from omni_clst.settings import REPOSITORY, load_config

world = curriculum_runs.world  # a fixture


def test_command_writes_the_file_its_table_and_its_picture(world, capsys):
    run(world, audio_root=world, valid_size=5, valid_output=world / "out" / "valid.jsonl")
    output = world / "out" / "CLST.jsonl"
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert [row["level"] for row in rows] == ["easy"] * 2 + ["medium"] * 4 + ["hard"] * 4
    assert {(row["level"], row["base_pass_rate"], row["sft_pass_rate"]) for row in rows} == {
        ("easy", 1.0, 1.0),
        ("medium", 0.0, 1.0),
        ("hard", 0.0, 0.0),
    }
    assert all(row["audio_path"].startswith("clips/") and row["think"] == "because" for row in rows)
    valid = read_samples(world / "out" / "valid.jsonl", world)
    assert levels_in(valid) == {"easy": 1, "medium": 2, "hard": 2}
    assert not {sample.audio_path for sample in valid} & {sample.audio_path for sample in read_samples(output, world)}
    table = (world / "out" / "CLST.txt").read_text()
    assert capsys.readouterr().out == f"{table}\n{output}: 10 samples, easy to hard\n"
    assert Image.open(world / "out" / "CLST.png").size > (1000, 400)
    assert sorted(path.name for path in (world / "out").iterdir()) == [
        "CLST.jsonl", "CLST.png", "CLST.txt", "valid.jsonl"
    ]  # fmt: skip


def test_command_writes_the_same_bytes_again(world):
    run(world)
    before = (world / "out" / "CLST.jsonl").read_bytes()
    lines = (world / "source.jsonl").read_text().splitlines()
    (world / "source.jsonl").write_text("\n".join(reversed(lines)))
    run(world)
    assert (world / "out" / "CLST.jsonl").read_bytes() == before


def test_mix_on_the_command_line_takes_the_place_of_the_default(world):
    run(world, mix="hard: 1, medium: 1")
    assert levels_in(read_samples(world / "out" / "CLST.jsonl")) == {"medium": 5, "hard": 5}


def test_every_sample_is_marked_with_its_pass_rate_on_silence(world):
    run(world, size=30, silence_answers_dir=world / "silence")
    rates = {sample.id: sample.extra["silence_pass_rate"] for sample in read_samples(world / "out" / "CLST.jsonl")}
    assert rates == {f"q{n:02d}": 0.5 * (n % 3 == 0) for n in range(30)}


def test_nothing_is_marked_without_answers_on_silence(world):
    run(world)
    assert not any("silence_pass_rate" in sample.extra for sample in read_samples(world / "out" / "CLST.jsonl"))


def test_what_is_solvable_without_audio_is_left_out_and_counted(world, capsys):
    run(world, size=30, silence_answers_dir=world / "silence", max_silence_pass_rate=0.4)
    chosen = read_samples(world / "out" / "CLST.jsonl")
    assert {sample.id for sample in chosen} == {f"q{n:02d}" for n in range(30) if n % 3}
    assert levels_in(chosen) == {"easy": 8, "medium": 6, "hard": 6}
    table = capsys.readouterr().out.splitlines()
    assert [line.split()[:7] for line in table[7:11]] == [
        ["easy", "12", "4", "0", "0", "8", "8"],
        ["medium", "10", "4", "0", "0", "6", "6"],
        ["hard", "8", "2", "0", "0", "6", "6"],
        ["all", "30", "10", "0", "0", "20", "20"],
    ]
    assert "left out: 10 (solvable without audio: silence pass rate above 0.4)" in table


BAD = [
    ({"base_answers_dir": "{w}/gone"},
     "base_answers_dir {w}/gone/answers.jsonl: no such file; "
     "`bash script/build_sft.sh` makes it: the base answers the samples"),
    ({"answers_dir": "{w}/gone"},
     "answers_dir {w}/gone/answers.jsonl: no such file; "
     "`bash script/build_clst.sh` makes it: the SFT model answers the samples"),
    ({"answers_dir": "{w}/base"}, "base_answers_dir and answers_dir are one folder, {w}/base; give one of each model"),
    ({"samples": "{w}/gone.jsonl"}, "samples {w}/gone.jsonl: no such file"),
    ({"output": None}, "output is not set (--output VALUE, or in the YAML)"),
    ({"output": "{w}/out/CLST.txt"}, "output {w}/out/CLST.txt does not end in .jsonl"),
    ({"output": "{w}/source.jsonl"}, "samples, output and valid_output are not different files"),
    ({"output": "{w}/base/answers.jsonl/x.jsonl"}, "{w}/base/answers.jsonl: cannot write there (File exists)"),
    ({"output": "{w}/dir.jsonl"}, "output {w}/dir.jsonl is a folder"),
    ({"valid_size": 3}, "valid_size 3 needs valid_output"),
    ({"valid_size": 3, "valid_output": "{w}/source.jsonl/v.jsonl"}, "{w}/source.jsonl: cannot write there (File exists)"),
    ({"valid_size": -1}, "valid_size -1 is not at least 0"),
    ({"valid_size": 3, "valid_output": "{w}/out/CLST.jsonl"}, "samples, output and valid_output are not different files"),
    ({"valid_size": 30, "valid_output": "{w}/v.jsonl"}, "valid_size 30 leaves nothing to train on: there are 30 samples"),
    ({"size": 0}, "size 0 is not positive"),
    ({"right_from": 0}, "right_from 0.0 is not positive"),
    ({"right_from": 2}, "right_from 2.0 is not between 0 and 1"),
    ({"min_sft_pass_rate": 0.9, "max_sft_pass_rate": 0.1},
     "min_sft_pass_rate, max_sft_pass_rate: [0.9, 0.1] is not an interval within [0, 1]"),
    ({"min_sft_pass_rate": 0.5, "max_sft_pass_rate": 0.6},
     "nothing to draw: none of 0 samples has a level of the mix {{'easy': 0.2, 'medium': 0.4, 'hard': 0.4}}; change mix"),
    ({"max_silence_pass_rate": 0.5}, "max_silence_pass_rate 0.5 needs silence_answers_dir"),
    ({"max_silence_pass_rate": 1.5}, "max_silence_pass_rate 1.5 is not between 0 and 1"),
    ({"max_silence_pass_rate": -0.5, "silence_answers_dir": "{w}/silence"},
     "max_silence_pass_rate -0.5 is not between 0 and 1"),
    ({"max_silence_pass_rate": "nan"}, "max_silence_pass_rate nan is not between 0 and 1"),
    ({"min_silence_pass_rate": 0.5}, "min_silence_pass_rate 0.5 needs silence_answers_dir"),
    ({"min_silence_pass_rate": 0.5, "max_silence_pass_rate": 0.4, "silence_answers_dir": "{w}/silence"},
     "min_silence_pass_rate 0.5 is above max_silence_pass_rate"),
    ({"silence_answers_dir": "{w}/gone"},
     "silence_answers_dir {w}/gone/answers.jsonl: no such file; `src/answer.py --audio silence` makes it"),
    ({"silence_answers_dir": "{w}/base"}, "{w}/base/answers.jsonl:1: audio 'real' is not 'silence'"),
    ({"answers_dir": "{w}/silence"}, "{w}/silence/answers.jsonl:1: audio 'silence' is not 'real'"),
    ({"mix": "hrad: 1"}, "mix: 'hrad' is not one of easy, medium, hard"),
    ({"mix": "easy: -1, hard: 2"}, "mix: easy -1.0 is not a share"),
    ({"mix": "easy: 0"}, "mix: no level has a share"),
    ({"mix": "easy"}, "command line: mix 'easy' is not names with numbers (a: 0.5, b: 1)"),
    ({"mix": "easy: [1"}, "command line: mix 'easy: [1' is not names with numbers (a: 0.5, b: 1)"),
    ({"mox": "easy: 1"}, "command line: unknown key 'mox' (did you mean 'mix'?)"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "message"), BAD, ids=[row[1][:50] for row in BAD])
def test_bad_input_is_one_line_and_nothing_is_written(world, changes, message):
    before = {path: path.read_bytes() for path in world.rglob("*") if path.is_file()}
    changes = {key: value.format(w=world) if isinstance(value, str) else value for key, value in changes.items()}
    with pytest.raises(InputError) as caught:
        run(world, **changes)
    assert str(caught.value) == message.format(w=world)
    assert {path: path.read_bytes() for path in world.rglob("*") if path.is_file()} == before


def test_sample_that_a_model_did_not_answer_is_named(world):
    lines = (world / "sft" / "answers.jsonl").read_text().splitlines()
    (world / "sft" / "answers.jsonl").write_text("\n".join(lines[2:]))
    with pytest.raises(InputError, match="^2 of 30 samples have no answer of the SFT model: q00, q01$"):
        run(world)
    assert not list(world.rglob("CLST*"))


def test_all_problems_of_the_settings_are_reported_together(world):
    with pytest.raises(InputError) as caught:
        run(world, size=-1, mix="hrad: 1", valid_size=2)
    assert str(caught.value).splitlines() == [
        "3 problems in the settings:",
        "  size -1 is not positive",
        "  valid_size 2 needs valid_output",
        "  mix: 'hrad' is not one of easy, medium, hard",
    ]


# settings that are mappings


@pytest.mark.parametrize(
    ("text", "expected", "reason"),
    [
        ("easy: 0.5, hard: 1", {"easy": 0.5, "hard": 1.0}, "as on a command line"),
        ("{easy: 0.5, hard: 1}", {"easy": 0.5, "hard": 1.0}, "braces as in a YAML"),
        (" easy: 1e-1 ", {"easy": 0.1}, "a text that is a number"),
        ("easy:1", None, "no space behind the colon: one name without a number"),
        ("easy: yes", None, "a boolean is not a number"),
        ("easy: ", None, "nothing neither"),
        ("easy: [1]", None, "nor a list"),
        ("0.2,0.4,0.4", None, "nor numbers without names"),
    ],
)
def test_mapping_on_the_command_line(world, text, expected, reason):
    argv = ["--samples", str(world / "source.jsonl"), "--base_answers_dir", str(world / "base"),
            "--answers_dir", str(world / "sft"), "--output", "x.jsonl", "--mix", text]  # fmt: skip
    if expected is None:
        with pytest.raises(InputError) as caught:
            load_config(CurriculumConfig, argv)
        assert str(caught.value) == f"command line: mix {text!r} is not names with numbers (a: 0.5, b: 1)", reason
    else:
        assert load_config(CurriculumConfig, argv).mix == expected, reason


@pytest.mark.parametrize(
    ("line", "expected"),
    [("mix: {hard: 1}", {"hard": 1.0}), ("mix:\n  easy: 1e-1\n  hard: 2", {"easy": 0.1, "hard": 2.0})],
)
def test_mapping_in_a_yaml(world, line, expected):
    file = world / "c.yaml"
    file.write_text(f"samples: {world}/source.jsonl\nbase_answers_dir: {world}/base\nanswers_dir: {world}/sft\n"
                    f"output: x.jsonl\n{line}\n")  # fmt: skip
    assert load_config(CurriculumConfig, ["--config", str(file)]).mix == expected


@pytest.mark.parametrize("value", ["[1, 2]", "3", "{easy: true}", "{easy: null}"])
def test_what_is_no_mapping_in_a_yaml_is_named(world, value):
    file = world / "c.yaml"
    file.write_text(f"mix: {value}\n")
    with pytest.raises(InputError, match=r"c\.yaml: mix .* is not names with numbers"):
        load_config(CurriculumConfig, ["--config", str(file)])


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("build_sft.sh", ["--mode", "guidd"]),
        ("build_clst.sh", ["--right_from", "2"]),
    ],
)
def test_mistake_in_the_settings_of_the_data_is_found_before_a_model_answers(tmp_path, script, words):
    command = ["bash", str(REPOSITORY / "script" / script), "--model", "nowhere", *words]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (2, "")
    assert words[0][2:] in result.stderr and "nowhere" not in result.stderr
