"""Equal clips: every copy is found, different clips are not taken for copies, parts of others are listed."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from foreign_sets import CHOICES, audiomcq_row, waveform, write_audiomcq

import prepare
from omni_clst.data.audio import load_audio
from omni_clst.preparation.agreement import compare
from omni_clst.preparation.clips import ClipAudit
from omni_clst.preparation.comparisons import Comparisons
from omni_clst.preparation.landmarks import RATE, candidate_pairs, find_landmarks
from omni_clst.preparation.shared_sound import SharedSound, find_shared_sound

SAMPLING_RATE = 16_000
ENCODINGS = {
    "mp3": (44_100, {"format": "MP3"}),
    "ogg": (16_000, {"format": "OGG"}),
    "8khz": (8_000, {"format": "WAV"}),
    "opus": (48_000, {"format": "OGG", "subtype": "OPUS"}),
    "22khz": (22_050, {"format": "FLAC"}),
}


def encoded(wave: np.ndarray, encoding: str) -> bytes:
    rate, how = ENCODINGS[encoding]
    buffer = io.BytesIO()
    soundfile.write(buffer, soxr.resample(wave, SAMPLING_RATE, rate), rate, **how)
    return buffer.getvalue()


def decoded(content: bytes) -> np.ndarray:
    wave, rate = soundfile.read(io.BytesIO(content), dtype="float32")
    return soxr.resample(wave, rate, SAMPLING_RATE)


def write(path: Path, wave: np.ndarray) -> None:
    soundfile.write(path, wave, SAMPLING_RATE, subtype="PCM_16", format="WAV")


def shared_sound(folder: Path) -> SharedSound:
    """What the clips of a folder have in common."""
    paths = sorted(map(str, folder.iterdir()))
    work = folder.parent / "work"
    inspections = ClipAudit(work, folder.parent / "flac", 2).inspect(paths)
    return find_shared_sound(inspections, {}, {}, Comparisons(work, 2))


def joined(found: SharedSound) -> set[frozenset[str]]:
    """Groups of two or more clips that are the same, by their files' names."""
    groups: dict[str, set[str]] = {}
    for path, first in found.first_name.items():
        groups.setdefault(first, set()).add(Path(path).name)
    return {frozenset(names) for names in groups.values() if len(names) > 1}


def named(listed: dict[str, list[str]]) -> dict[str, list[str]]:
    return {Path(path).name: [Path(other).name for other in others] for path, others in listed.items()}


# Clips that sound alike and are different

TIME = np.arange(4 * SAMPLING_RATE) / SAMPLING_RATE


def note(midi: int) -> np.ndarray:
    """One instrument, one envelope: only the pitch differs."""
    hertz = 440 * 2 ** ((midi - 69) / 12)
    envelope = np.minimum(TIME / 0.01, 1) * np.exp(-TIME / 1.2) * (TIME < 3.0)
    return 0.5 * envelope * sum(np.sin(2 * np.pi * hertz * n * TIME) / n for n in range(1, 9) if hertz * n < 7_500)


def tone(hertz: float) -> np.ndarray:
    return 0.3 * np.sin(2 * np.pi * hertz * TIME)


def noise(seed: int, slope: float) -> np.ndarray:
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(len(TIME)))
    hertz = np.maximum(np.fft.rfftfreq(len(TIME), 1 / SAMPLING_RATE), 20)
    wave = np.fft.irfft(spectrum / hertz**slope, len(TIME))
    return 0.3 * wave / np.abs(wave).max()


LOOKALIKES = {
    **{f"note{midi}": note(midi) for midi in range(48, 84)},
    **{f"tone{hertz}": tone(hertz) for hertz in (300, 310, 320, 1_000, 1_020, 1_040, 1_060, 2_000, 2_030)},
    **{f"noise{slope}{seed}": noise(seed, slope) for slope in (0.0, 0.5, 1.0) for seed in range(3)},
    **{f"tremolo{hertz}": tone(800) * (0.6 + 0.4 * np.sin(2 * np.pi * hertz * TIME)) for hertz in (9, 10, 11, 12)},
    **{f"lead{n}": np.concatenate([waveform(99, 10.0), waveform(200 + n, 5.0)]) for n in range(4)},
}


