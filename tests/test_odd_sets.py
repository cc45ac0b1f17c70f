"""Odd data sets through the entry point: what is said of empty, broken and overlapping ones."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from foreign_sets import CHOICES, audiomcq_row, avqa_row, flac_bytes, lettered, waveform, write_audiomcq, write_avqa

import prepare
from omni_clst.errors import InputError


def run(folder: Path, capsys, *words: str) -> str:
    capsys.readouterr()
    prepare.main([*words, "--num_workers", "2"])
    return capsys.readouterr().out


def test_usual_run_says_which_set_is_empty_and_joins_the_others(tmp_path, capsys):
    (tmp_path / "AVQA").mkdir()
    write_avqa(tmp_path / "AVQA", [avqa_row(0, video_name="gone_000030")], clips=0)
    write_audiomcq(tmp_path / "AudioMCQ", [audiomcq_row(0)])
    (tmp_path / "AudioMCQ" / "sizes.json").write_text('{"a": 1}')
    (tmp_path / "AudSem").mkdir()
    out = run(tmp_path, capsys, "--data_root", str(tmp_path))
    assert "skipped  AudioMCQ/sizes.json: its rows have no question (keys a)" in out
    assert f"{tmp_path / 'AudSem'}: no data file below it" in out
    assert "no row remains of avqa, audsem" in out
    assert len((tmp_path / "source.jsonl").read_text().splitlines()) == 1


def test_usual_run_joins_a_clip_that_two_sets_have_in_two_encodings_and_compares_it_once(tmp_path, capsys, monkeypatch):
    (tmp_path / "AVQA").mkdir()
    write_avqa(tmp_path / "AVQA", [avqa_row(0, question_text="Which?", answer=0), avqa_row(1)])
    write_audiomcq(tmp_path / "AudioMCQ", [audiomcq_row(0, question="Which?", answer="dog bark"), audiomcq_row(1)])
    soundfile.write(tmp_path / "AudioMCQ" / "audios" / "mcq00000.wav", waveform(0), 16_000, format="MP3")
    out = run(tmp_path, capsys, "--data_root", str(tmp_path))
    assert "1 of 4 samples were in two sets and are taken once" in out
    monkeypatch.setattr("omni_clst.preparation.workers.make_pool", None)  # nothing is left for workers
    assert "1 of 4 samples were in two sets" in run(tmp_path, capsys, "--data_root", str(tmp_path))


def test_usual_run_without_any_row_is_an_error_after_all_sets_were_looked_at(tmp_path, capsys):
    (tmp_path / "AVQA").mkdir()
    write_avqa(tmp_path / "AVQA", [avqa_row(0, video_name="gone_000030")], clips=0)
    with pytest.raises(InputError, match="no set has a row to train on"):
        run(tmp_path, capsys, "--data_root", str(tmp_path))
    assert not (tmp_path / "source.jsonl").exists()


def test_embedded_clips_without_names_are_prepared_and_bad_ones_dropped(tmp_path, capsys):
    clips = [{"bytes": flac_bytes(0), "path": None}, None, {"bytes": b"no sound", "path": None}]
    questions = [lettered(f"Which is number {number}?", CHOICES) for number in range(3)]
    (tmp_path / "hub").mkdir()
    pq.write_table(
        pa.table({"question": questions, "answer": ["rain"] * 3, "audio": clips}), tmp_path / "hub" / "t.parquet"
    )
    for number, where in enumerate(("--input", "--hub")):
        output = tmp_path / f"out{number}"
        run(tmp_path, capsys, "avqa", where, str(tmp_path / "hub"), "--output", str(output), "--against", "none")
        rules = {json.loads(line)["rule"] for line in (output / "dropped.jsonl").read_text().splitlines()}
        assert rules == {"no clip", "clip is not readable"}
        [sample] = map(json.loads, (output / "samples.jsonl").read_text().splitlines())
        assert sample["audio_path"].endswith(".flac")


@pytest.mark.parametrize("name", ["no/such-set", "nowhere"])
def test_hub_set_that_is_not_there_is_one_line(tmp_path, capsys, monkeypatch, name):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError) as caught:
        run(tmp_path, capsys, "avqa", "--hub", name, "--output", str(tmp_path / "out"), "--against", "none")
    assert str(caught.value).startswith(f"--hub {name}: ")
    assert len(str(caught.value).splitlines()) == 1


def test_hub_folder_with_a_broken_file_is_one_line(tmp_path, capsys):
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "train.parquet").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(InputError) as caught:
        run(tmp_path, capsys, "avqa", "--hub", str(tmp_path / "hub"), "--output", str(tmp_path / "o"), "--against", "none")
    assert len(str(caught.value).splitlines()) == 1
