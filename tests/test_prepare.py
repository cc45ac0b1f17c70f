"""Downloaded data sets become samples: every layout, every row accounted for, the usual sets joined."""

from pathlib import Path

import pytest
import soundfile
from foreign_sets import (
    CHOICES,
    audiomcq_row,
    audsem_row,
    avqa_row,
    flac_bytes,
    write_audiomcq,
    write_audsem_csv,
    write_audsem_tar,
    write_avqa,
    write_avqa_parquet,
    write_clip,
)
from preparation_runs import by_rule, rows_of, run, samples, tree, words, write_benchmark

import prepare
from omni_clst.data.layouts import read_samples
from omni_clst.errors import InputError

# Layouts


def test_every_layout_of_audsem_gives_the_same_samples(tmp_path):
    rows = [audsem_row(number) for number in range(8)]
    run("audsem", write_audsem_csv(tmp_path / "csv", rows), tmp_path / "out csv")
    run("audsem", write_audsem_tar(tmp_path / "a.tar", rows), tmp_path / "out tar")
    found = [
        [(s.question, s.choices, s.answer, s.think) for s in samples(tmp_path / name)] for name in ("out csv", "out tar")
    ]
    assert found[0] == found[1]
    assert found[0][1] == ("Which sound stands at place 1?", tuple(CHOICES), "car horn", "At place 1 there is a car horn.")


def test_audio_inside_a_tar_becomes_flac_at_16_khz(tmp_path):
    run("audsem", write_audsem_tar(tmp_path / "a.tar", [audsem_row(number) for number in range(3)]), tmp_path / "out")
    found = samples(tmp_path / "out")
    assert len(found) == 3
    for sample in found:
        info = soundfile.info(sample.audio_path)
        assert (info.format, info.samplerate, info.channels, info.frames) == ("FLAC", 16_000, 1, 24_000)
        assert Path(sample.audio_path).is_relative_to(tmp_path / "out" / "audio")
    assert "FLAC PCM_16, 32 kHz, 1 channel" in (tmp_path / "out" / "report" / "audit.html").read_text()


def test_hub_and_local_parquet_go_the_same_way(tmp_path):
    path = write_avqa_parquet(tmp_path / "hub" / "train.parquet", list(range(40)))
    run("avqa", path, tmp_path / "local" / "out")
    run("avqa", None, tmp_path / "hub run" / "out", hub=path.parent)
    files = [tree(tmp_path / name / "out") for name in ("local", "hub run")]
    for name in ("samples.jsonl", "audit.jsonl"):
        assert files[0][name] == files[1][name]
    assert len(samples(tmp_path / "local" / "out")) == 40


def test_avqa_finds_clips_with_and_without_their_zeros_and_in_any_format(tmp_path):
    rows = [avqa_row(0), avqa_row(1), avqa_row(2)]
    path = write_avqa(tmp_path / "avqa", rows)
    audio = tmp_path / "avqa" / "audio"
    (audio / "vid0001_30.wav").rename(audio / "vid0001_000030.wav")
    (audio / "vid0002_30.wav").unlink()
    write_clip(audio / "deeper" / "vid0002_000030.flac", 2)
    run("avqa", path, tmp_path / "out")
    names = [Path(sample.audio_path).name for sample in samples(tmp_path / "out")]
    assert names == ["vid0000_30.wav", "vid0001_000030.wav", "vid0002_000030.flac"]


def test_name_that_two_files_have_is_no_clip(tmp_path):
    path = write_avqa(tmp_path / "avqa", [avqa_row(0), avqa_row(1)])
    write_clip(tmp_path / "avqa" / "other" / "vid0000_30.wav", 9)
    run("avqa", path, tmp_path / "out")
    [dropped] = rows_of(tmp_path / "out" / "dropped.jsonl")
    assert dropped["rule"] == "no clip"
    assert "several files" in dropped["value"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", b'[{"id": 1},\n{"id"', "a.json:2: not JSON"),
        ("a.jsonl", b'{"question": 1}\n[]\n', "a.jsonl:2: expected an object"),
        ("a.csv", b"question,answer\na,b\nc\n", "a.csv:3: does not have the 2 fields of the header"),
        ("a.csv", b"question\n\xff\n", "a.csv: not UTF-8"),
        ("a.parquet", b"PAR1", "a.parquet: not a complete parquet file"),
        ("a.tar", b"\0" * 100, "a.tar: not a complete tar file"),
        ("a.txt", b"", "a.txt: is none of"),
        ("a.json", b"[]", "a.json: holds no rows"),
    ],
)
def test_file_that_cannot_be_read_is_named_with_its_line(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message.replace(".", r"\.")):
        run("audiomcq", tmp_path / name, tmp_path / "out")
    assert not (tmp_path / "out" / "samples.jsonl").exists()


