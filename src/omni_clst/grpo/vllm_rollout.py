"""vLLM for rollouts: it generates with the policy's weights as they are now, beside the policy or on a server."""

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

import torch

from ..data.encoder import OmniEncoder
from ..errors import InputError
from ..model.checkpoints import load_model_config
from ..model.engine import Engine
from ..model.families.registry import family_of
from ..model.sampling import Sampling
from ..model.vllm_engine import TRIED_VERSION, VLLMEngine, VLLMSettings
from ..model.vllm_serving import start_command
from ..model.vllm_worker import thinker_sizes
from ..processes import process_rank, wait_for_all
from ..training.memory import GIB
from ..training.model_size import ModelSize
from .config import CLSTConfig
from .served_weights import FolderWeights, NCCLWeights, Weights
from .vllm_server import ServerEngine, VLLMServer


class RolloutVLLM(Protocol):
    """Where vLLM runs is its own business."""

    def at_step(self, step: int, sampling: Sampling) -> AbstractContextManager[Engine]:
        """The engine with the policy's weights after `step` optimiser steps, drawing as `sampling` says."""
        ...


def start_vllm(
    config: CLSTConfig, base_model: str, encoder: OmniEncoder, dtype: torch.dtype, device: torch.device, weights: Weights
) -> RolloutVLLM:
    """vLLM as the config has it. `weights` yields the policy's, on all processes at once."""
    if config.vllm_server:
        return ServedVLLM(config, base_model, encoder, dtype, device, weights)
    return ColocatedVLLM(config, base_model, encoder, dtype, device, weights)


class ColocatedVLLM:
    """One vLLM a process, on the policy's device.

    Between two rollouts it sleeps, where `vllm_sleep` says so and there is a GPU: then its memory is the update's.
    """

    def __init__(
        self,
        config: CLSTConfig,
        base_model: str,
        encoder: OmniEncoder,
        dtype: torch.dtype,
        device: torch.device,
        weights: Weights,
    ):
        settings = VLLMSettings(
            dtype=_name(dtype),
            max_model_len=longest_sequence(config),
            gpu_memory_utilization=config.gpu_memory_utilization,
            sleeps=config.vllm_sleep and device.type == "cuda",
            suppressed=encoder.placeholder_ids,
        )
        greedy = Sampling(config.max_completion_length)
        self.engine = VLLMEngine(base_model, encoder, greedy, settings, device)
        self.weights = weights
        self._loaded_at_step: int | None = None  # the optimiser step whose weights it has
        self.engine.sleep()

    @contextmanager
    def at_step(self, step: int, sampling: Sampling) -> Iterator[VLLMEngine]:
        self.engine.wake_up()
        if self._loaded_at_step != step or self.engine.settings.sleeps:
            self.engine.load(self.weights())
            self._loaded_at_step = step
        self.engine.sampling = sampling
        yield self.engine
        self.engine.sleep()


class ServedVLLM:
    """A vLLM server for all processes: each sends its own prompts, rank 0 the weights, for which the others wait."""

    def __init__(
        self,
        config: CLSTConfig,
        base_model: str,
        encoder: OmniEncoder,
        dtype: torch.dtype,
        device: torch.device,
        weights: Weights,
    ):
        self.server, served_on = reach_server(config, base_model, dtype)
        self.engine = ServerEngine(self.server, encoder, Sampling(config.max_completion_length))
        self._run = str(config.run_dir)
        self._loaded_at_step: int | None = None  # the optimiser step whose weights it has
        by_nccl = config.vllm_weights == "nccl" or (config.vllm_weights == "auto" and device.type == served_on == "cuda")
        if by_nccl:
            self._sender = NCCLWeights(self.server, weights, dtype, device)
        else:
            self._sender = FolderWeights(self.server, weights, dtype, config.run_dir / "weights_for_vllm")

    @contextmanager
    def at_step(self, step: int, sampling: Sampling) -> Iterator[ServerEngine]:
        if self._loaded_at_step != step:
            self._load(step)
        self.engine.sampling = sampling
        yield self.engine
        self._require_own_weights()

    def _load(self, step: int) -> None:
        """Give it the weights; no process generates meanwhile, since all have shared their groups before the update."""
        self._sender.send()
        self._loaded_at_step = step
        if process_rank() == 0:
            self.server.forget()
            self.server.post("/update_weight_version", {"new_version": self._version})
        wait_for_all()

    @property
    def _version(self) -> str:
        return f"{self._run} after {self._loaded_at_step} steps"

    def _require_own_weights(self) -> None:
        """Raise `InputError` where what was generated may be by the weights of another run, or by those it began with."""
        version = self.server.get("/weight_info")["weight_version"]
        if version != self._version:
            raise InputError(
                f"vllm_server {self.server.address}: its weights are {version!r} instead of {self._version!r}: it was "
                "started anew, or another run uses it; give every run a server of its own, and start this run again"
            )


def reach_server(config: CLSTConfig, base_model: str, dtype: torch.dtype) -> tuple[VLLMServer, str]:
    """The server of the config with the type of its device; raises `InputError` unless it serves this model."""
    assert config.vllm_server is not None
    longest = longest_sequence(config)
    start = start_command(base_model, _name(dtype), longest, config.vllm_server)
    server = VLLMServer(config.vllm_server, start)
    model = load_model_config(base_model)
    family = family_of(model)
    if not family.vllm_server:
        raise InputError(
            f"vllm_server: a server is not given the mel features of {family.name}; leave it out: engine vllm and hf "
            "generate in the run itself"
        )
    needed = {"vllm": TRIED_VERSION, "logprobs_mode": "processed_logprobs", "dtype": _name(dtype)}
    return server, server.require_policy(needed | thinker_sizes(family.thinker_of(model)), longest)


def require_share(config: CLSTConfig, size: ModelSize, width: int, card_bytes: int) -> None:
    """Raise `InputError` where vLLM's share of a GPU has no room for its weights and the cache of one sequence.

    It needs more: for activations, and for as many sequences as are to be generated at once.
    """
    weights = (size.language + size.audio) * width
    needed = weights + longest_sequence(config) * size.layers * size.cached * width
    if needed < config.gpu_memory_utilization * card_bytes:
        return
    share = math.ceil(20 * needed / card_bytes) / 20 + 0.05  # in steps of 0.05, one of them for the rest
    remedy = f"set it to {share:.2f} or more, or engine hf" if share < 1 else "set engine hf"
    raise InputError(
        f"gpu_memory_utilization {config.gpu_memory_utilization:g} of {card_bytes / GIB:.0f} GiB is less than vLLM's "
        f"weights ({weights / GIB:.1f} GiB) with the cache of one sequence: {remedy}"
    )


def longest_sequence(config: CLSTConfig) -> int:
    """Tokens of the longest prompt and completion together."""
    return config.max_prompt_length + config.max_completion_length


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