def test_clips_that_only_sound_alike_keep_their_own_names_and_are_listed(tmp_path):
    clips = tmp_path / "clips"
    clips.mkdir()
    for name, wave in LOOKALIKES.items():
        write(clips / name, wave)
    found = shared_sound(clips)
    assert joined(found) == set()
    assert found.contained == {}
    alike = named(found.alike)
    assert "noise0.01" in alike["noise0.00"]
    assert "tone1020" in alike["tone1000"]
    assert set(alike["lead0"]) == {"lead1", "lead2", "lead3"}
    assert len(set(found.together.values())) == len(LOOKALIKES)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_copies_of_clips_that_sound_alike_find_their_own(tmp_path, encoding):
    clips = tmp_path / "clips"
    clips.mkdir()
    for name, wave in LOOKALIKES.items():
        write(clips / name, wave)
        (clips / f"{name} copy").write_bytes(encoded(wave, encoding))
    assert joined(shared_sound(clips)) == {frozenset({name, f"{name} copy"}) for name in LOOKALIKES}


# Real clips


@pytest.fixture(scope="module")
def real_waves(real_data):
    return [load_audio(path) for path in sorted((real_data / "mmau_mini_subset" / "test-mini-audios").iterdir())]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_copy_of_a_real_clip_is_found_and_no_two_clips_are_taken_for_one(real_waves, encoding):
    copies = [decoded(encoded(wave, encoding)) for wave in real_waves]
    count = len(real_waves)
    assert count == 38
    pairs = candidate_pairs([landmarks_of(wave) for wave in real_waves + copies])
    assert {(place, place + count) for place in range(count)} <= set(pairs)
    for first, second in pairs:
        found = compare((real_waves + copies)[first], (real_waves + copies)[second])
        if second - first == count:
            assert found.relation == "same"
            assert found.correlation > 0.95
        else:
            assert found.relation is None