def test_torn_tar_is_named(tmp_path):
    path = write_audsem_tar(tmp_path / "a.tar", [audsem_row(number) for number in range(3)])
    path.write_bytes(path.read_bytes()[:-30_000])
    with pytest.raises(InputError, match=r"a\.tar: not a complete tar file"):
        run("audsem", path, tmp_path / "out")


@pytest.mark.parametrize(
    ("source", "file", "odd"),
    [
        ("mmau-mini", "mmau-test-mini.json",
         {"a choice stands twice": 27, "category is a list": 13, "choices are lists written as text": 1}),
        ("mmar", "MMAR-meta.jsonl", {"a choice is empty": 4}),
        ("mmar", "MMAR-meta.json", {"a choice is empty": 4, "the answer is not among the choices": 6}),
    ],
)  # fmt: skip
def test_benchmarks_convert_with_no_row_lost_and_every_odd_row_flagged(real_data, tmp_path, source, file, odd):
    report = run(source, real_data / file, tmp_path / "out", clips=real_data / "mmau_mini_subset")
    assert report["rows_in"] == report["rows_out"]["train"] == 1000
    found = by_rule(report)
    assert found.pop("no clip") == (962 if source == "mmau-mini" else 1000)
    assert found == odd
    assert len(rows_of(tmp_path / "out" / "flagged.jsonl")) == sum(odd.values()) + (962 if source == "mmau-mini" else 1000)


# The usual sets


def test_usual_sets_are_joined_and_what_two_of_them_have_is_taken_once(tmp_path, capsys):
    write_avqa(tmp_path / "AVQA", [avqa_row(number) for number in range(6)])
    mcq = [audiomcq_row(number) for number in range(5)]
    mcq[0] |= {"question": "What is heard at place 0 in the recording?"}
    write_audiomcq(tmp_path / "AudioMCQ", mcq)
    clip = (tmp_path / "AVQA" / "audio" / "vid0000_30.wav").read_bytes()
    (tmp_path / "AudioMCQ" / "audios" / "mcq00000.wav").write_bytes(clip)
    write_benchmark(tmp_path, "What is that?", flac_bytes(3))
    prepare.main(["--data_root", str(tmp_path), "--held_out", "2", "--num_workers", "2"])
    source = read_samples(tmp_path / "source.jsonl", tmp_path)
    held_out = read_samples(tmp_path / "held_out.jsonl", tmp_path)
    assert len(held_out) == 2
    assert len(source) == 6 + 5 - 1 - 1 - 2  # one clip is in the benchmark, one question in both sets
    assert not {s.audio_path for s in source} & {s.audio_path for s in held_out}
    out = capsys.readouterr().out
    assert "== mmau-mini" in out
    assert "== mmau-test" not in out


def test_data_folder_without_any_set_says_what_goes_there(tmp_path):
    with pytest.raises(InputError, match="has none of samples/, AVQA/, AudSem/, AudioMCQ/, ADQA/, "):
        prepare.main(["--data_root", str(tmp_path)])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": "avq"}, "source 'avq' is not one of samples, avqa, audsem"),
        ({"input": None}, "one of input and hub has to be given"),
        ({"input": "nowhere"}, "nowhere: no such file or folder"),
        ({"clips": "nowhere"}, "nowhere: no such folder"),
        ({"valid_share": 1.0}, r"valid_share 1.0 is not in \[0, 1\)"),
        ({"hub_splits": "x"}, r"unknown key 'hub_splits' \(did you mean 'hub_split'"),
    ],
)
def test_bad_setting_is_refused_before_anything_is_written(tmp_path, changes, message):
    (tmp_path / "a.jsonl").write_text("{}\n")
    settings = {"input": tmp_path / "a.jsonl"} | changes
    source = settings.pop("source", "audiomcq")
    with pytest.raises(InputError, match=message):
        prepare.main(words(source, settings.pop("input"), tmp_path / "out", **settings))
    assert not (tmp_path / "out").exists()
