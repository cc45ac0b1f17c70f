"""Recordings as the sounds of the embedded world: found in three layouts, split by recording and by speaker."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

import demo
from omni_clst.demo.dataset import WorldConfig, recorded_sounds, write_world
from omni_clst.demo.knobs import Knobs
from omni_clst.demo.recordings import RecordedSounds, describe_recordings, load_event, read_recordings
from omni_clst.demo.scene import NUMBERS_BESIDE_DIGITS
from omni_clst.demo.world import ask, draw_scene, question_shares
from omni_clst.errors import InputError
from omni_clst.files import read_json

LABELS = ("dog", "rain", "crying_baby", "clock")


def write_recording(path: Path, number: int) -> None:
    """A tone of its own pitch between silences, so that no two recordings are the same."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tone = 0.5 * np.sin(2 * np.pi * (200 + 7 * number) * np.arange(2400) / 8000)
    soundfile.write(path, np.concatenate([np.zeros(800), tone, np.zeros(800)]), 8000)


def write_digits(folder: Path, speakers: tuple[str, ...] = ("anna", "ben", "carl"), indices: int = 9) -> Path:
    number = 0
    for digit in range(4):
        for speaker in speakers:
            for index in range(indices):
                number += 1
                write_recording(folder / "recordings" / f"{digit}_{speaker}_{index}.wav", number)
    return folder


def parts(place: Path, unseen: tuple[str, ...] = ()) -> dict[str, set[str]]:
    """The files of every part."""
    sounds = recorded_sounds(read_recordings(place), list(unseen))
    return {
        part: {file.path.name for files in getattr(sounds, part)._files.values() for file in files}
        for part in ("source", "mmau", "mmar")
    }


def test_digits_are_split_by_index_and_speaker(tmp_path):
    of_part = parts(write_digits(tmp_path), ("carl",))
    assert of_part["source"] == {f"{d}_{s}_{i}.wav" for d in range(4) for s in ("anna", "ben") for i in range(5, 9)}
    assert of_part["mmau"] == {f"{d}_{s}_{i}.wav" for d in range(4) for s in ("anna", "ben") for i in range(5)}
    assert of_part["mmar"] == {f"{d}_carl_{i}.wav" for d in range(4) for i in range(9)}


def test_folder_per_label_is_split_by_its_list(tmp_path):
    for label in LABELS:
        for number in range(8):
            write_recording(tmp_path / label / f"{'ab'[number % 2]}_nohash_{number}.wav", number)
    (tmp_path / "testing_list.txt").write_text(
        "".join(f"{label}/a_nohash_{n}.wav\n" for label in LABELS for n in (0, 2, 4))
    )
    (tmp_path / "_background_noise_").mkdir()
    recordings = read_recordings(tmp_path)
    assert {recording.label for recording in recordings} == set(LABELS)
    assert {recording.speaker for recording in recordings} == {"a", "b"}
    assert sum(recording.held_out for recording in recordings) == 3 * len(LABELS)


@pytest.mark.parametrize("esc", [True, False], ids=["ESC-50", "own table"])
def test_table_names_files_and_labels(tmp_path, esc):
    folder = tmp_path / "audio"
    rows = ["filename,fold,category" if esc else "file,label,speaker,split"]
    for label in LABELS:
        for number in range(10):
            write_recording(folder / f"{label}{number}.wav", number)
            split = f"{label}{number}.wav,{number % 5 + 1},{label}" if esc else (
                f"audio/{label}{number}.wav,{label},s{number % 2},{'test' if number < 4 else 'train'}")  # fmt: skip
            rows.append(split)
    table = tmp_path / ("meta/esc50.csv" if esc else "labels.csv")
    table.parent.mkdir(exist_ok=True)
    table.write_text("\n".join(rows))
    recordings = read_recordings(tmp_path if esc else table)
    held_out = [recording.path.name for recording in recordings if recording.held_out]
    assert len(recordings) == 40 and len(held_out) == (8 if esc else 16)
    assert RecordedSounds(tuple(recordings)).words.sounds == ("clock", "cryingbaby", "dog", "rain")


def test_no_recording_is_in_two_splits_of_a_world(tmp_path):
    place = write_digits(tmp_path / "digits")
    sounds = recorded_sounds(read_recordings(place), ["carl"])
    heard: dict[str, set[bytes]] = {}
    for part in ("source", "mmau", "mmar"):
        of_part = getattr(sounds, part)
        rng = np.random.default_rng(0)
        scenes = [draw_scene(rng, of_part, Knobs(events=5)) for _ in range(60)]
        heard[part] = {of_part.event(rng, scene, n).tobytes() for scene in scenes for n in range(len(scene.events))}
    assert not heard["source"] & heard["mmau"] and not heard["source"] & heard["mmar"] and not heard["mmau"] & heard["mmar"]
    write_world(tmp_path / "world", WorldConfig(0, Knobs(events=5), 4, 4, 3, 3), sounds)
    assert len(list((tmp_path / "world").rglob("*.wav"))) == 10


