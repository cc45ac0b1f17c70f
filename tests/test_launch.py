"""`launch` of script/common.sh: how many processes are started, and how torchrun is called."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def write_script(path: Path, text: str) -> None:
    path.write_text(f"#!{shutil.which('bash')}\n{text}\n")
    path.chmod(0o755)


@pytest.fixture
def repository(tmp_path):
    """A copy of the launchers' scripts without pins, and an entry point that reports what it was started with."""
    folder = tmp_path / "a repository"
    for name in ("script", "src"):
        (folder / name).mkdir(parents=True)
    for name in ("common.sh", "environment.sh"):
        shutil.copy(ROOT / "script" / name, folder / "script")
    shutil.copy(ROOT / "pyproject.toml", folder)
    (folder / "requirements.txt").touch()
    shutil.copy(ROOT / "src" / "launch.py", folder / "src")
    (folder / "src" / "omni_clst").mkdir()
    for name in ("__init__.py", "errors.py", "preemption.py"):
        shutil.copy(ROOT / "src" / "omni_clst" / name, folder / "src" / "omni_clst")
    (folder / "src" / "entry.py").write_text(
        "import os, sys\n"
        "rank = os.environ.get('RANK', 'alone')\n"
        "sys.stdout.write(f'{os.getcwd()} {sys.argv[1:]} {os.environ[\"OMP_NUM_THREADS\"]} {rank}\\n')\n"
        "sys.exit(3 if 'fail' in sys.argv else 0)\n"
    )
    return folder


