"""Downloaded data sets become samples: every row is accounted for, every clip inspected, the same bytes again."""

import json
import os
import shutil
import signal
from collections import Counter
from pathlib import Path

import fork_server
import numpy as np
import pytest
import soundfile
from foreign_sets import (
    CHOICES,
    audiomcq_row,
    audsem_row,
    avqa_row,
    flac_bytes,
    waveform,
    write_audiomcq,
    write_audsem_csv,
    write_audsem_tar,
    write_avqa,
    write_avqa_parquet,
    write_clip,
)

import prepare
from omni_clst.data.layouts import read_samples
from omni_clst.data.samples import AudioQASample
from omni_clst.errors import InputError
from omni_clst.preparation.fingerprints import find_alike, fingerprint
from omni_clst.preparation.splits import connected, question_key, split

DRIVER = Path(__file__).with_name("driver.py")


def run(source: str, path: Path, output: Path, **settings) -> dict:
    """Prepare in this process; returns report/audit.json."""
    prepare.main(words(source, path, output, **settings))
    return json.loads((output / "report" / "audit.json").read_text(encoding="utf-8"))


def words(source: str, path: Path, output: Path, **settings) -> list[str]:
    given = {"input": path, "output": output, "audio_root": output.parent, "against": "none", "num_workers": 2} | settings
    return [source, *(word for key, value in given.items() if value is not None for word in (f"--{key}", str(value)))]


def samples(output: Path, name: str = "samples") -> list[AudioQASample]:
    return read_samples(output / f"{name}.jsonl", output.parent)


def rows_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def by_rule(report: dict) -> dict[str, int]:
    return {count["rule"]: count["rows"] for count in report["rules"]}


def adds_up(report: dict) -> bool:
    dropped = sum(count["rows"] for count in report["rules"] if count["action"] == "dropped")
    return dropped + sum(report["rows_out"].values()) == report["rows_in"]


def tree(folder: Path) -> dict[str, bytes]:
    """Every file that was made, but for the memory of what is done already, which notes times of change."""
    files = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if not name.startswith(".work/")}


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
    for sample in samples(tmp_path / "out"):
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


# Clips


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory):
    """An AudioMCQ whose clips have every fault, one each, and its report."""
    folder = tmp_path_factory.mktemp("spoilt")
    rows = [audiomcq_row(number) for number in range(12)]
    path = write_audiomcq(folder / "mcq", rows)
    clip = [folder / "mcq" / row["audio_path"] for row in rows]
    clip[0].unlink()
    clip[1].write_bytes(b"not audio at all")
    soundfile.write(clip[2], np.full(16_000, np.nan, np.float32), 16_000, subtype="FLOAT")
    write_clip(clip[3], 3, seconds=0.25)
    write_clip(clip[4], 4, seconds=40.0)
    soundfile.write(clip[5], np.zeros(16_000, np.float32), 16_000)
    soundfile.write(clip[6], waveform(6), 16_000, format="MP3")
    soundfile.write(clip[7], waveform(7, rate=48_000)[:, None].repeat(6, axis=1), 48_000)
    clip[8].write_bytes(clip[8].read_bytes()[:-10_000])
    soundfile.write(clip[9], np.concatenate([waveform(9), np.zeros(400_000, np.float32)]), 16_000)
    soundfile.write(clip[10], waveform(10) * 8, 16_000, subtype="FLOAT")
    settings = {"min_audio_seconds": 0.5, "max_audio_seconds": 30}
    return folder, path, settings, run("audiomcq", path, folder / "out", **settings)


def test_every_faulty_clip_drops_its_row_by_its_rule(spoilt):
    folder, _, _, report = spoilt
    assert adds_up(report)
    found = {row["place"].rpartition(":")[2]: row["rule"] for row in rows_of(folder / "out" / "dropped.jsonl")}
    assert found == {
        "1": "no clip",
        "2": "clip is not readable",
        "3": "clip holds values that are not finite",
        "4": "clip is too short",
        "5": "clip is too long",
        "6": "clip is silent",
    }
    assert by_rule(report) == {rule: 1 for rule in found.values()}


