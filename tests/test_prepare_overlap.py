"""The same clip or question within a set, in a benchmark, in another split: taken once, dropped, kept apart."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
from foreign_sets import CHOICES, audiomcq_row, flac_bytes, waveform, write_audiomcq
from preparation_runs import adds_up, by_rule, rows_of, run, samples, write_benchmark

from omni_clst.preparation.fingerprints import find_alike, fingerprint
from omni_clst.preparation.splits import connected, question_key, split


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
