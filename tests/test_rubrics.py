"""MMAR-Rubrics: inference writes what a judge reads, and its ratings become a mean by group."""

import json

import pytest
import soundfile
from foreign_sets import waveform
from tiny_world import make_base

import infer
import score
from omni_clst.errors import InputError
from omni_clst.files import read_jsonl

RUBRIC = [{"name": f"point {number}", "scoring_point": "s", "note": "n", "choices": [0, 1]} for number in range(5)]


def row(number: int) -> dict:
    """A row of MMAR-meta.jsonl; one has no rubric, and one has its list written as text."""
    return {
        "id": f"r{number}",
        "audio_path": f"./audio/r{number}.wav",
        "question": "what sound comes first ?",
        "choices": ["hiss", "drum"],
        "answer": "drum",
        "modality": "sound" if number < 3 else "music",
        "category": "Signal Layer",
        "sub-category": "s",
        "thinking": "the reference",
        "cue": ["drum"],
        "rubric": {3: "", 4: repr(RUBRIC)}.get(number, RUBRIC),
    }


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rubrics")
    (folder / "data" / "MMAR" / "audio").mkdir(parents=True)
    for number in range(5):
        soundfile.write(folder / "data" / "MMAR" / "audio" / f"r{number}.wav", waveform(number, 0.5), 16_000)
    meta = folder / "data" / "MMAR" / "MMAR-meta.jsonl"
    meta.write_text("".join(json.dumps(row(number)) + "\n" for number in range(5)))
    make_base(folder / "base")
    words = ["--data_root", folder / "data", "--output", folder / "out", "--max_new_tokens", 4, "--num_workers", 0]
    infer.main([str(folder / "base"), *map(str, words), "--device", "cpu", "--prompt", "demo_selective"])
    return folder


def test_judges_input_is_the_row_with_thought_and_answer(world):
    made = [item for _, item in read_jsonl(world / "out" / "mmar" / "rubrics_input.jsonl")]
    predictions = {item["id"]: item for _, item in read_jsonl(world / "out" / "mmar" / "predictions.jsonl")}
    assert [item["id"] for item in made] == ["r0", "r1", "r2", "r4"]  # r3 has no rubric
    for item in made:
        assert item.pop("thinking_prediction") == (predictions[item["id"]]["think"] or "")
        assert item.pop("answer_prediction") == predictions[item["id"]]["model_output"]
        assert item == row(int(item["id"][1:]))


def rated(world, tmp_path, ratings: list[dict], *words: str) -> list[str]:
    path = tmp_path / "ratings.jsonl"
    path.write_text("".join(json.dumps(item) + "\n" for item in ratings))
    meta = world / "data" / "MMAR" / "MMAR-meta.jsonl"
    return ["--benchmark", "mmar", "--meta", str(meta), "--rubrics", str(path), *words]


GOOD = [
    {"id": "r0", "ratings": [1, 1, 1, 1, 1]},
    {"id": "r1", "ratings": [0, 0, 0, 0, 0]},
    {"id": "r2", "ratings": [1, 0, 1, 0, 1]},
    {"id": "r4", "ratings": [1, 1, 0, 0, 0]},
]


def test_mean_of_the_ratings_in_total_and_by_group(world, tmp_path, capsys):
    score.main(rated(world, tmp_path, GOOD))
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    for expected in ("all 20 50.00 [", "modality: sound 15 53.33 [", "modality: music 5 40.00 ["):
        assert any(line.startswith(expected) for line in lines), expected
    score.main(rated(world, tmp_path, GOOD[:3], "--allow_missing", "true", "--json", "true"))
    assert json.loads(capsys.readouterr().out)["accuracy"] == 40.0


BAD = [
    (GOOD[:3], "1 of 4 rows have no ratings: r4, ...; --allow_missing counts 0"),
    ([*GOOD, GOOD[0]], "ratings.jsonl:5: id 'r0' is there already"),
    ([{"id": "r3", "ratings": [1] * 5}], "ratings.jsonl:1: id 'r3' is no row with a rubric"),
    ([{"id": "r0", "ratings": [1] * 4}], r"ratings.jsonl:1: ratings \[1, 1, 1, 1\] is not a list of 5 times 0 or 1"),
    ([{"id": "r0", "ratings": [1, 1, 1, 1, 2]}], "is not a list of 5 times 0 or 1"),
    ([{"id": "r0"}], "ratings None is not a list"),
]


@pytest.mark.parametrize(("ratings", "message"), BAD, ids=[item[1][:40] for item in BAD])
def test_bad_ratings_are_errors_by_place(world, tmp_path, ratings, message):
    with pytest.raises(InputError, match=message):
        score.main(rated(world, tmp_path, ratings))


def test_ratings_and_predictions_exclude_each_other(world, tmp_path):
    predictions = str(world / "out" / "mmar" / "predictions.jsonl")
    with pytest.raises(InputError, match="one of predictions and rubrics has to be given"):
        score.main(rated(world, tmp_path, GOOD, "--predictions", predictions))