def test_piece_of_a_real_clip_is_contained_in_it_and_in_no_other(real_waves):
    long = [wave for wave in real_waves if len(wave) > 8 * SAMPLING_RATE]
    pieces = [wave[len(wave) // 3 :][: 5 * SAMPLING_RATE] for wave in long]
    pieces = [decoded(encoded(piece, "mp3")) if place % 2 else piece for place, piece in enumerate(pieces)]
    pairs = candidate_pairs([landmarks_of(wave) for wave in long + pieces])
    assert {(place, place + len(long)) for place in range(len(long))} <= set(pairs)
    for first, second in pairs:
        relation = compare((long + pieces)[first], (long + pieces)[second]).relation
        assert relation == ("contained" if second - first == len(long) else None)


def test_two_real_clips_do_not_correlate(real_waves):
    for first, second in zip(real_waves, real_waves[1:], strict=False):
        assert compare(first, second).correlation < 0.5


def landmarks_of(wave: np.ndarray):
    return find_landmarks(soxr.resample(wave, SAMPLING_RATE, RATE, quality="LQ"))


# What "the same" means

WAVE = waveform(7, seconds=10.0)
ELSE = waveform(8, seconds=10.0)
BEEP = (0.1 * np.sin(2 * np.pi * 5_000 * np.arange(len(WAVE)) / SAMPLING_RATE)).astype(np.float32)
BEEP[: 7 * SAMPLING_RATE] = BEEP[8 * SAMPLING_RATE :] = 0.0  # one second long
TAIL = np.concatenate([WAVE[: 9 * SAMPLING_RATE], ELSE[:SAMPLING_RATE]])
RELATIONS = [
    (0.1 * WAVE, "same", "quieter"),
    (-WAVE, "same", "inverted polarity: not audible"),
    (np.concatenate([np.zeros(4_777, np.float32), WAVE]), "same", "an encoder's delay of 0.3 s"),
    (WAVE[3_000:], "same", "0.2 s of its beginning cut off"),
    (WAVE[32_000:112_000], "contained", "5 s out of its middle"),
    (WAVE[80_000:], "contained", "its second half"),
    (np.concatenate([ELSE, WAVE, ELSE]), "contained", "inside a longer one"),
    (TAIL, None, "the last of ten seconds is another"),
    (np.concatenate([WAVE[80_000:], WAVE[:80_000]]), None, "its halves changed round"),
    (WAVE[::-1].copy(), None, "backwards"),
    (ELSE, None, "another"),
    (WAVE + BEEP, None, "with a beep at 5 kHz, above what codecs and telephones keep"),
    (soxr.resample(soxr.resample(WAVE, 16_000, 8_000), 8_000, 16_000), "same", "everything high cut off"),
    (WAVE + 2 * ELSE, None, "below another"),
    (soxr.resample(WAVE, 16_000, 15_100), None, "played a semitone higher"),
]  # fmt: skip


@pytest.mark.parametrize(("other", "relation", "why"), RELATIONS, ids=[row[-1] for row in RELATIONS])
def test_relation_of_two_clips(other, relation, why):
    assert compare(WAVE, other).relation == relation
    assert compare(other, WAVE).relation == relation


@pytest.mark.parametrize("samples", [0, 1, 400, 50_000])
def test_silence_has_no_relation(samples):
    silence = np.zeros(samples, np.float32)
    assert compare(WAVE, silence).relation is None
    assert compare(silence, silence).relation is None


def test_a_thousand_copies_of_one_clip_are_not_compared_pairwise():
    clips = [find_landmarks(soxr.resample(WAVE, SAMPLING_RATE, RATE, quality="LQ"))] * 1_000
    pairs = candidate_pairs(clips)
    assert len(pairs) <= 12 * 1_000
    assert {second for _, second in pairs} == set(range(1, 1_000))


# Through the preparation


def run(path: Path, output: Path, **settings) -> dict:
    words = {"input": path, "output": output, "audio_root": output.parent, "against": "none", "num_workers": 2} | settings
    prepare.main(["audiomcq", *(word for key, value in words.items() for word in (f"--{key}", str(value)))])
    return json.loads((output / "report" / "audit.json").read_text())


def rows_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_what_was_cut_out_of_a_benchmarks_clip_is_listed_and_pieces_stay_on_one_side(tmp_path, monkeypatch):
    path = write_audiomcq(tmp_path / "mcq", [audiomcq_row(number) for number in range(6)])
    audio = [tmp_path / "mcq" / "audios" / f"mcq{number:05d}.wav" for number in range(6)]
    write(audio[0], WAVE)
    write(audio[1], WAVE[32_000:112_000])
    write(audio[2], ELSE[40_000:120_000])
    folder = tmp_path / "MMAU" / "test-mini-audios"
    folder.mkdir(parents=True)
    (folder / "x.wav").write_bytes(encoded(ELSE, "mp3"))
    row = {"id": "x", "audio_id": "./test-mini-audios/x.wav", "question": "q?", "choices": CHOICES, "answer": "rain",
           "task": "sound", "difficulty": "easy", "sub-category": "a", "category": "b"}  # fmt: skip
    (tmp_path / "MMAU" / "mmau-test-mini.json").write_text(json.dumps([row]))
    for seed in range(4):
        run(path, tmp_path / f"out{seed}", against=tmp_path, held_out=2, seed=seed)
        sides = [rows_of(tmp_path / f"out{seed}" / name) for name in ("samples.jsonl", "held_out.jsonl")]
        sides = [{Path(row["audio_path"]).name for row in side} for side in sides]
        assert sum(bool(side & {audio[0].name, audio[1].name}) for side in sides) == 1
    flagged = {(row["rule"], row["value"]) for row in rows_of(tmp_path / "out0" / "flagged.jsonl")}
    assert flagged == {
        ("clip is a part of another, or holds it", "mcq/audios/mcq00000.wav and mcq/audios/mcq00001.wav"),
        ("clip is a part of another, or holds it", "mcq/audios/mcq00001.wav and mcq/audios/mcq00000.wav"),
        ("clip shares sound with a benchmark", "mcq/audios/mcq00002.wav and mmau-mini x"),
    }
    audit = {Path(row["path"]).name: row["contained"] for row in rows_of(tmp_path / "out0" / "audit.jsonl")}
    assert audit["mcq00002.wav"] == ["mmau-mini x"]
    assert audit["mcq00003.wav"] == []
    before = (tmp_path / "out0" / "audit.jsonl").read_bytes()
    monkeypatch.setattr("omni_clst.preparation.workers.make_pool", None)  # nothing is decoded or compared again
    run(path, tmp_path / "out0", against=tmp_path, held_out=2, seed=0)
    assert (tmp_path / "out0" / "audit.jsonl").read_bytes() == before
