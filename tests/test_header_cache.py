"""Headers are read once a clip, by one of several processes, and again where a clip has changed; samples are packed."""

import json
import multiprocessing
import os
import shutil
import wave
from pathlib import Path

import pytest

from omni_clst.data import audio, header_cache
from omni_clst.data.audio import ClipError, forget_headers, probe_audio
from omni_clst.data.header_cache import know_headers
from omni_clst.data.packed_samples import PackedSamples
from omni_clst.data.samples import AudioQASample

FORK = multiprocessing.get_context("fork")


def write_clip(path: Path, frames: int) -> str:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(2 * frames))
    return str(path)


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Twelve clips beside a training file, of which as many as there are deserve to be kept; nothing known."""
    monkeypatch.setattr(header_cache, "FEWEST_CLIPS", 12)
    monkeypatch.setattr(header_cache, "_AT_ONCE", 5)
    clips = {write_clip(tmp_path / f"clip{number}.wav", 800 + number) for number in range(12)}
    forget_headers()
    yield tmp_path / "train.jsonl", clips
    forget_headers()


@pytest.fixture
def opened(monkeypatch):
    """The files that are opened for their headers, in this process."""
    names, open_clip = [], audio.open_clip
    monkeypatch.setattr(audio, "open_clip", lambda path: (names.append(Path(path).name), open_clip(path))[1])
    return names


def frames_of(clips: set[str]) -> list[int]:
    return sorted(probe_audio(clip).frames for clip in clips)


def start_again(file: Path, clips: set[str]) -> list[int]:
    forget_headers()
    know_headers(file, clips)
    return frames_of(clips)


def test_second_start_opens_no_clip(data, opened):
    file, clips = data
    expected = [800 + number for number in range(12)]
    assert start_again(file, clips) == expected
    assert len(opened) == 12
    assert start_again(file, clips) == expected
    assert len(opened) == 12


def test_clip_that_changed_is_read_again_once(data, opened):
    file, clips = data
    start_again(file, clips)
    changed = sorted(clips)[3]
    write_clip(Path(changed), 5000)
    opened.clear()
    assert max(start_again(file, clips)) == 5000
    assert max(start_again(file, clips)) == 5000
    assert opened == [Path(changed).name]


def test_clip_of_the_same_size_that_changed_is_read_again(data, opened):
    file, clips = data
    start_again(file, clips)
    changed = sorted(clips)[3]
    os.utime(changed, ns=(1, 1))
    opened.clear()
    start_again(file, clips)
    assert opened == [Path(changed).name]


def test_data_that_are_moved_keep_their_headers(data, opened, tmp_path):
    file, clips = data
    start_again(file, clips)
    moved = tmp_path.parent / f"{tmp_path.name} moved"
    shutil.move(tmp_path, moved)
    opened.clear()
    start_again(moved / file.name, {str(moved / Path(clip).name) for clip in clips})
    assert opened == []


def test_start_that_was_killed_goes_on_with_what_it_had_read(data, opened):
    file, clips = data
    start_again(file, clips)
    kept = file.with_name(".train.jsonl.headers")
    text = kept.read_text()
    kept.write_text(text[: len(text) // 2])  # in the middle of a line
    opened.clear()
    start_again(file, clips)
    assert 0 < len(opened) < 12
    opened.clear()
    start_again(file, clips)
    assert opened == []


def test_clip_that_cannot_be_read_is_left_to_its_row(data):
    file, clips = data
    broken = min(clips)
    Path(broken).write_bytes(b"no sound")
    know_headers(file, clips)
    with pytest.raises(ClipError, match="not decodable"):
        probe_audio(broken)


def test_unwritable_folder_keeps_nothing(data, opened, monkeypatch):
    file, clips = data
    missing = file.parent / "no such folder" / file.name
    assert start_again(missing, clips) == [800 + number for number in range(12)]
    assert len(opened) == 12
    assert not missing.parent.exists()


def test_few_clips_leave_no_file(data, monkeypatch):
    file, clips = data
    monkeypatch.setattr(header_cache, "FEWEST_CLIPS", 13)
    know_headers(file, clips)
    assert not file.with_name(".train.jsonl.headers").exists()


def read_and_count(file: Path, clips: set[str], begin, counts) -> None:
    opened, open_clip = [], audio.open_clip
    audio.open_clip = lambda path: (opened.append(path), open_clip(path))[1]
    begin.wait()
    know_headers(file, clips)
    counts.put((len(opened), frames_of(clips)))


def test_processes_that_start_together_read_each_clip_once(data):
    file, clips = data
    begin, counts = FORK.Barrier(3), FORK.Queue()
    processes = [FORK.Process(target=read_and_count, args=(file, clips, begin, counts)) for _ in range(3)]
    for process in processes:
        process.start()
    results = [counts.get(timeout=600) for _ in processes]
    for process in processes:
        process.join()
    assert sorted(opened for opened, _ in results) == [0, 0, 12]
    assert all(frames == [800 + number for number in range(12)] for _, frames in results)
    assert len({json.loads(line)["clip"] for line in file.with_name(".train.jsonl.headers").open()}) == 12


def test_packed_samples_are_the_samples():
    samples = [
        AudioQASample(
            f"row{number}", f"{number}.wav", "which ?", ("a", "b"), "a", None, "test", "hard", extra={"n": number}
        )
        for number in range(5)
    ]
    packed = PackedSamples(samples)
    assert list(packed) == samples
    assert (len(packed), packed[-1], packed[1:3]) == (5, samples[-1], samples[1:3])
    with pytest.raises(IndexError):
        packed[5]
    assert not PackedSamples([])