def test_oddities_of_usable_clips_are_found(spoilt):
    folder = spoilt[0]
    audit = {Path(row["path"]).name[3:8].lstrip("0") or "0": row for row in rows_of(folder / "out" / "audit.jsonl")}
    assert audit["6"]["findings"] == ["codec is not what the name says"]
    assert audit["7"]["findings"] == ["more than two channels"]
    assert audit["8"]["findings"][0].startswith("truncated: the header promises 1.50 s, 1.19 s are there")
    assert audit["9"]["findings"] == ["mostly silent"]
    assert audit["9"]["silence_share"] > 0.9
    assert audit["10"]["findings"] == ["louder than full scale"]
    assert audit["11"]["findings"] == []
    assert (audit["11"]["seconds"], audit["11"]["audio_tokens"], audit["11"]["rows"]) == (1.5, 37, 1)


def test_strict_makes_every_finding_an_error_after_the_report_is_written(spoilt, tmp_path):
    folder, path, settings, _ = spoilt
    with pytest.raises(InputError, match="codec is not what the name says: 1"):
        run("audiomcq", path, tmp_path / "out", strict=True, audio_root=folder, **settings)
    assert (tmp_path / "out" / "report" / "audit.html").exists()


def test_strict_lets_sound_clips_pass(tmp_path):
    run("audiomcq", write_audiomcq(tmp_path / "mcq", [audiomcq_row(0), audiomcq_row(1)]), tmp_path / "out", strict=True)


def test_clip_that_only_ffmpeg_reads_gets_a_flac_beside_it(tmp_path):
    av = pytest.importorskip("av")
    row = audiomcq_row(0, audio_path="audios/a.m4a")
    path = write_audiomcq(tmp_path / "mcq", [audiomcq_row(1)])
    path.write_text(json.dumps(row) + "\n")
    with av.open(str(tmp_path / "mcq" / "audios" / "a.m4a"), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=16_000)
        frame = av.AudioFrame.from_ndarray(waveform(0)[None], format="fltp", layout="mono")
        frame.sample_rate = 16_000
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    run("audiomcq", path, tmp_path / "out")
    [sample] = samples(tmp_path / "out")
    assert sample.audio_path.endswith(".flac")
    assert rows_of(tmp_path / "out" / "audit.jsonl")[0]["copy"].endswith(".flac")


# The same clip, the same question, the benchmarks


def test_fingerprint_survives_format_rate_and_loudness(tmp_path):
    clips = [(1.5, fingerprint(waveform(number), 16_000)) for number in range(60)]
    for name, how in {"mp3": {"format": "MP3"}, "ogg": {"format": "OGG"}, "quiet": {"gain": 0.3}}.items():
        gain = how.pop("gain", 1.0)
        soundfile.write(tmp_path / name, waveform(7) * gain, 16_000, **({"format": "WAV"} | how))
        decoded, rate = soundfile.read(tmp_path / name, dtype="float32")
        clips.append((len(decoded) / rate, fingerprint(decoded, rate)))
    clips.append((1.5, fingerprint(waveform_at(7, 44_100), 44_100)))
    assert {place for pair in find_alike(clips) for place in pair} == {7, 60, 61, 62, 63}


def waveform_at(number: int, rate: int) -> np.ndarray:
    import soxr

    return soxr.resample(waveform(number), 16_000, rate)


@pytest.mark.parametrize(
    ("samples", "rate"), [(np.zeros(32_000), 16_000), (waveform(0)[:8_000], 16_000), (waveform(0), 4_000)]
)
def test_short_silent_or_low_rate_clip_has_no_fingerprint(samples, rate):
    assert fingerprint(samples.astype(np.float32), rate) is None


def test_same_clip_under_two_names_goes_by_the_first_and_a_question_about_it_is_taken_once(tmp_path):
    rows = [audiomcq_row(0), audiomcq_row(1), audiomcq_row(0, audio_path="audios/mcq00002.wav", choices=CHOICES[::-1])]
    path = write_audiomcq(tmp_path / "mcq", [*rows, audiomcq_row(3)])
    audio = tmp_path / "mcq" / "audios"
    soundfile.write(audio / "mcq00001.wav", waveform(2000), 16_000, format="MP3")
    (audio / "mcq00002.wav").write_bytes((audio / "mcq00000.wav").read_bytes())
    report = run("audiomcq", path, tmp_path / "out")
    assert adds_up(report)
    assert by_rule(report) == {"the same question about the same clip": 1, "the same clip under two names": 1}
    assert [Path(sample.audio_path).name for sample in samples(tmp_path / "out")] == [
        "mcq00000.wav", "mcq00000.wav", "mcq00003.wav",
    ]  # fmt: skip
    assert [row["same_as"] is not None for row in rows_of(tmp_path / "out" / "audit.jsonl")] == [False, True, True, False]


