"""MMSU: from its parquet to a score; its official rule reads a letter, and no row leaves the denominator."""

import json
import random
from collections import Counter

import pytest
from benchmark_downloads import mmsu_row, write_parquet

import prepare
from omni_clst.data.audio import load_audio
from omni_clst.data.benchmark_rows import find_benchmark, load_benchmark, resolve_audio
from omni_clst.data.benchmarks.mmsu import figures, letter_is_right, read_letter
from omni_clst.errors import InputError
from omni_clst.scoring.predictions import Predictions
from omni_clst.scoring.scores import format_table, score

CHOICES = ("hiss", "drum", "click", "beep")


def prepared(folder, rows, source="mmsu"):
    """The benchmark's rows after its download was prepared below `folder`."""
    write_parquet(folder / "download" / "data" / "train-00000.parquet", rows)
    words = ["--input", folder / "download", "--output", folder / "data" / "MMSU", "--num_workers", "1"]
    prepare.main([source, *map(str, words)])
    return find_benchmark(folder / "data", source)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    odd = [{"choice_d": ""}, {"answer_gt": "bell"}, {"question": " "}, {"category": None}, {"choice_b": "drum"}, {}]
    return prepared(tmp_path_factory.mktemp("mmsu"), [mmsu_row(number, **odd[number % 6]) for number in range(12)])


def test_parquet_becomes_the_files_that_inference_finds(place):
    meta, audio = place
    rows = load_benchmark("mmsu", meta)
    assert [sample.id for sample in rows.samples] == [f"sound_order_{number}" for number in range(12)]
    for sample in rows.samples:
        clip = resolve_audio(sample, audio)
        assert len(load_audio(clip)) == pytest.approx(0.8 * 16_000, abs=1200)
        assert clip.suffix == ".flac"
    assert len({resolve_audio(sample, audio) for sample in rows.samples}) == 12


def test_second_start_writes_the_same_and_decodes_no_clip_again(place):
    meta, audio = place
    before = meta.read_bytes(), {path.name: path.stat().st_mtime_ns for path in audio.iterdir()}
    folder = meta.parent.parent.parent
    prepare.main(["mmsu", "--input", str(folder / "download"), "--output", str(meta.parent), "--num_workers", "1"])
    assert (meta.read_bytes(), {path.name: path.stat().st_mtime_ns for path in audio.iterdir()}) == before


def test_download_in_the_output_folder_is_refused(place):
    with pytest.raises(InputError, match="is the input's folder: give another one"):
        prepare.main(["mmsu", "--input", str(place[0]), "--output", str(place[0].parent)])


def test_output_folder_of_another_name_has_the_audit_alone(place, tmp_path):
    prepare.main(["mmsu", "--input", str(place[0]), "--output", str(tmp_path / "audit"), "--num_workers", "1"])
    assert (tmp_path / "audit" / "report" / "audit.html").exists()
    assert not list(tmp_path.rglob("mmsu.jsonl"))


def test_row_keeps_its_columns_and_no_bytes(place):
    row = json.loads(place[0].read_text(encoding="utf-8").splitlines()[5])
    expected = {key: value for key, value in mmsu_row(5).items() if key != "audio"}
    assert {key: value for key, value in row.items() if key != "audio_path"} == expected


def test_odd_rows_are_flagged_and_stay(place):
    rows = load_benchmark("mmsu", place[0])
    assert Counter(what for _, what in rows.oddities) == {
        "a choice is empty": 2,
        "the answer is not among the choices": 2,
        "no question": 2,
        "no category": 2,
        "a choice stands twice": 1,  # the other row with this change had that choice already
    }
    assert len(rows.samples) == 12


LETTERS = [
    ("A", "A", "a letter"), ("B. drum", "B", "the first character"), ("(C)", "C", "the one before the last"),
    ("the answer is D.", "D", "the same"), ("Apple", "A", "a text that begins like a letter"),
    ("drum", None, "a text"), ("b", None, "a small letter"), ("(C) click", None, "a letter in the middle"),
    ("", None, "empty"), (" \n", None, "blank"), (None, None, "no text"), ("E", None, "no such choice"),
    (" A ", "A", "white space around it"), ("答案是B。", "B", "another language"),
]  # fmt: skip


@pytest.mark.parametrize(("output", "letter", "reason"), LETTERS, ids=[row[-1] for row in LETTERS])
def test_letter_that_the_official_script_reads(output, letter, reason):
    assert read_letter(output) == letter, reason


def naive_letter(output):
    """The rule once more, step by step."""
    text = (output or "").strip()
    if text == "":
        return None
    if text[0] == "A" or text[0] == "B" or text[0] == "C" or text[0] == "D":
        return text[0]
    if len(text) == 1:
        return None
    before_last = text[len(text) - 2]
    return before_last if before_last in ["A", "B", "C", "D"] else None


def constructed(rng: random.Random) -> str:
    forms = ["{0}", "({0})", "{0}. {1}", "({0}) {1}", "{1}", "the answer is {0}.", "{1} or {2}", "", " ", "答案是{0}。"]
    return rng.choice(forms).format(rng.choice("ABCDEab"), rng.choice(CHOICES), rng.choice(CHOICES))


def test_official_rule_equals_a_naive_one_on_constructed_predictions():
    rng = random.Random(0)
    outputs = [constructed(rng) for _ in range(1000)]
    assert len({naive_letter(output) for output in outputs}) == 5
    for output in outputs:
        letter = naive_letter(output)
        for answer in CHOICES:
            expected = letter is not None and CHOICES["ABCD".index(letter)] == answer
            assert letter_is_right(output, answer, CHOICES) is expected


def naive_script(rows):
    """The official script's loop: malformed outputs are skipped, an empty one keeps the letter before it."""
    right = total = 0
    letter = None
    for output, answer, choices in rows:
        if output.strip():
            if naive_letter(output) is None:
                continue
            letter = naive_letter(output)
        if letter is None:
            continue
        total += 1
        right += choices["ABCD".index(letter)] == answer
    return 100 * right / total, total


def test_figure_of_the_official_script_equals_its_loop():
    rng = random.Random(1)
    rows = [(constructed(rng), rng.choice(CHOICES), CHOICES) for _ in range(1000)]
    found = figures(rows)
    percent, total = naive_script(rows)
    assert found["the official script would print %"] == pytest.approx(percent)
    assert found["of a denominator of"] == total < 1000
    malformed = found["outputs without a letter, which are wrong by the official rule"]
    assert malformed == sum(naive_letter(output) is None for output, _, _ in rows)


def test_every_row_is_in_the_denominator_and_the_scripts_figure_beside_it(place):
    rows = load_benchmark("mmsu", place[0])
    letters = [f"({'ABCD'[sample.choices.index('hiss')]})" for sample in rows.samples]
    letters[7:10] = ["", "hiss", "?"]
    outputs = dict(zip((sample.id for sample in rows.samples), letters, strict=True))
    scores = score(rows, Predictions(outputs, {"model_output": 12}, 1))
    right = [i for i in range(12) if i not in (7, 8, 9) and rows.samples[i].answer == "hiss"]
    assert (scores.tallies["official"].correct, scores.tallies["official"].total) == (len(right), 12)
    assert scores.tallies["strict"].correct == 1  # the text alone
    assert scores.to_json()["figures"]["of a denominator of"] == 10
    table = format_table(scores)
    assert "of a denominator of: 10" in table
    assert "outputs without a letter, which are wrong by the official rule: 3" in table
    assert sum(cell.total for cell in scores.tallies["official"].by["task_name"].values()) == 12
