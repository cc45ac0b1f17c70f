"""GRPO whose completions a vLLM server generates: the same answers and log-probabilities, and the weights of the step.

One real server for the file, on the CPU. It ends with the tests, however they end.
"""

import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

import fork_server
import psutil
import pytest
import torch
from grpo_runs import completions, losses, metric, rows_of
from test_vllm import needs_vllm, run_driver, runs, vllm_arguments
from tiny_world import free_port, make_base, write_train_file

from omni_clst.errors import InputError
from omni_clst.grpo.vllm_server import VLLMServer
from omni_clst.model.vllm_serving import SERVER
from omni_clst.settings import REPOSITORY

TESTS = Path(__file__).parent
LONGEST = 2600  # tokens: the longest clip of the checks has 1,025
# Ends the whole group with the server, and with whoever holds the other end of the standard input.
WATCHER = """
("$@" < /dev/null; kill -TERM -- -$$) &
cat > /dev/null
trap : TERM; kill -TERM -- -$$; sleep 20; kill -KILL -- -$$
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("server world")
    make_base(folder / "base", hidden=128, gain=1.2)  # vLLM's attention on a CPU takes heads of 32 and more
    make_base(folder / "other base", hidden=64)
    write_train_file(folder, 36)
    return folder


class Server:
    """`script/serve_vllm.sh` in a process group of its own."""

    def __init__(self, world: Path, dtype: str = "float32", gpus: str = ""):
        self.world = world
        self.address = f"http://127.0.0.1:{free_port()}"
        command = ["bash", REPOSITORY / "script/serve_vllm.sh", world / "base", "--dtype", dtype]
        command += ["--max-model-len", LONGEST, "--port", self.address.rpartition(":")[2]]
        with (world / "server.log").open("w") as log:
            self.process = subprocess.Popen(
                ["bash", "-c", WATCHER, "watcher", *map(str, command)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=os.environ | {"PYTHON": sys.executable, "CUDA_VISIBLE_DEVICES": gpus},
            )

    def wait_until_ready(self) -> None:
        while not self._answers():
            assert self.process.poll() is None, (self.world / "server.log").read_text()[-3000:]
            time.sleep(0.2)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.address}/health") as response:
                return response.status == 200
        except (urllib.error.URLError, ConnectionError):
            return False

    @property
    def listening(self) -> psutil.Process:
        """The process that answers, and ends those of its engine when it is terminated."""
        below = psutil.Process(self.process.pid).children(recursive=True)
        return next(process for process in below if process.cmdline()[1:3] == ["-m", SERVER])

    def end(self) -> None:
        """Let it clean up, for 20 seconds at most."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
        for _ in range(100):
            if not self._is_running():
                break
            time.sleep(0.2)
        else:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()

    def _is_running(self) -> bool:
        """Whether a process of the group is there, other than one that nobody has waited for."""
        self.process.poll()
        ended = (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
        for process in psutil.process_iter(["status"]):
            with suppress(ProcessLookupError):
                if os.getpgid(process.pid) == self.process.pid and process.info["status"] not in ended:
                    return True
        return False


@pytest.fixture(scope="module")
def servers(world):
    """The servers that were started; the first starts while others do something else."""
    started = [Server(world)]
    yield started
    for server in started:
        server.end()


@pytest.fixture
def server(world, servers):
    """One that answers."""
    if servers[-1].process.poll() is not None:
        servers.append(Server(world))
    servers[-1].wait_until_ready()
    return servers[-1]


def server_arguments(world: Path, name: str, address: str, **changes) -> list[str]:
    return vllm_arguments(world, name, vllm_server=address, **changes)


@needs_vllm
@pytest.mark.slow
def test_server_that_is_not_there_is_one_line_with_the_command_that_starts_it(world, servers):
    address = f"http://127.0.0.1:{free_port()}"
    result = run_driver("grpo", "none", server_arguments(world, "missing", address))
    assert result.returncode == 2
    [line] = [line for line in result.stderr.splitlines() if "vllm_server" in line]
    port = address.rpartition(":")[2]
    assert line.startswith(f"error: vllm_server {address}: no answer ([Errno 111] Connection refused); start it with")
    assert f"`bash script/serve_vllm.sh {world}/base --dtype float32 --max-model-len 2054 --port {port}`" in line
    assert not (world / "runs" / "missing").exists()


@needs_vllm
@pytest.mark.slow
def test_dry_run_asks_no_server_and_counts_no_memory_for_vllm(world):
    argv = server_arguments(world, "planned", "http://node7:8000", dry_run="true")
    result = run_driver("grpo", "none", argv)
    assert result.returncode == 0, result.stderr[-3000:]
    assert "engine       vllm on http://node7:8000, whose weights and cache are not in the memory below" in result.stdout
    [memory] = [line for line in result.stdout.splitlines() if line.startswith("memory")]
    assert "activations" in memory
    assert "rollout" not in memory


@pytest.fixture(scope="module")
def checks(world, servers):
    servers[0].wait_until_ready()
    output = world / "checks.json"
    argv = server_arguments(world, "checks", servers[0].address, rewards="accuracy: 1.0")
    result = fork_server.run([TESTS / "vllm_server_checks.py", output, *argv, world / "other base"])
    assert result.returncode == 0, result.stderr[-3000:]
    return json.loads(output.read_text())


@needs_vllm
@pytest.mark.slow
def test_server_answers_clips_of_any_length_as_transformers_and_draws_with_the_trainers_log_probs(checks):
    """From one audio token to 41 s, and a prompt without a clip."""
    assert checks["greedy"]
    assert checks["distinct"] > 4
    assert len(checks["log-probs"]) == 5
    for count, largest in checks["log-probs"].values():
        assert count > 200
        assert largest < 1e-4
    assert all(checks["repeats"].values())


@needs_vllm
@pytest.mark.slow
def test_server_answers_by_the_weights_that_it_was_given_last(checks):
    assert len(checks["weights"]) == 4
    for is_equal, is_visible in checks["weights"].values():
        assert is_equal
        assert is_visible
    assert checks["left behind"] == []
    assert checks["transfer"] == [True] * 5


@needs_vllm
@pytest.mark.slow
def test_server_with_another_model_or_for_another_run_is_refused_in_one_line(checks, world):
    served = f"it serves {world}/base with"
    assert f"{served} dtype float32, this run needs dtype bfloat16: start it with `bash" in checks["other precision"]
    assert f"{served} hidden_size 128, intermediate_size 384" in checks["other model"]
    assert ", this run needs hidden_size 64, intermediate_size 192" in checks["other model"]
    assert "put runs_dir on a disk that both see, or set vllm_weights nccl" in checks["other disk"]
    assert checks["after refusals"]
    assert "its weights are 'those of another run' instead of" in checks["other run"]


@needs_vllm
@pytest.mark.slow
def test_run_learns_from_a_servers_rollouts_on_the_files_order(world, server):
    """LoRA with an evaluation, eight steps over eight rows: every clip comes again after the weights have changed."""
    more = {"valid_file": world / "eight.jsonl", "eval_steps": 4, "dataloader_num_workers": 1}
    runs("grpo", "none", server_arguments(world, "served", server.address, **more))
    run_dir = world / "runs" / "served"
    assert len(losses(run_dir)) == 8
    assert max(metric(run_dir, "sampling/logp_difference")) < 1e-4
    assert min(metric(run_dir, "sampling/probability_correlation")) > 0.9999
    assert max(metric(run_dir, "kl")) > 1e-3  # the weights have moved far more than that
    assert len(metric(run_dir, "eval_accuracy")) == 3  # the first before training
    order = [row["id"] for row in rows_of(world / "eight.jsonl")]
    assert [sample for _, _, sample, _ in completions(run_dir)][::2] == order * 2
    environment = json.loads((run_dir / "environment.json").read_text())
    assert environment["engine"] == f"vllm 0.31.0 on {server.address}"


@needs_vllm
@pytest.mark.slow
def test_server_that_ends_in_the_middle_ends_the_run_with_one_line(world, server):
    argv = server_arguments(world, "lost", server.address)
    result = run_driver("grpo", f"end_other_after_step:4:{server.listening.pid}", argv)
    assert result.returncode == 2
    [line] = [line for line in result.stderr.splitlines() if "vllm_server" in line]
    assert line.startswith(f"error: vllm_server {server.address}: no answer (")
    assert "then this run again" in line
    assert "Traceback" not in result.stderr
    assert len(losses(world / "runs" / "lost")) == 4


@needs_vllm
@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
@pytest.mark.parametrize("way", ["nccl", "folder"])
def test_gpu_server_draws_from_the_weights_of_the_step(world, monkeypatch, way):
    server = Server(world, "bfloat16", gpus="1")
    try:
        server.wait_until_ready()
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
        settings = {"device": "cuda", "dtype": "bfloat16", "vllm_weights": way}
        runs("grpo", "none", server_arguments(world, f"gpu {way}", server.address, **settings))
    finally:
        server.end()
    run_dir = world / "runs" / f"gpu {way}"
    assert len(losses(run_dir)) == 8
    assert max(metric(run_dir, "sampling/logp_difference_mean")) < 0.02
    assert max(metric(run_dir, "kl")) > 1e-3


def test_server_of_another_program_is_one_line_with_the_command_that_starts_ours():
    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>not vLLM</html>")

        def log_message(self, *words):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}"
        with pytest.raises(InputError, match=rf"vllm_server {address}: no answer \(Expecting value.*start it with `ours`"):
            VLLMServer(address, "ours").get("/version")
        server.shutdown()
