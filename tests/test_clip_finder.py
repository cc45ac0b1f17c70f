"""Where the clip of a row is found, by every name that the row offers."""

import os
from pathlib import Path

import pytest
from foreign_sets import audiomcq_row

from omni_clst.preparation.finder import ClipFinder
from omni_clst.preparation.layouts import convert


def put(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


# Where a clip is found: files below the folder, what the row calls it, and the file that it means (or why none)

FOUND = [
    (["a.wav"], ["a.wav"], "a.wav", "a path"),
    (["b/c/a.wav"], ["./a.wav"], "b/c/a.wav", "a file's name, wherever it is"),
    (["b/a.wav"], ["elsewhere/a.wav"], "b/a.wav", "a path of another machine"),
    (["b/a.wav"], ["C:\\clips\\a.wav"], "b/a.wav", "a path of Windows"),
    (["b/a.wav"], ["a"], "b/a.wav", "a name without its suffix"),
    (["a.WAV"], ["a.wav"], "a.WAV", "capitals"),
    (["a.flac"], ["a.wav"], "a.flac", "another format"),
    (["a.b.flac"], ["a.b"], "a.b.flac", "a name with a dot"),
    (["v_30.wav"], ["v_000030"], "v_30.wav", "AVQA's zeros stripped"),
    (["v_30.wav"], ["v_000030.mp4"], "v_30.wav", "with the video's suffix"),
    (["v_000030.wav", "v_30.wav"], ["v_000030"], "v_000030.wav", "the name as it is comes first"),
    (["a.mp4", "sound/a.wav"], ["a"], "sound/a.wav", "sound before a video"),
    (["a.mp4", "sound/a.wav"], ["a.mp4"], "a.mp4", "a video where it is named"),
    (["a.mp4"], ["a"], "a.mp4", "a video alone"),
    (["a.mp3", "a.wav"], ["a"], "a.wav", "of one folder's formats the least lossy"),
    (["x.wav", "y.wav"], ["y.wav", "x"], "y.wav", "the first name that is a file"),
    (["b/x.wav", "y.wav"], ["x.wav", "y.wav"], "y.wav", "a path before a name that is searched"),
    (["x.wav"], ["gone.wav", "x"], "x.wav", "every name is tried"),
    (["b/a.wav", "c/a.wav"], ["a"], "several files", "two folders, one name"),
    (["a.wav"], [], "the row names none", "no name"),
    (["a.wav"], [" "], "the row names none", "a blank name"),
    (["a.txt"], ["a"], "a: no such file below", "no sound"),
    ([".hidden/a.wav"], ["a"], "a: no such file below", "hidden folders are not searched"),
    (["out/a.flac"], ["a"], "a: no such file below", "nor what a preparation wrote"),
    *[([f"b/a{suffix}"], ["a"], f"b/a{suffix}", f"a {suffix}") for suffix in (
        ".oga", ".opus", ".wave", ".aifc", ".caf", ".au", ".wma", ".m4b", ".amr", ".mka", ".mkv", ".mov", ".3gp", ".avi",
        ".webm", ".raw", ".ac3", ".TS")],
]  # fmt: skip


@pytest.mark.parametrize(("files", "names", "expected", "why"), FOUND, ids=[row[-1] for row in FOUND])
def test_clip_is_found_by_every_name_that_its_row_offers(tmp_path, files, names, expected, why):
    put(tmp_path, *files)
    path, reason = ClipFinder([tmp_path], leave_out=tmp_path / "out").find(names)
    assert path == (str(tmp_path / expected) if expected in files else None)
    assert path is not None or expected in reason


def test_linked_folders_are_followed_once_and_a_circle_ends(tmp_path):
    put(tmp_path, "storage/deep/a.wav", "set/b.wav")
    (tmp_path / "set" / "audio").symlink_to(tmp_path / "storage")
    (tmp_path / "storage" / "deep" / "up").symlink_to(tmp_path / "set")
    (tmp_path / "set" / "again").symlink_to(tmp_path / "storage" / "deep")
    finder = ClipFinder([tmp_path / "set"])
    for name in ("a", "b"):
        assert os.path.realpath(finder.find([name])[0]).endswith(f"/{name}.wav")


def test_path_counts_from_the_rows_file_too(tmp_path):
    put(tmp_path, "rows/near.wav", "clips/far.wav")
    finder = ClipFinder([tmp_path / "clips", tmp_path / "rows"])
    assert finder.find(["near.wav"])[0] == str(tmp_path / "rows" / "near.wav")
    assert finder.find(["far.wav"])[0] == str(tmp_path / "clips" / "far.wav")


CLIP_KEYS = [
    ({"audio_path": "p.wav", "video_name": "v"}, ("p.wav", "v"), "the path comes first"),
    ({"video_name": "v"}, ("v",), "AVQA's own"),
    ({"file_name": "f.flac", "audio_path": ""}, ("f.flac",), "an empty path is none"),
    ({"audio_path": ["p.wav"]}, ("p.wav",), "a list of one"),
    ({"audio_path": ["p.wav", "q.wav"], "path": "r.wav"}, ("r.wav",), "of two clips neither"),
    ({"audio_path": float("nan"), "wav": "w.wav"}, ("w.wav",), "a gap in the column"),
    ({"audio_path": None, "audio": "a.wav"}, ("a.wav",), "null"),
    ({"file_name": 7}, ("7",), "a number"),
    ({"audio_path": "p.wav", "file_name": "p.wav"}, ("p.wav",), "one name twice"),
]


@pytest.mark.parametrize(("keys", "expected", "why"), CLIP_KEYS, ids=[row[-1] for row in CLIP_KEYS])
def test_row_offers_every_name_of_its_clip(keys, expected, why):
    row = {key: value for key, value in audiomcq_row(0).items() if key != "audio_path"} | keys
    assert convert("audiomcq", row).clip_names == expected
