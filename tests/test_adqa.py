"""ADQA: the development set is scored; the evaluation set, without answers, gives a submission file."""

import json

import pytest
from benchmark_downloads import adqa_row, write_jsonl_download
from tiny_world import make_base

import infer
import prepare
from omni_clst.data.audio import load_audio
from omni_clst.data.benchmark_rows import find_benchmark, load_benchmark, resolve_audio
from omni_clst.data.benchmarks.registry import BENCHMARKS
from omni_clst.data.layouts import read_samples
from omni_clst.errors import InputError
from omni_clst.files import read_jsonl

ROWS = 12


def convert(folder, source: str, name: str, output: str, rows: list[dict]):
    download = write_jsonl_download(folder / f"download {source}", name, rows)
    prepare.main([source, "--input", str(download), "--output", str(folder / "data" / output), "--num_workers", "1"])


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("adqa")
    convert(folder, "adqa-dev", "dev.jsonl", "ADQA", [adqa_row(number) for number in range(ROWS)])
    unanswered = [{key: value for key, value in adqa_row(number).items() if key != "answer"} for number in range(4)]
    convert(folder, "adqa-eval", "evaluation.jsonl", "ADQA-eval", unanswered)
    make_base(folder / "base")
    return folder


def test_clips_of_one_name_in_different_folders_stay_apart(world):
    meta, audio = find_benchmark(world / "data", "adqa-dev")
    rows = load_benchmark("adqa-dev", meta)
    clips = [resolve_audio(sample, audio) for sample in rows.samples]
    assert len(set(clips)) == ROWS
    for row, clip in zip((adqa_row(number) for number in range(ROWS)), clips, strict=True):
        original = world / "download adqa-dev" / row["audio_path"]
        assert (load_audio(clip) == load_audio(original)).all()
        assert clip.samefile(original)  # a link, not a copy


def test_every_row_is_there_and_nothing_is_odd(world):
    rows = load_benchmark("adqa-dev", find_benchmark(world / "data", "adqa-dev")[0])
    assert [sample.id for sample in rows.samples] == [str(number) for number in range(ROWS)]
    assert rows.oddities == ()
    assert load_benchmark("adqa-eval", find_benchmark(world / "data", "adqa-eval")[0]).oddities == ()


def test_training_samples_in_the_same_layout_are_no_benchmark(tmp_path):
    path = write_jsonl_download(tmp_path / "AudioMCQ", "data.jsonl", [adqa_row(3) | {"id": "a"}])
    assert read_samples(path)[0].answer == "beep"


def test_all_benchmarks_that_are_there_are_answered_and_those_without_answers_by_name(world, capsys):
    words = ["--data_root", world / "data", "--output", world / "out", "--max_new_tokens", 4, "--num_workers", 0]
    device = ["--device", "cpu"]
    infer.main([str(world / "base"), *map(str, words), *device])
    out = capsys.readouterr().out
    assert f"left out: mmar, mmau-mini, mmsu, muchomusic: not under {world / 'data'}" in out.replace("mmau-pro, ", "")
    assert sorted(path.name for path in (world / "out").iterdir()) == ["adqa-dev"]
    scores = json.loads((world / "out" / "adqa-dev" / "scores.json").read_text())
    assert scores["total"] == ROWS
    assert "official" not in scores
    assert scores["strict"]["by"]["source_dataset"]["MMAU"]["total"] == 4

    infer.main([str(world / "base"), *map(str, words), *device, "--benchmarks", "adqa-eval"])
    submitted = json.loads((world / "out" / "adqa-eval" / "submission.json").read_text())
    answers = [row["model_output"] for _, row in read_jsonl(world / "out" / "adqa-eval" / "predictions.jsonl")]
    assert [row["model_output"] for row in submitted] == answers
    assert {key for row in submitted for key in row} == adqa_row(0).keys() - {"answer"} | {"model_output"}


def test_nothing_there_names_every_benchmark(world, capsys):
    with pytest.raises(InputError) as caught:
        infer.main([str(world / "base"), "--data_root", str(world / "base"), "--device", "cpu"])
    assert all(f"{name}: no " in str(caught.value) for name in BENCHMARKS if BENCHMARKS[name].has_answers)
    with pytest.raises(SystemExit) as ended:
        infer.main([str(world / "base"), "--data_root", str(world / "base"), "--check_only"])
    assert ended.value.code == infer.NOTHING_THERE
    note = capsys.readouterr().out
    assert all(name in note for name in BENCHMARKS if BENCHMARKS[name].has_answers)
