"""Run a function that is called again and again as one CUDA graph: one launch instead of one per kernel.

As torch's notes on CUDA graphs ask for it: the first calls run as they are, on a stream of their own, so that libraries set
themselves up; then the function is captured, which computes nothing, and from then on replayed. It must work in place on
tensors that stay, without waiting for the device and without copies from the CPU. The first graph of a process is compared
with the function itself before it is used.
"""

import functools
from collections.abc import Callable
from typing import Protocol

import torch

from ..processes import say

WARM_UP = 3  # calls before the capture, as in torch's notes
SAME_RESULTS = 0.75  # at least: a graph may round differently, and a few lanes then choose another token


class Step(Protocol):
    """One step of a computation that goes on in the same tensors."""

    state: list[torch.Tensor]  # all that a step changes and does not write anew from the rest
    ids: torch.Tensor  # its result, one of them

    def step(self) -> None:
        """Compute the next state."""
        ...


def graphed(computation: Step, device: torch.device) -> Callable[[], None]:
    """The step as a CUDA graph on a GPU, and as it is elsewhere."""
    return GraphedStep(computation) if device.type == "cuda" else computation.step


@functools.cache
def _stream_aside() -> "torch.cuda.Stream":
    """One for all graphs of the process: cuBLAS keeps a workspace for every stream that it was called on."""
    return torch.cuda.Stream()


class GraphedStep:
    """Call a step through a CUDA graph; where it cannot be captured it runs as it is, and a line says why."""

    can_capture = True  # in this process: what failed once is not tried again
    is_checked = False  # in this process: a graph was compared with its step

    def __init__(self, computation: Step):
        self.computation = computation
        self.calls = 0
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self) -> None:
        if self.calls == WARM_UP and GraphedStep.can_capture:
            self.graph = self._captured()
        if self.graph is not None and not GraphedStep.is_checked:
            self._check(self.graph)
        elif self.graph is not None:
            self.graph.replay()
        elif self.calls < WARM_UP:
            self._run_aside()
        else:
            self.computation.step()
        self.calls += 1

    def _check(self, graph: "torch.cuda.CUDAGraph") -> None:
        """Replay, go back, and compute the step as it is, which stays: the results have to be the same."""
        before = [tensor.clone() for tensor in self.computation.state]
        graph.replay()
        replayed = self.computation.ids.clone()
        for tensor, value in zip(self.computation.state, before, strict=True):
            tensor.copy_(value)
        self.computation.step()
        same = (replayed == self.computation.ids).float().mean().item()
        GraphedStep.is_checked = True
        if same < SAME_RESULTS:
            self.graph = self._without(f"its result is another one in {1 - same:.0%} of the completions")

    def _run_aside(self) -> None:
        current, aside = torch.cuda.current_stream(), _stream_aside()
        aside.wait_stream(current)
        with torch.cuda.stream(aside):
            self.computation.step()
        current.wait_stream(aside)

    def _captured(self) -> "torch.cuda.CUDAGraph | None":
        graph, current = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
        try:
            # thread_local: what other threads do with the GPU meanwhile (pinning memory) does not concern the capture
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                self.computation.step()
        except RuntimeError as error:
            torch.cuda.set_stream(current)  # which a capture that ends in an error does not restore
            return self._without(str(error).strip().splitlines()[0])
        return graph

    @staticmethod
    def _without(reason: str) -> None:
        GraphedStep.can_capture = False
        say(f"warning: no CUDA graph of a decoding step ({reason}): decoding goes on kernel by kernel, slower")
