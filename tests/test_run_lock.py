"""A folder has one run at a time; the lock goes with its process, however that ends."""

import errno
import fcntl
import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from omni_clst.errors import InputError
from omni_clst.runs import LOCK_FILE, FolderLock, empty_folder

FORK = multiprocessing.get_context("fork")


def hold(folder: Path, held, reading: int, writing: int) -> None:
    """Hold the lock until the writing end of the pipe is closed, and start a child that does nothing for as long."""
    os.close(writing)
    os.environ["SLURM_JOB_ID"] = "77"
    with FolderLock(folder, "give another --run_name"):
        if os.fork() == 0:  # as a data worker, which may live longer
            os.read(reading, 1)
            os._exit(0)
        held.set()
        os.read(reading, 1)


@pytest.fixture
def holder(tmp_path):
    held, (reading, writing) = FORK.Event(), os.pipe()
    process = FORK.Process(target=hold, args=(tmp_path / "run", held, reading, writing))
    process.start()
    held.wait()
    yield process
    os.close(writing)
    process.join()
    os.close(reading)


def test_second_run_is_refused_and_names_the_first(tmp_path, holder):
    pattern = rf"run: Slurm job 77, process {holder.pid} on \S+ \(since [\d :-]+\) writes there; wait .* --run_name"
    with pytest.raises(InputError, match=pattern):
        FolderLock(tmp_path / "run", "give another --run_name")


def test_killed_run_leaves_the_folder_free_although_its_child_lives(tmp_path, holder):
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    with FolderLock(tmp_path / "run", "give another --run_name"):
        pass


def test_file_system_without_locks_is_a_warning(tmp_path, monkeypatch, capsys):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", refuse)
    with FolderLock(tmp_path, ""):
        assert "has no locks (No locks available): start no second run there" in capsys.readouterr().out


def test_folder_is_emptied_but_for_its_lock_and_its_settings_go_last(tmp_path, monkeypatch):
    """A kill in between must not leave old checkpoints without the settings that tell them from those of a new run."""
    with FolderLock(tmp_path, ""):
        for name in ("checkpoint-2", "merged"):
            (tmp_path / name).mkdir()
        for name in ("config.yaml", "metrics.jsonl"):
            (tmp_path / name).touch()
        moved, rename = [], Path.rename
        monkeypatch.setattr(Path, "rename", lambda self, target: (moved.append(self.name), rename(self, target))[1])
        empty_folder(tmp_path, last="config.yaml")
        assert moved[0] == "metrics.jsonl" and moved[-1] == "config.yaml" and len(moved) == 4
        assert [path.name for path in tmp_path.iterdir()] == [LOCK_FILE]
    assert list(tmp_path.iterdir()) == []


def test_lock_whose_file_was_removed_meanwhile_is_taken_anew(tmp_path, monkeypatch):
    """Between opening the file and locking it, the run that had it may end and remove it."""
    lock, calls = fcntl.lockf, []

    def lockf(file, how):
        lock(file, how)
        if not calls:
            os.unlink(file.name)
        calls.append(file)

    monkeypatch.setattr(fcntl, "lockf", lockf)
    with FolderLock(tmp_path, ""):
        assert len(calls) == 2
        assert (tmp_path / LOCK_FILE).read_text()
