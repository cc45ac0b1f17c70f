"""vLLM beside the policy on the same device: it generates with the policy's weights as they are now."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch

from ..data.encoder import OmniEncoder
from ..model.sampling import Sampling
from ..model.vllm_engine import VLLMEngine, VLLMSettings
from .config import CLSTConfig


class ColocatedVLLM:
    """One vLLM a process. `weights` yields the policy's, on all processes at once.

    Between two rollouts it sleeps, where `vllm_sleep` says so and there is a GPU: then its memory is the update's.
    """

    def __init__(
        self,
        config: CLSTConfig,
        base_model: str,
        encoder: OmniEncoder,
        dtype: torch.dtype,
        device: torch.device,
        weights: Callable[[], Iterable[tuple[str, torch.Tensor]]],
    ):
        settings = VLLMSettings(
            dtype=str(dtype).removeprefix("torch."),
            max_model_len=config.max_prompt_length + config.max_completion_length,
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
        """The engine with the policy's weights after `step` optimiser steps, drawing as `sampling` says."""
        self.engine.wake_up()
        if self._loaded_at_step != step or self.engine.settings.sleeps:
            self.engine.load(self.weights())
            self._loaded_at_step = step
        self.engine.sampling = sampling
        yield self.engine
        self.engine.sleep()