def write_benchmark(root: Path, question: str, clip: bytes) -> None:
    folder = root / "MMAU" / "test-mini-audios"
    folder.mkdir(parents=True)
    (folder / "x.wav").write_bytes(clip)
    row = {"id": "x", "audio_id": "./test-mini-audios/x.wav", "question": question, "choices": CHOICES, "answer": "rain",
           "task": "sound", "difficulty": "easy", "sub-category": "a", "category": "b"}  # fmt: skip
    (root / "MMAU" / "mmau-test-mini.json").write_text(json.dumps([row]))


def test_overlap_with_a_benchmark_is_dropped_and_listed_unless_it_is_to_be_kept(tmp_path):
    path = write_audiomcq(tmp_path / "mcq", [audiomcq_row(number) for number in range(3)])
    # clip 1 as a FLAC at half the rate; question 2 in other words' order of choices and case
    write_benchmark(tmp_path, "WHICH source dominates, at place 2", flac_bytes(2001))
    report = run("audiomcq", path, tmp_path / "out", against=tmp_path)
    assert adds_up(report)
    assert by_rule(report) == {"clip is in a benchmark": 1, "question is in a benchmark": 1}
    assert [row["rule"] for row in rows_of(tmp_path / "out" / "dropped.jsonl")] == [
        "clip is in a benchmark", "question is in a benchmark",
    ]  # fmt: skip
    assert "mmau-mini x" in (tmp_path / "out" / "dropped.jsonl").read_text()
    kept = run("audiomcq", path, tmp_path / "kept", against=tmp_path, keep_overlap=True)
    assert (adds_up(kept), by_rule(kept), kept["rows_out"]) == (True, by_rule(report), {"train": 3})
    assert len(rows_of(tmp_path / "kept" / "flagged.jsonl")) == 2


# Splits


def test_question_key_ignores_case_punctuation_and_the_order_of_choices():
    assert question_key("What's that?", ["A dog", "a cat."]) == question_key("what s THAT", ["A cat", "a  dog"])
    assert question_key("What?", ["a", "b"]) != question_key("What?", ["a", "c"])


def test_rows_that_share_a_link_are_one_group_also_through_others():
    assert connected([("a", 1), ("b", 2), ("a", 2), ("c", 3)]) == [0, 0, 0, 3]
    assert connected([("x",), (), ("y", "z"), ("x", "x"), ("z",)]) == [0, 1, 2, 0, 2]
    assert connected([]) == []


def test_split_takes_whole_groups_and_never_more_than_asked_for():
    groups = [0] * 6 + [6, 7, 8, 8]
    for seed in range(20):
        parts = split(groups, {"held_out": 2, "valid": 2}, seed)
        assert set(parts[:6]) == {"train"}  # six rows have no room in two places
        assert parts[8] == parts[9]
        assert Counter(parts)["held_out"] <= 2
        assert Counter(parts)["valid"] <= 2
        assert parts == split(groups, {"held_out": 2, "valid": 2}, seed)


def test_splits_share_neither_clips_nor_questions(tmp_path):
    rows = [audiomcq_row(number, audio_path=f"audios/mcq{number // 2:05d}.wav") for number in range(40)]
    rows[0] |= {"question": "Same?"}
    rows[39] |= {"question": "same"}
    path = write_audiomcq(tmp_path / "mcq", rows)
    report = run("audiomcq", path, tmp_path / "out", valid_share=0.2, held_out=6)
    assert adds_up(report)
    parts = {name: samples(tmp_path / "out", name) for name in ("samples", "valid", "held_out")}
    assert {name: len(part) for name, part in parts.items()} == {"samples": 26, "valid": 8, "held_out": 6}
    for values in (lambda s: s.audio_path, lambda s: question_key(s.question, s.choices)):
        seen = [set(map(values, part)) for part in parts.values()]
        assert sum(map(len, seen)) == len(set.union(*seen))


# Again, and after a kill


@pytest.fixture(scope="module")
def two_layouts(tmp_path_factory):
    """A tar with clips inside and a JSONL beside its clips, with what an undisturbed run makes of them."""
    folder = tmp_path_factory.mktemp("two layouts")
    clips = 150  # several writes of the audit
    mcq = write_audiomcq(folder / "mcq", [audiomcq_row(number) for number in range(clips)])
    for number in range(70):  # copies of other clips: several writes of comparisons
        name = f"mcq{149 - number:05d}.wav"
        soundfile.write(folder / "mcq" / "audios" / name, waveform(2000 + number), 16_000, format="MP3")
    sem = write_audsem_tar(folder / "sem.tar", [audsem_row(number) for number in range(100)])
    run("audiomcq", mcq, folder / "a" / "out", audio_root=folder)
    run("audsem", sem, folder / "b" / "out", audio_root=folder)
    return folder, mcq, sem


