"""The command that serves a model for rollouts: vLLM's own server with what a GRPO run asks of it."""

import json
import sys
from collections.abc import Mapping
from urllib.parse import urlsplit

from ..settings import REPOSITORY

SCRIPT = "script/serve_vllm.sh"
SERVER = "vllm.entrypoints.launchers.api_server.entry"  # what `vllm serve` runs; that command is not in the CPU build


def start_command(model: str, dtype: str, longest: int, address: str) -> str:
    """What a user types to have a server at `address` with room for `longest` tokens of prompt and completion."""
    parts = urlsplit(address)
    is_local = parts.hostname in ("localhost", "127.0.0.1")
    place = f"--port {parts.port or 80}" if is_local else f"--host {parts.hostname} --port {parts.port or 80}"
    return f"bash {SCRIPT} {model} --dtype {dtype} --max-model-len {longest} {place}"


def serving_command(model: str, on_gpu: bool, more: list[str]) -> list[str]:
    """The words of the command; `more` are keys of `vllm serve` that come last and so override these."""
    limits = json.dumps({"audio": 1, "image": 0, "video": 0})
    words = [sys.executable, "-m", SERVER, "--model", model, "--host", "127.0.0.1", "--seed", "0"]
    words += ["--enable-scale-out"]  # /inference/v1/generate: token ids in, token ids out
    words += ["--logprobs-mode", "processed_logprobs", "--limit-mm-per-prompt", limits]
    words += ["--worker-extension-cls", "omni_clst.model.vllm_worker.PolicyWorker"]
    if on_gpu:
        words += ["--weight-transfer-config", json.dumps({"backend": "nccl"})]
    else:  # a request's seed and prompts cut into pieces exclude each other in the CPU build
        words += ["--enforce-eager", "--no-enable-chunked-prefill"]
    return [*words, *more]


def serving_environment(given: Mapping[str, str], on_gpu: bool) -> dict[str, str]:
    """The environment of the command: `given`, with vLLM's routes for weights and caches."""
    path = [str(REPOSITORY / "src"), *filter(None, [given.get("PYTHONPATH")])]
    for_cpu = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}  # GiB
    defaults = {"VLLM_NO_USAGE_STATS": "1", **({} if on_gpu else for_cpu)}
    return {**defaults, **given, "VLLM_SERVER_DEV_MODE": "1", "PYTHONPATH": ":".join(path)}
