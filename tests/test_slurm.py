"""`script/slurm.sh` with stand-ins for srun and scontrol: nodes, the signal's way, and the queue."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from test_launch import ROOT, write_script

SRUN = """
while [[ $1 == --* ]]; do shift; done
export BATCH=$PPID
for ((node = 0; node < SLURM_JOB_NUM_NODES; node++)); do
    SLURM_NODEID=$node "$@" & tasks+=($!)
done
trap 'kill -s USR1 "${tasks[@]}"' USR1
highest=0
for task in "${tasks[@]}"; do
    while kill -0 "$task" 2>/dev/null; do wait "$task" || true; done # a signal ends `wait` too
    status=0; wait "$task" || status=$?
    if ((status > highest)); then highest=$status; fi
done
exit "$highest"
"""
SCONTROL = """
if [[ $1 == show ]]; then printf 'first\\nsecond\\n'; else echo "scontrol $*"; fi
"""
LAUNCHER = """
trap 'exit 75' USR1
echo "node ${NODE_RANK} of $NNODES, ${MASTER_ADDR:-no address}, ${MASTER_PORT:-no port}, $*"
touch "ready.$NODE_RANK"
if [[ $1 == ends ]]; then exit "$2"; fi
for ((node = 0; node < NNODES; node++)); do until [[ -e ready.$node ]]; do sleep 0.02; done; done
if [[ $NODE_RANK == 0 ]]; then kill -s "$2" "$BATCH"; fi
while true; do sleep 0.02; done
"""


def submit(folder: Path, nodes: int, *words: str) -> subprocess.CompletedProcess:
    (folder / "script").mkdir()
    (folder / "bin").mkdir()
    for name, text in (("bin/srun", SRUN), ("bin/scontrol", SCONTROL), ("script/run.sh", LAUNCHER)):
        write_script(folder / name, text)
    slurm = {
        "SLURM_SUBMIT_DIR": folder,
        "SLURM_JOB_NUM_NODES": nodes,
        "SLURM_JOB_ID": 123456,
        "SLURM_JOB_NODELIST": "n[1-2]",
    }
    environment = {"PATH": f"{folder}/bin:{os.environ['PATH']}"} | {name: str(value) for name, value in slurm.items()}
    command = ["bash", ROOT / "script" / "slurm.sh", *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)


@pytest.mark.parametrize("name", ["USR1", "TERM"])
def test_signal_reaches_every_node_and_the_preempted_job_is_queued_again(tmp_path, name):
    done = submit(tmp_path, 2, "run.sh", "waits", name)
    assert done.returncode == 75, done.stderr
    lines = done.stdout.splitlines()
    assert sorted(lines[:2]) == [f"node {rank} of 2, first, 23456, waits {name}" for rank in (0, 1)]
    assert lines[2:] == ["preempted: back into the queue", "scontrol requeue 123456"]


@pytest.mark.parametrize("status", [0, 2])
def test_finished_or_failed_job_is_not_queued_again(tmp_path, status):
    done = submit(tmp_path, 1, "run.sh", "ends", str(status))
    assert (done.returncode, done.stdout) == (status, f"node 0 of 1, no address, no port, ends {status}\n")


@pytest.mark.parametrize(("words", "error"), [([], "no launcher given"), (["CLTS.sh"], "script/CLTS.sh: submit from")])
def test_mistake_in_the_submission_is_one_line(tmp_path, words, error):
    done = submit(tmp_path, 1, *words)
    assert done.returncode == 2
    assert error in done.stderr
    assert done.stderr.count("\n") == 1


STUBBORN = """
import os, signal, time

def stay(number, frame):
    if os.environ["RANK"] == "0":
        os.kill(os.getppid(), signal.SIGUSR1)

signal.signal(signal.SIGTERM, stay)
open("ready." + os.environ["RANK"], "x").close()
while not all(os.path.exists(f"ready.{rank}") for rank in (0, 1)):
    time.sleep(0.05)
if os.environ["RANK"] == "0":
    os.kill(os.getppid(), signal.SIGTERM)
time.sleep(600)
"""


@pytest.mark.slow
def test_second_signal_to_the_launcher_ends_its_processes_at_once(tmp_path):
    """The first is passed on; a process that got it sends the second, of the other kind."""
    (tmp_path / "stubborn.py").write_text(STUBBORN)
    words = ["--standalone", "--local_addr", "127.0.0.1", "--nproc_per_node", "2", "stubborn.py"]
    code = (
        "import sys, launch, omni_clst.preemption as preemption; preemption.SAME_NOTICE_SECONDS = -1\n"
        f"sys.exit(launch.main({words}))"
    )
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 128 + signal.SIGUSR1, done.stderr
    assert "Traceback" not in done.stderr