def sourced(repository: Path, command: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess:
    """Run a bash command line behind common.sh, in an environment of PATH, HOME and these variables."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.run(
        ["bash", "-c", f"source '{repository}/script/common.sh'; {command}"],
        cwd=cwd,
        env={**kept, "PYTHON": sys.executable, **variables},
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.mark.parametrize(
    ("counted", "variables", "arguments", "processes"),
    [
        ("echo 2", {}, "", "2"),
        ("echo 2", {}, "--device cuda", "2"),
        ("echo 2", {}, "--device cpu", "1"),
        ("echo 2", {}, "--epochs 1 --device=cpu", "1"),
        ("echo 2", {"NPROC_PER_NODE": "4"}, "--device cpu", "4"),
        ("echo 2", {"NPROC_PER_NODE": "gpu"}, "", "gpu"),
        ("echo 0", {}, "", "1"),  # a GPU that torch cannot use: the one process ends with choose_device's error
        ("echo Traceback >&2; exit 1", {}, "", "1"),  # a torch that is broken: the one process says so
    ],
)
def test_processes_are_one_per_gpu_that_torch_can_use(repository, tmp_path, counted, variables, arguments, processes):
    write_script(tmp_path / "nvidia-smi", "")
    write_script(tmp_path / "python", counted)
    command = f"PYTHON_BIN='{tmp_path}/python'; processes_per_node {arguments}"
    done = sourced(repository, command, tmp_path, PATH=f"{tmp_path}:{os.environ['PATH']}", **variables)
    assert done.stdout == f"{processes}\n"
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(shutil.which("nvidia-smi") is not None or Path("/dev/nvidia0").exists(), reason="has a GPU")
def test_torch_is_not_asked_where_there_is_no_driver(repository, tmp_path):
    assert sourced(repository, "PYTHON_BIN=/nowhere; processes_per_node", tmp_path).stdout == "1\n"


def test_launch_keeps_directory_arguments_and_leaves_the_cores_to_the_one_process(repository, tmp_path):
    elsewhere = tmp_path / "else where"
    elsewhere.mkdir()
    done = sourced(repository, "launch entry.py --name 'a b' ''; echo went on", elsewhere, NPROC_PER_NODE="1")
    assert done.stdout == f"{elsewhere} ['--name', 'a b', ''] {len(os.sched_getaffinity(0))} alone\nwent on\n"


def test_cores_of_a_launch_of_one_process_are_not_those_of_each_in_the_next(repository, tmp_path):
    """CLST.sh checks the inference in one process, then trains in as many as there are GPUs."""
    command = "NPROC_PER_NODE=1 launch entry.py; echo ${OMP_NUM_THREADS:-not set}"
    assert sourced(repository, command, tmp_path).stdout.endswith("alone\nnot set\n")
    done = sourced(repository, command, tmp_path, OMP_NUM_THREADS="3")
    assert done.stdout == f"{tmp_path} [] 3 alone\n3\n"


def test_failed_entry_ends_the_launcher_with_its_status(repository, tmp_path):
    done = sourced(repository, "launch entry.py fail; echo went on", tmp_path, NPROC_PER_NODE="1")
    assert done.returncode == 3
    assert "went on" not in done.stdout


@pytest.mark.parametrize(
    ("variables", "command"),
    [
        ({"NPROC_PER_NODE": "2"}, "--standalone --local_addr 127.0.0.1 --nproc_per_node 2"),
        ({"NPROC_PER_NODE": "gpu"}, "--standalone --local_addr 127.0.0.1 --nproc_per_node gpu"),
        (
            {"NPROC_PER_NODE": "2", "MASTER_PORT": "1234"},
            "--nnodes 1 --node_rank 0 --master_addr 127.0.0.1 --master_port 1234 --nproc_per_node 2",
        ),
        (
            {"NPROC_PER_NODE": "1", "NNODES": "2", "NODE_RANK": "1", "MASTER_ADDR": "first"},
            "--nnodes 2 --node_rank 1 --master_addr first --master_port 29500 --nproc_per_node 1",
        ),
    ],
)
def test_torchrun_is_called_for_several_processes_or_nodes(repository, tmp_path, variables, command):
    done = sourced(repository, "PYTHON_BIN=echo; launch entry.py --key value", tmp_path, **variables)
    assert done.stdout == f"{repository}/src/launch.py {command} {repository}/src/entry.py --key value\n"


@pytest.mark.slow
def test_two_processes_run_under_torchrun_and_share_the_cores(repository, tmp_path):
    done = sourced(repository, "launch entry.py --key value", tmp_path, NPROC_PER_NODE="2", OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == [f"{tmp_path} ['--key', 'value'] 1 {rank}" for rank in (0, 1)]


FAILURES = """
import os, signal, sys, time
from omni_clst.errors import InputError, run_main

def main(words):
    how, rank = words[0], int(os.environ["RANK"])
    if how == "both":
        raise InputError("x.jsonl:1: no good")
    if rank == 0:
        time.sleep(600)
    elif how == "one":
        raise InputError("x.jsonl:2: no good")
    elif how == "crash":
        raise RuntimeError("went wrong")
    elif how == "status":
        sys.exit(3)
    os.kill(os.getpid(), signal.SIGKILL)

run_main(main)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "status", "pattern"),
    [
        ("both", 2, r"error: x\.jsonl:1: no good\n"),  # once, of two processes
        ("one", 2, r"error: x\.jsonl:2: no good\n"),  # also where it is not rank 0's
        ("crash", 1, r"error: rank 1 failed:\nTraceback .*\n.*RuntimeError: went wrong\n"),
        ("status", 3, r"error: rank 1 \(process \d+\) ended with exit status 3\n"),
        ("killed", 137, r"error: rank 1 \(process \d+\) was ended by SIGKILL: often for lack of memory\n"),
    ],
)
def test_launch_of_two_processes_prints_an_error_once_and_ends_with_its_status(repository, tmp_path, how, status, pattern):
    (repository / "src" / "entry.py").write_text(FAILURES)
    done = sourced(repository, f"launch entry.py {how}; echo went on", tmp_path, NPROC_PER_NODE="2")
    assert done.stdout == ""
    printed = done.stderr.removeprefix(f"using {sys.executable}\n")
    assert re.fullmatch(pattern, printed, re.DOTALL), printed
    assert printed.count("went wrong") <= 2  # the line of the source and the message
    assert done.returncode == status


@pytest.mark.slow
def test_launch_that_is_ended_by_a_signal_ends_its_processes_without_a_page(repository, tmp_path):
    text = "import os, time\nopen('started.' + os.environ['RANK'], 'x').write(str(os.getpid()))\ntime.sleep(600)\n"
    (repository / "src" / "entry.py").write_text(text)
    words = [sys.executable, repository / "src" / "launch.py", "--standalone", "--local_addr", "127.0.0.1"]
    words += ["--nproc_per_node", "2", repository / "src" / "entry.py"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    launched = subprocess.Popen(words, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
    files = [tmp_path / f"started.{rank}" for rank in (0, 1)]
    while not all(file.exists() and file.read_text() for file in files):
        assert launched.poll() is None
        time.sleep(0.05)
    launched.terminate()
    assert "Traceback" not in launched.communicate(timeout=300)[1]
    assert launched.returncode == 128 + signal.SIGTERM
    for file in files:
        with pytest.raises(ProcessLookupError):
            os.kill(int(file.read_text()), 0)


@pytest.mark.parametrize("name", ["report", "score"])
def test_reports_and_scores_have_launchers(tmp_path, name):
    command = ["bash", ROOT / "script" / f"{name}.sh", "--help"]
    environment = {"PATH": os.environ["PATH"], "PYTHON": sys.executable, "NNODES": "2"}  # counts and nodes do not matter
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert f"python src/{name}.py" in done.stdout
