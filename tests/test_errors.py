"""How an entry point ends."""

import os
import subprocess
import sys

import pytest
from tiny_world import free_port

from omni_clst.settings import REPOSITORY

ENTRY = """
import atexit, os, sys
import torch.distributed as dist
from omni_clst.errors import InputError, run_main

class Left:
    def __del__(self):
        os.write(1, b"torn down")

def main(argv):
    dist.init_process_group("gloo", init_method="tcp://127.0.0.1:%d", rank=0, world_size=1)
    main.group, main.left = dist.distributed_c10d._get_default_group(), Left()
    atexit.register(print, "exit function")
    print("done", *argv)
    if argv[0] == "bad":
        raise InputError("x.jsonl:1: no good")

run_main(main)
"""


@pytest.mark.parametrize(("word", "status", "error"), [("good", 0, ""), ("bad", 2, "error: x.jsonl:1: no good\n")])
def test_distributed_process_ends_without_the_interpreters_teardown(word, status, error):
    """While gloo's threads live, the teardown now and then aborts a process whose run is finished."""
    command = [sys.executable, "-W", "ignore", "-c", ENTRY % free_port(), word]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "src")}
    result = subprocess.run(command, capture_output=True, text=True, timeout=600, env=environment)
    assert (result.returncode, result.stderr) == (status, error)
    assert result.stdout == f"done {word}\nexit function\n"


def test_reader_of_the_output_may_end_early():
    command = f"{sys.executable} {REPOSITORY}/src/infer.py --help | head -1"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=120)
    assert len(result.stdout.splitlines()) == 1
    assert result.stderr == ""
