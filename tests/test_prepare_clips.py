"""Every clip of a downloaded set is inspected: what is faulty drops its row, what is odd is named."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from foreign_sets import audiomcq_row, waveform, write_audiomcq, write_clip
from preparation_runs import adds_up, by_rule, rows_of, run, samples

from omni_clst.errors import InputError


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
    path = write_audiomcq(tmp_path / "mcq", [audiomcq_row(0), audiomcq_row(1)])
    report = run("audiomcq", path, tmp_path / "out", strict=True)
    assert (by_rule(report), report["rows_out"]) == ({}, {"train": 2})


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
