"""A user's own file of samples is answered, scored and reported like a benchmark."""

import json
import shutil
import subprocess
import sys

import pytest
from inference_runs import arguments
from tiny_world import make_base, write_mmau, write_train_file

import infer
from omni_clst.data.sample_benchmark import load_sample_benchmark
from omni_clst.errors import InputError
from omni_clst.report.report import write_report
from omni_clst.settings import REPOSITORY


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own benchmark")
    make_base(folder / "base")
    write_mmau(folder / "data", 4)
    write_train_file(folder, 9)
    return folder


@pytest.fixture(scope="module")
def answered(world):
    infer.main(arguments(world, "base/infer"))
    infer.main(arguments(world, "base/infer", samples=world / "train.jsonl", group_by="level, source"))
    return world / "base" / "infer"


def test_every_sample_is_answered_beside_the_official_benchmarks(answered):
    assert sorted(path.name for path in answered.iterdir()) == ["mmau-mini", "train"]
    rows = [json.loads(line) for line in (answered / "train" / "predictions.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == [f"row{number}" for number in range(9)]
    assert rows[8]["groups"] == {"level": "hard", "source": "test"}


def test_scores_have_the_two_rules_and_the_groups(answered):
    scores = json.loads((answered / "train" / "scores.json").read_text())
    assert (scores["benchmark"], scores["release"], scores["total"]) == ("train", "train.jsonl", 9)
    assert "official" not in scores
    assert set(scores["strict"]["by"]["level"]) == {"easy", "medium", "hard"}
    assert scores["extracted"]["by"]["source"]["test"]["total"] == 9


def test_answers_to_clips_of_another_folder_are_not_taken_over(world, answered):
    """The same questions about clips that go by the same names, such as noisy copies."""
    shutil.copytree(world / "clips", world / "noisy" / "clips")
    said = r"train: has answers with other settings \(audio_root: .* -> .*noisy\); .*, --name gives these another folder"
    with pytest.raises(InputError, match=said):
        infer.main(arguments(world, "base/infer", samples=world / "train.jsonl", audio_root=world / "noisy"))


def test_score_command_gives_the_same(world, answered):
    command = [sys.executable, REPOSITORY / "src" / "score.py", "--samples", world / "train.jsonl", "--json", "--group_by",
               "level,source", "--predictions", answered / "train" / "predictions.jsonl"]  # fmt: skip
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    own = json.loads(result.stdout)
    assert own | {"benchmark": "train"} == json.loads((answered / "train" / "scores.json").read_text())


def test_report_shows_it_beside_the_official_ones(world, answered, tmp_path):
    text = write_report(world, tmp_path)
    lines = {line.split("|")[2].strip(): line.split("|") for line in text.splitlines() if line.startswith("| base |")}
    assert lines["train"][6].strip() == "-"  # no official rule
    assert lines["mmau-mini"][6].strip() != "-"


def test_scores_need_no_group(world):
    infer.main(arguments(world, "base/infer", samples=world / "train.jsonl", group_by="", name="ungrouped"))
    scores = json.loads((world / "base" / "infer" / "ungrouped" / "scores.json").read_text())
    assert (scores["total"], scores["strict"]["by"]) == (9, {})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "mmar"}, "mmar is the name of an official benchmark; give another with --name"),
        ({"name": "../x"}, "name '../x' is not a folder's name"),
        ({"group_by": "levels"}, "group_by 'levels' is no field of its rows (did you mean 'level'?)"),
        ({"samples": "nowhere.jsonl"}, "nowhere.jsonl: no such file"),
    ],
)
def test_mistakes_are_one_error(world, options, message):
    with pytest.raises(InputError) as error:
        infer.main(arguments(world, "wrong", **({"samples": world / "train.jsonl"} | options)))
    assert message in str(error.value)


def test_rows_are_checked_as_in_training(world, tmp_path):
    path = tmp_path / "held_out.jsonl"
    rows = (world / "train.jsonl").read_text().splitlines()
    path.write_text("\n".join([*rows[:2], rows[2].replace('"answer": "click"', '"answer": "crow"')]))
    with pytest.raises(InputError, match=r"held_out.jsonl:3: answer 'crow' is not one of"):
        load_sample_benchmark(path, ("source",))


def test_score_needs_to_know_what_was_answered(world):
    command = [sys.executable, REPOSITORY / "src" / "score.py", "--predictions", world / "train.jsonl"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 2
    assert "either benchmark and meta, or samples have to be given" in result.stderr
