"""MuChoMusic: from its CSV to a score; choices in a stable order, several kinds a question, unanswered ones counted."""

import random

import pytest
from benchmark_downloads import muchomusic_row, write_muchomusic

import prepare
from omni_clst.data.audio import load_audio
from omni_clst.data.benchmark_rows import find_benchmark, load_benchmark, resolve_audio
from omni_clst.data.benchmarks.muchomusic import choice_is_right, chosen, clip_names, figures, to_row, to_sample
from omni_clst.scoring.predictions import Predictions
from omni_clst.scoring.scores import format_table, score

CHOICES = ("a hiss", "a drum", "Click", "beep beep")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("muchomusic")
    download = write_muchomusic(folder / "download", [muchomusic_row(number) for number in range(12)])
    words = ["--input", download, "--output", folder / "data" / "MuChoMusic", "--num_workers", "1"]
    prepare.main(["muchomusic", *map(str, words)])
    return find_benchmark(folder / "data", "muchomusic")


def test_csv_becomes_the_files_that_inference_finds(place):
    rows = load_benchmark("muchomusic", place[0])
    assert len(rows.samples) == len({resolve_audio(sample, place[1]) for sample in rows.samples}) == 12
    for number, sample in enumerate(rows.samples):
        assert len(load_audio(resolve_audio(sample, place[1]))) == pytest.approx(0.8 * 16_000, abs=1200)
        assert sample.question == f"what sound comes first in part {number} ?"
        assert sorted(sample.choices) == ["beep", "click", "drum", "hiss"]
        assert sample.answer == ["hiss", "drum", "click", "beep"][number % 4]
    assert rows.oddities == ()


def test_order_of_choices_depends_on_the_row_alone():
    rows = [to_row(muchomusic_row(number)) for number in range(400)]
    orders = {row["id"]: to_sample(row).choices for row in rows}
    random.Random(0).shuffle(rows)
    assert {row["id"]: to_sample(to_row(row)).choices for row in rows} == orders
    places = [choices.index(row["correct_answer"]) for row in rows for choices in [orders[row["id"]]]]
    assert [70 < places.count(place) < 130 for place in range(4)] == [True] * 4  # as often first as last


def test_row_that_is_converted_already_stays_as_it_is():
    row = to_row(muchomusic_row(3))
    assert to_row(row) == row
    assert (row["music_knowledge"], row["music_reasoning"]) == (["melody", "harmony"], ["mood and expression"])


NAMES = [
    ("sdd/123", "123.2min.mp3", "Song Describer"),
    ("musiccaps/-a_b_30", "[-a_b]-[30-40].wav", "MusicCaps, named by its seconds"),
    ("musiccaps/-a_b_30", "-a_b", "MusicCaps, by the video"),
]


@pytest.mark.parametrize(("path", "name", "reason"), NAMES, ids=[row[-1] for row in NAMES])
def test_names_of_a_clip(path, name, reason):
    assert name in clip_names(path), reason


READ = [
    ("B", 1, "a letter"), ("(B) a drum", 1, "a letter and a text"), ("The correct answer is: (C)", 2, "the prompt's end"),
    ("a drum", 1, "a text"), ("I HEAR a DRUM.", 1, "a text in other case"), ("Drums", 3, "a letter that begins a word"),
    ("it is a hiss", 0, "in a sentence"), ("a hiss or a drum", None, "two choices"), ("A or B: a hiss", 0, "two letters"),
    ("", None, "empty"), (None, None, "no text"), ("ein Klavier", None, "no choice"), ("答案是B", 1, "another language"),
    ("A or B", None, "two letters alone"),
]  # fmt: skip


@pytest.mark.parametrize(("output", "place", "reason"), READ, ids=[row[-1] for row in READ])
def test_choice_that_an_output_is_read_as(output, place, reason):
    assert chosen(output, CHOICES) == place, reason


def naive(output: str, take_first: bool) -> int:
    """The rule once more, step by step; -1 for an unanswered question."""
    text = output.split("The correct answer is:")[-1].strip()
    seen = set("ABCD") & set(text)
    if len(seen) == 1:
        return "ABCD".index(seen.pop())
    places = []
    for place, choice in enumerate(CHOICES):
        if text.lower().find(choice.lower()) >= 0:
            places.append(place)
    if take_first and places:
        return places[0]
    return places[0] if len(places) == 1 else -1


def constructed(rng: random.Random) -> str:
    forms = ["{0}", "{0} or {3}", "{1}", "{1} or {2}", "The correct answer is: {1}", "", "I hear {1}", "是{0}"]
    letters = [rng.choice("ABCDE") for _ in range(2)]
    return rng.choice(forms).format(letters[0], rng.choice(CHOICES), rng.choice(CHOICES), letters[1])


def test_official_rule_equals_a_naive_one_on_constructed_predictions():
    rng = random.Random(0)
    rows = [(constructed(rng), rng.choice(CHOICES), CHOICES) for _ in range(1000)]
    read = [naive(output, take_first=False) for output, _, _ in rows]
    assert set(read) == {-1, 0, 1, 2, 3}
    assert [choice_is_right(*row) for row in rows] == [
        place >= 0 and CHOICES[place] == answer for place, (_, answer, _) in zip(read, rows, strict=True)
    ]
    found = figures(rows)
    assert found["answered %"] == pytest.approx(100 * sum(place >= 0 for place in read) / 1000)
    script = [(naive(output, take_first=True), answer) for output, answer, _ in rows]
    right = sum(place >= 0 and CHOICES[place] == answer for place, answer in script)
    assert found["the official script would print %"] == pytest.approx(right / 10)
    assert right > sum(choice_is_right(*row) for row in rows)


def test_question_counts_in_each_of_its_kinds_and_once_in_all(place):
    rows = load_benchmark("muchomusic", place[0])
    outputs = {sample.id: sample.answer for sample in rows.samples}
    outputs[rows.samples[5].id] = "nothing of that"
    scores = score(rows, Predictions(outputs, {"model_output": 12}, 0))
    strict = scores.tallies["strict"]
    assert (strict.correct, strict.total) == (11, 12)
    kinds = {name: cell.total for name, cell in strict.by["music_knowledge"].items()}
    assert kinds == {"melody": 8, "harmony": 4}  # 4 questions of both, 4 of none
    assert {name: cell.total for name, cell in strict.by["dataset"].items()} == {"musiccaps": 4, "sdd": 8}
    assert "answered %: 91.67" in format_table(scores)
