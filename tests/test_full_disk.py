"""A disk that fills up: one line, the older checkpoint whole, no part of the new one, and a run that goes on."""

import errno
import resource
from pathlib import Path

import fork_server
import grpo_runs
import pytest
import sft_runs
from tiny_world import make_base, write_train_file

from omni_clst.errors import EXPECTED_STATUS, InputError
from omni_clst.files import append_jsonl, read_appended, why_not_written, write_jsonl
from omni_clst.model.checkpoints import delete_checkpoint, is_complete, mark_complete

DRIVER = Path(__file__).with_name("driver.py")
MOMENTS = ("weights", "optimizer", "rng", "state", "prompt")
CUT_OFF = "it was cut off, as on a full disk"
ROWS = [{"row": number, "text": "x" * 40} for number in range(20)]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("full disk")
    make_base(folder / "base")
    write_train_file(folder, 24)
    return folder


@pytest.fixture
def no_file_grows_over_500_bytes():
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_append_that_does_not_fit_is_an_error_and_leaves_whole_rows(tmp_path, no_file_grows_over_500_bytes):
    """The system writes what fits, and says how much; the rest must not be lost without a word."""
    append_jsonl(tmp_path / "rows.jsonl", ROWS[:5])
    with pytest.raises(InputError, match=r"rows\.jsonl: cannot be written \(File too large\); make room"):
        append_jsonl(tmp_path / "rows.jsonl", ROWS[5:])
    kept = list(read_appended(tmp_path / "rows.jsonl"))
    assert 5 <= len(kept) < 20
    assert kept == ROWS[: len(kept)]


def test_file_that_does_not_fit_leaves_the_old_one(tmp_path, no_file_grows_over_500_bytes):
    write_jsonl(tmp_path / "rows.jsonl", ROWS[:5])
    with pytest.raises(InputError, match=r"rows\.jsonl: cannot be written"):
        write_jsonl(tmp_path / "rows.jsonl", ROWS)
    assert list(read_appended(tmp_path / "rows.jsonl")) == ROWS[:5]
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "Disk quota exceeded"),
        (OSError(errno.ENOENT, "No such file or directory"), None),
        (RuntimeError("Error while serializing: I/O error: No space left (os error 28)"), "No space left"),
        (RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534"), CUT_OFF),
        (RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed"), CUT_OFF),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), None),
    ],
)  # fmt: skip
def test_reason_is_that_of_the_disk_only(error, reason):
    assert why_not_written(error) == reason


def test_checkpoint_that_is_deleted_halfway_is_incomplete(tmp_path, monkeypatch):
    folder = tmp_path / "checkpoint-2"
    folder.mkdir()
    (folder / "weights").touch()
    mark_complete(folder)
    monkeypatch.setattr("shutil.rmtree", lambda *_, **__: None)  # as if killed there
    delete_checkpoint(folder)
    assert not is_complete(folder)


@pytest.mark.slow
@pytest.mark.parametrize("entry", ["sft", "grpo"])
def test_disk_that_is_full_while_saving_leaves_the_old_checkpoint_and_the_run_goes_on(world, entry):
    """The second save fails at five moments, one start after the other; then there is room."""
    arguments = {"sft": sft_runs.arguments, "grpo": grpo_runs.arguments}[entry]
    argv = arguments(world, entry, max_steps=4)
    run_dir = world / "runs" / entry
    for number, moment in enumerate(MOMENTS):
        save = 2 if number == 0 else 1  # a second start has only the second save to do
        result = fork_server.run([DRIVER, entry, f"spell+fill_disk:{moment}:{save}", *argv])
        assert result.returncode == EXPECTED_STATUS, (moment, result.stderr[-3000:])
        [line] = [line for line in result.stderr.splitlines() if line.startswith("error:")]
        assert line.startswith(f"error: {run_dir}/checkpoint-4"), (moment, line)
        assert line.endswith("checkpoint-2 is complete: make room, then start again"), (moment, line)
        assert "Traceback" not in result.stderr
        assert is_complete(run_dir / "checkpoint-2")
        assert not (run_dir / "checkpoint-4").exists()
    whole = arguments(world, f"{entry} whole", max_steps=4)
    for words in (argv, whole):
        result = fork_server.run([DRIVER, entry, "spell", *words])
        assert result.returncode == 0, result.stderr[-3000:]
    of_run = {"sft": sft_runs.losses, "grpo": grpo_runs.completions}[entry]
    assert of_run(run_dir) == of_run(world / "runs" / f"{entry} whole")