def test_counts_are_no_digits_where_the_sounds_are(tmp_path):
    sounds = recorded_sounds(read_recordings(write_digits(tmp_path)), ["carl"]).source
    assert sounds.words.sounds == ("zero", "one", "two", "three")
    assert sounds.words.numbers == NUMBERS_BESIDE_DIGITS
    rng = np.random.default_rng(0)
    question = ask(rng, draw_scene(rng, sounds, Knobs()), {"count": 1.0})
    assert set(question.choices) == set(NUMBERS_BESIDE_DIGITS[1:])


def test_voice_of_a_question_is_that_of_the_recordings(tmp_path):
    sounds = recorded_sounds(read_recordings(write_digits(tmp_path)), ["carl"]).source
    knobs = Knobs(perception_share=0.8)
    rng = np.random.default_rng(0)
    answers = set()
    for _ in range(200):
        scene = draw_scene(rng, sounds, knobs)
        question = ask(rng, scene, question_shares(knobs))
        if question.kind == "voice":
            answers.add(question.answer)
            speakers = {
                next(file.speaker for files in sounds._files.values() for file in files
                     if np.array_equal(load_event(file.path), event))
                for event in (sounds.event(rng, scene, index) for index in range(len(scene.events)))
            }  # fmt: skip
            assert (len(speakers) == 1) == (question.answer == "same")
    assert answers == {"same", "different"}


def test_silence_around_a_recording_is_cut_off_and_its_peak_is_one(tmp_path):
    write_recording(tmp_path / "a.wav", 0)
    event = load_event(tmp_path / "a.wav")
    assert len(event) == pytest.approx(0.3 * 16_000, rel=0.02)
    assert np.abs(event).max() == pytest.approx(1.0, abs=0.02)
    assert event[0] == event[-1] == 0.0


@pytest.mark.parametrize(
    ("labels", "count", "message"),
    [
        ([], 0, "holds no labelled recording"),
        (["a", "b", "c"], 40, "3 labels are too few, 4 are needed"),
        (["a", "b", "c", "d"], 1, "recordings in the part 'train', 3 are needed"),
        (["a1", "a2", "b", "c"], 40, "the labels a1, a2, b, c do not differ in their letters"),
    ],
)
def test_folder_that_does_not_do_is_one_error(tmp_path, labels, count, message):
    for label in labels:
        for number in range(count):
            write_recording(tmp_path / f"{label}_{number}.wav", number)
    with pytest.raises(InputError, match=message):
        recorded_sounds(read_recordings(tmp_path), [])


def test_table_without_its_columns_is_told_with_its_line(tmp_path):
    (tmp_path / "labels.csv").write_text("path,class\na.wav,dog\n")
    with pytest.raises(InputError, match=r"labels.csv:2: the columns file and label are needed, found path, class"):
        read_recordings(tmp_path / "labels.csv")
    (tmp_path / "labels.csv").write_text("file,label\na.wav,dog\n")
    with pytest.raises(InputError, match=r"labels.csv:2: .*a.wav does not exist"):
        read_recordings(tmp_path / "labels.csv")


def test_source_and_licence_are_recorded(tmp_path):
    place = write_digits(tmp_path)
    assert describe_recordings(place, read_recordings(place))["source_and_licence"] == "not stated: no README"
    (tmp_path / "README.md").write_text("# Digits of ours, CC BY 4.0\n")
    described = describe_recordings(place, read_recordings(place))
    assert (described["source_and_licence"], described["recordings"]) == ("Digits of ours, CC BY 4.0", 108)


def test_settings_without_recordings_are_refused(tmp_path):
    with pytest.raises(InputError, match="unseen_speakers: only recordings have speakers"):
        demo.main(["--unseen_speakers=theo", f"--out={tmp_path}"])
    with pytest.raises(InputError, match="recordings .*nowhere: no such file or folder"):
        demo.main([f"--recordings={tmp_path}/nowhere", f"--out={tmp_path}"])


def test_free_spoken_digits_have_their_official_split(real_data):
    recordings = read_recordings(real_data / "fsdd")
    assert len(recordings) == 3000 and sum(recording.held_out for recording in recordings) == 300
    assert len({recording.speaker for recording in recordings}) == 6
    assert "CC BY-SA 4.0" in describe_recordings(real_data / "fsdd", recordings)["source_and_licence"]


def test_world_of_recordings_and_its_base_are_made_by_the_command(tmp_path, real_data):
    words = {"recordings": real_data / "fsdd", "unseen_speakers": "theo", "events": 4, "pretrain_steps": 1, "out": tmp_path}
    demo.main([f"--{key}={value}" for key, value in words.items()])
    made = read_json(tmp_path / "data" / "made.json")
    assert made["recordings"]["unseen_speakers"] == ["theo"] and made["knobs"]["events"] == 4
    assert read_json(tmp_path / "base" / "made.json")["recordings"] == made["recordings"]
