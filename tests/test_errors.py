"""How an entry point ends."""

import os
import subprocess
import sys

import pytest
from tiny_world import free_port

from omni_clst.settings import REPOSITORY

ENTRY = """
import atexit, os, sys, time
import torch.distributed as dist
from omni_clst import errors
from omni_clst.errors import InputError, run_main
from omni_clst.preemption import Preempted

class Left:
    def __del__(self):
        os.write(1, b"torn down")

def main(argv):
    dist.init_process_group("gloo", init_method="tcp://127.0.0.1:%d", rank=0, world_size=1)
    main.group, main.left = dist.distributed_c10d._get_default_group(), Left()
    atexit.register(print, "exit function")
    print("done", *argv)
    if "without others" in argv:  # NCCL waits for the processes of a group, which are in another collective
        dist.destroy_process_group = lambda *_: time.sleep(3600)
        errors.ENDING_SECONDS = 1.0
    if argv[0] == "bad":
        raise InputError("x.jsonl:1: no good")
    if argv[0] == "preempted":
        raise Preempted

run_main(main)
"""


def run_entry(*words: str) -> tuple[int, list[str], str]:
    """Status, lines on stdout, and stderr of a process with a group of its own."""
    command = [sys.executable, "-W", "ignore", "-c", ENTRY % free_port(), *words]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "src")}
    result = subprocess.run(command, capture_output=True, text=True, timeout=600, env=environment)
    return result.returncode, result.stdout.splitlines(), result.stderr


@pytest.mark.parametrize(("word", "status", "error"), [("good", 0, ""), ("bad", 2, "error: x.jsonl:1: no good\n")])
def test_distributed_process_ends_without_the_interpreters_teardown(word, status, error):
    """While gloo's threads live, the teardown now and then aborts a process whose run is finished."""
    assert run_entry(word) == (status, [f"done {word}", "exit function"], error)


@pytest.mark.parametrize(("word", "status"), [("bad", 2), ("preempted", 75)])
def test_process_that_ends_before_the_others_does_not_wait_for_them(word, status):
    """With NCCL its error came after ddp_timeout, and the launcher named another process's."""
    assert run_entry(word, "without others")[0] == status


def test_reader_of_the_output_may_end_early():
    command = f"{sys.executable} {REPOSITORY}/src/infer.py --help | head -1"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=120)
    assert len(result.stdout.splitlines()) == 1
    assert result.stderr == ""
