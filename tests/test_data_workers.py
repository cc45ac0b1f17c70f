"""Data workers: what they send, and the error when one of them dies."""

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import fork_server
import numpy as np
import pytest
import torch
from grpo_runs import arguments as grpo_arguments
from inference_runs import arguments as infer_arguments
from sft_runs import arguments as sft_arguments
from tiny_world import make_base, write_mmau, write_train_file

from omni_clst.answering.audio_source import AudioSource
from omni_clst.answering.batches import Batch, encoded_batches
from omni_clst.data.encoder import OmniEncoder
from omni_clst.data.layouts import read_samples
from omni_clst.data.prompts import make_prompt
from omni_clst.model.checkpoints import find_checkpoint, load_processor
from omni_clst.settings import REPOSITORY

DRIVER = Path(__file__).with_name("driver.py")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data workers")
    make_base(folder / "base")
    write_train_file(folder, 8)
    write_mmau(folder / "data", 8)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("entry", ["sft", "grpo", "infer"])
def test_worker_that_is_killed_ends_the_run_with_one_line(world, entry):
    argv = {
        "sft": sft_arguments(world, "sft", dataloader_num_workers=1),
        "grpo": grpo_arguments(world, "grpo", dataloader_num_workers=1, max_steps=4),
        "infer": infer_arguments(world, "infer", num_workers=1),
    }[entry]
    result = fork_server.run([DRIVER, entry, "spell+kill_worker:3", *argv])
    assert result.returncode == 2, result.stderr[-2000:]
    assert "Traceback" not in result.stderr
    assert result.stderr.splitlines()[-1].startswith("error: a process that decodes audio died (")
    assert "lower dataloader_num_workers" in result.stderr


KILLED = """
import os, signal, sys
import torch
from omni_clst.processes import fresh_forks, start_data_worker

if __name__ == "__main__":
    context = fresh_forks("omni_clst.processes") if sys.argv[1] == "fresh" else None
    numbers = torch.utils.data.DataLoader(
        range(9), batch_size=None, num_workers=1, worker_init_fn=start_data_worker, multiprocessing_context=context
    )
    workers = iter(numbers)
    print(next(workers), flush=True)
    if sys.argv[2] == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    import __main__
    __main__.kept = workers  # as the curriculum's loader is: Python ends its workers by SIGTERM
"""


@pytest.mark.slow
@pytest.mark.parametrize(("how", "end"), [("fork", "killed"), ("fresh", "killed"), ("fork", "left"), ("fresh", "left")])
def test_workers_end_with_their_run(tmp_path, how, end):
    (tmp_path / "killed.py").write_text(KILLED)
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "src")}
    command = [sys.executable, str(tmp_path / "killed.py"), how, end]
    # the pipe is closed when the worker, which has inherited it, has ended too
    result = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, timeout=300)
    assert result.returncode == (-signal.SIGKILL if end == "killed" else 0)
    assert result.stdout.split()[0] == "0"


def test_batch_may_hold_more_clips_than_files_may_be_open(world):
    """300 clips in one batch, and room for 60 more open files."""
    encoder = OmniEncoder(load_processor(find_checkpoint(str(world / "base"))), make_prompt("demo_selective", ""), 30.0)
    samples = read_samples(str(world / "train.jsonl"), None) * 38
    batches = [Batch(0, tuple(samples[:300])), Batch(1, tuple(samples[300:]))]
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    opened = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 20
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (opened + 60, limits[1]))
        found = [examples for _, examples, _ in encoded_batches(batches, encoder, AudioSource.plan("real", samples), 1)]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert [len(examples) for examples in found] == [300, 4]
    expected = encoder.encode(samples[299])
    assert found[0][299].input_ids == expected.input_ids
    assert torch.equal(found[0][299].input_features, expected.input_features)
    assert np.isfinite(found[0][0].input_features.numpy()).all()