@pytest.mark.parametrize(("source", "part", "hook"), [
    ("audiomcq", "a", "kill_in_audit:1"),  # hashes
    ("audiomcq", "a", "kill_in_audit:4"),  # inspections
    ("audiomcq", "a", "kill_in_comparisons:1"),
    ("audiomcq", "a", "kill_before_write:2"),
    ("audsem", "b", "kill_in_audit:2"),  # clips inside
])  # fmt: skip
def test_killed_preparation_resumes_and_writes_the_same_bytes(two_layouts, source, part, hook):
    folder, mcq, sem = two_layouts
    output = folder / part / "out"
    whole = tree(output)
    shutil.rmtree(output)
    argv = words(source, mcq if source == "audiomcq" else sem, output, audio_root=folder)
    killed = fork_server.run([DRIVER, "prepare", hook, *argv])
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-2000:]
    assert not (output / "samples.jsonl").exists() or hook.startswith("kill_before_write")
    prepare.main(argv)
    assert tree(output) == whole
    assert not list(output.rglob("*.part"))


def test_second_start_decodes_nothing_and_writes_the_same_bytes(two_layouts, monkeypatch):
    folder, mcq, _ = two_layouts
    whole = tree(folder / "a" / "out")
    monkeypatch.setattr("omni_clst.preparation.workers.make_pool", None)  # nothing is left for workers
    prepare.main(words("audiomcq", mcq, folder / "a" / "out", audio_root=folder))
    assert tree(folder / "a" / "out") == whole


def test_changed_clip_is_inspected_again(tmp_path):
    path = write_audiomcq(tmp_path / "mcq", [audiomcq_row(0), audiomcq_row(1)])
    run("audiomcq", path, tmp_path / "out")
    clip = write_clip(tmp_path / "mcq" / "audios" / "mcq00000.wav", 77, seconds=3.0)
    os.utime(clip, (1, 1))
    run("audiomcq", path, tmp_path / "out")
    assert rows_of(tmp_path / "out" / "audit.jsonl")[0]["seconds"] == 3.0


def test_copy_that_was_deleted_is_made_again(tmp_path):
    path = write_audsem_tar(tmp_path / "a.tar", [audsem_row(number) for number in range(3)])
    run("audsem", path, tmp_path / "out")
    whole = tree(tmp_path / "out")
    shutil.rmtree(tmp_path / "out" / "audio")
    run("audsem", path, tmp_path / "out")
    assert tree(tmp_path / "out") == whole


def test_same_bytes_under_a_right_and_a_wrong_name_are_told_apart(tmp_path):
    rows = [audiomcq_row(0, audio_path="audios/a.mp3"), audiomcq_row(1, audio_path="audios/b.wav")]
    path = write_audiomcq(tmp_path / "mcq", [audiomcq_row(2)])
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name in ("a.mp3", "b.wav"):
        soundfile.write(tmp_path / "mcq" / "audios" / name, waveform(1), 16_000, format="MP3")
    run("audiomcq", path, tmp_path / "out")
    assert [row["findings"] for row in rows_of(tmp_path / "out" / "audit.jsonl")] == [
        [], ["codec is not what the name says"],
    ]  # fmt: skip


# Real data


def test_real_clips_are_prepared_and_their_hazards_named(real_data, tmp_path):
    folder = real_data / "mmau_mini_subset"
    report = run("mmau-mini", folder / "mmau-test-mini.json", tmp_path / "out", audio_root=real_data)
    assert report["rows_in"] == report["rows_out"]["train"] == 38
    page = (tmp_path / "out" / "report" / "audit.html").read_text()
    for hazard in ("MP3 MPEG_LAYER_III", "WAV FLOAT", "WAV PCM_32", "2 channels", "6 channels", "48 kHz",
                   "codec is not what the name says", "more than two channels"):  # fmt: skip
        assert hazard in page, hazard
    audit = rows_of(tmp_path / "out" / "audit.jsonl")
    assert len(audit) == 38
    assert sum("codec is not what the name says" in row["findings"] for row in audit) == 4
    assert not any(row["rule"] for row in audit)


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
