"""`script/slurm.sh` with stand-ins for srun and scontrol: nodes, the signal's way, and the queue; a run on two "nodes"."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import fork_server
import grpo_runs
import pytest
from test_launch import ROOT, write_script
from tiny_world import make_base, write_train_file, write_zero_settings

DRIVER = ROOT / "tests" / "driver.py"

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
if [[ $1 == show ]]; then printf '%s\\nsecond\\n' "${FIRST_NODE:-first}"; else echo "scontrol $*"; fi
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


def submit(folder: Path, nodes: int, *words: str, **variables: str) -> subprocess.CompletedProcess:
    """Submit a launcher of `folder`, or of the folder that SLURM_SUBMIT_DIR names, with stand-ins for Slurm's commands."""
    for name in ("script", "bin"):
        (folder / name).mkdir(exist_ok=True)
    for name, text in (("bin/srun", SRUN), ("bin/scontrol", SCONTROL), ("script/run.sh", LAUNCHER)):
        write_script(folder / name, text)
    slurm = {
        "SLURM_SUBMIT_DIR": folder,
        "SLURM_JOB_NUM_NODES": nodes,
        "SLURM_JOB_ID": 123456,
        "SLURM_JOB_NODELIST": "n[1-2]",
    } | variables
    environment = {"PATH": f"{folder}/bin:{os.environ['PATH']}"} | {name: str(value) for name, value in slurm.items()}
    command = ["bash", ROOT / "script" / "slurm.sh", *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=1800)


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


REWARD = """
import os, signal, time
from pathlib import Path
from omni_clst.preemption import NOTICE

def noticed_once(sample, completion):
    file = Path(os.environ["NOTICE_FILE"])
    if sample.id == "row4" and not file.exists():
        file.touch()
        os.kill(int(os.environ["BATCH"]), signal.SIGUSR1)
        while not NOTICE.is_given:
            time.sleep(0.01)
    return sum(completion.text.encode()) % 5 / 4
"""


@pytest.mark.slow
def test_two_nodes_are_preempted_and_go_on_in_the_order_of_the_curriculum(tmp_path, monkeypatch):
    """Two launches of CLST.sh, a process each, under the shipped ZeRO-3; the signal comes in rollout 2 of 3."""
    make_base(tmp_path / "base")
    write_train_file(tmp_path, 24)
    (tmp_path / "noticed.py").write_text(REWARD, encoding="utf-8")
    rewards = f"{tmp_path}/noticed.py:noticed_once: 1.0"
    config = ["--config", str(ROOT / "configs" / "clst_15k.yaml")]
    settings = {"audio_root": tmp_path, "rewards": rewards, "steps_per_generation": 2, "max_steps": 6}
    (tmp_path / "earlier").touch()
    monkeypatch.setenv("NOTICE_FILE", str(tmp_path / "earlier"))
    argv = [*config, *grpo_runs.arguments(tmp_path, "whole", **settings, deepspeed="none")]
    whole = fork_server.run([DRIVER, "grpo", "none", *argv])
    assert whole.returncode == 0, whole.stderr[-3000:]

    def start() -> subprocess.CompletedProcess:
        share = {"deepspeed": write_zero_settings(tmp_path, 3), "per_device_train_batch_size": 2}
        argv = [*grpo_runs.arguments(tmp_path, "nodes", **settings, **share), "--", "--data_root", str(tmp_path)]
        variables = {
            "SLURM_SUBMIT_DIR": str(ROOT),
            "SLURM_JOB_ID": str(os.getpid()),  # gives the port
            "FIRST_NODE": "127.0.0.1",
            "NPROC_PER_NODE": "1",
            "OMP_NUM_THREADS": "1",
            "PYTHON": sys.executable,
            "NOTICE_FILE": str(tmp_path / "noticed"),
            "HOME": os.environ.get("HOME", "/"),
        }
        return submit(tmp_path, 2, "CLST.sh", *argv, **variables)

    done = start()
    assert done.returncode == 75, done.stderr[-9000:]
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith(("preempted", "scontrol"))]
    saved = "preempted at step 4: checkpoint-4 is complete, start again to go on"  # once a node
    assert lines == [saved, saved, "preempted: back into the queue", f"scontrol requeue {os.getpid()}"]
    done = start()
    assert done.returncode == 0, done.stderr[-9000:]
    whole, nodes = (tmp_path / "runs" / name for name in ("whole", "nodes"))
    assert grpo_runs.completions(nodes) == grpo_runs.completions(whole)
    assert grpo_runs.losses(nodes) == pytest.approx(grpo_runs.losses(whole), abs=1e-5)


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
