"""A preparation that is started again, also after a kill, writes the same bytes and repeats nothing."""

import os
import shutil
import signal

import fork_server
import pytest
import soundfile
from foreign_sets import audiomcq_row, audsem_row, waveform, write_audiomcq, write_audsem_tar, write_clip
from preparation_runs import DRIVER, rows_of, run, tree, words

import prepare


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
