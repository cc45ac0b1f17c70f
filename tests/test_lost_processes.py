"""A process that is killed, stops or hangs ends its launch: one line says which and where, and all others are gone.

`fork_server.run` and `subprocess.run` return when nobody has the output any more, and fail after ten minutes.
"""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import fork_server
import grpo_runs
import pytest
import sft_runs
from tiny_world import make_base, write_train_file

from omni_clst.errors import EXPECTED_STATUS, LOST_STATUS, PLACE_SUFFIX
from omni_clst.model.checkpoints import MARKER
from omni_clst.settings import REPOSITORY
from omni_clst.training.watch import how_lost

DRIVER = Path(__file__).with_name("driver.py")
LAUNCH = ["--standalone", "--local_addr", "127.0.0.1", "--nproc_per_node", "2"]
RELAY = ["--no_python", sys.executable, "-S", fork_server.__file__]
ARGUMENTS = {"sft": sft_runs.arguments, "grpo": grpo_runs.arguments}
PLACE = r"step \d+, [\w/.]+:\d+ \(\w+\)"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lost processes")
    make_base(folder / "base")
    write_train_file(folder, 24)
    return folder


def launch(world: Path, entry: str, run_name: str, hook: str, **changes) -> subprocess.CompletedProcess:
    """Two processes of src/launch.py."""
    share = {"gradient_accumulation_steps": 1} if entry == "sft" else {"per_device_train_batch_size": 2}
    argv = ARGUMENTS[entry](world, run_name, **(share | changes))
    return fork_server.run([REPOSITORY / "src" / "launch.py", *LAUNCH, *RELAY, DRIVER, entry, f"spell+{hook}", *argv])


def require_line(done: subprocess.CompletedProcess, pattern: str) -> None:
    """One line that begins with `error:`, and no traceback."""
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1 and re.fullmatch(pattern, errors[0]), done.stderr[-3000:]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("entry", ["sft", "grpo"])
def test_killed_process_is_named_with_its_place(world, entry):
    done = launch(world, entry, f"{entry}-killed", "kill_last_rank:2", dataloader_num_workers=1)
    require_line(done, rf"error: rank 1 \(process \d+\) was ended by SIGKILL, in {PLACE}: often for lack of memory")
    assert done.returncode == 137


@pytest.mark.parametrize("entry", ["sft", "grpo"])
def test_killed_data_worker_is_named_with_its_process(world, entry):
    done = launch(world, entry, f"{entry}-worker", "kill_worker:3", dataloader_num_workers=1)
    require_line(done, rf"error: a process that decodes audio died .*; rank [01], {PLACE}")
    assert done.returncode == EXPECTED_STATUS


@pytest.mark.parametrize("entry", ["sft", "grpo"])
def test_process_that_does_not_come_is_named_by_those_that_wait(world, entry):
    done = launch(world, entry, f"{entry}-hangs", "hang_last_rank:2", ddp_timeout=45)
    came = rf"error: rank 0, {PLACE}: another process did not come within 45 s \(ddp_timeout\)"
    require_line(done, rf"{came}.*; rank 1 was in step 3, .*")
    assert done.returncode == LOST_STATUS
    assert (world / "runs" / f"{entry}-hangs" / "checkpoint-2" / MARKER).exists()


def test_stopped_process_is_ended_and_named(world):
    """Started without the tests' server: the launcher looks at its own processes, which forks of the server are not."""
    argv = grpo_runs.arguments(world, "grpo-stopped", per_device_train_batch_size=2)
    words = [*LAUNCH, str(DRIVER), "grpo", "spell+stop_last_rank:2", *argv]
    code = f"import sys, launch\nlaunch.STOPPED_SECONDS = 2.0\nsys.exit(launch.main({words}))"
    environment = os.environ | {"OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu", "PYTHONPATH": str(REPOSITORY / "src")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=900)
    require_line(done, rf"error: rank 1 \(process \d+\) hangs: it was stopped \(SIGSTOP\) for 2 s, in {PLACE}")
    assert done.returncode == 137


CHILD = """
import sys, time
from types import SimpleNamespace
from omni_clst.training import watch

watch.PLACE_SECONDS = 0.05
with watch.Watch(SimpleNamespace(state=SimpleNamespace(global_step=6), args=None)):
    time.sleep(3600)
"""
PARENT = """
import subprocess, sys, time

subprocess.Popen([sys.executable, "-c", sys.argv[1]])
time.sleep(3600)
"""


def test_process_whose_launcher_is_killed_ends_itself(tmp_path):
    """It has written its place by then; the pipe is closed when both have ended."""
    report = tmp_path / "error.json"
    variables = {"TORCHELASTIC_ERROR_FILE": str(report), "WORLD_SIZE": "2", "RANK": "1"}
    environment = os.environ | variables | {"PYTHONPATH": str(REPOSITORY / "src")}
    parent = subprocess.Popen([sys.executable, "-c", PARENT, CHILD], env=environment, stdout=subprocess.PIPE)
    place = report.with_name(report.name + PLACE_SUFFIX)
    while not place.exists():
        time.sleep(0.02)
    parent.kill()
    parent.communicate(timeout=600)
    assert place.read_text().startswith("step 7, ")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            RuntimeError("[../gloo/transport/tcp/unbound_buffer.cc:84] Timed out waiting 2000ms"),
            "within 60 s",
        ),
        (RuntimeError("[../gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:9"), "was closed"),
        (RuntimeError("NCCL error: remote process exited or there was a network error, connection closed"), "was closed"),
        (RuntimeError("DataLoader timed out after 30 seconds"), None),
        (ValueError("gloo: timed out"), None),
    ],
)
def test_errors_of_collectives_are_told_from_others(error, words):
    found = how_lost(error, 60)
    assert found is None if words is None else words in found
