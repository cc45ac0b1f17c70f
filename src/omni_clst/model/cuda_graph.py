"""Run a function that is called again and again as one CUDA graph: one launch instead of one per kernel.

As torch's notes on CUDA graphs ask for it: the first calls run as they are, on a stream of their own, so that libraries set
themselves up; then the function is captured, which computes nothing, and from then on replayed. It must work in place on
tensors that stay, without waiting for the device and without copies from the CPU.
"""

from collections.abc import Callable

import torch

from ..processes import say

WARM_UP = 3  # calls before the capture, as in torch's notes


def graphed(step: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """The step as a CUDA graph on a GPU, and as it is elsewhere."""
    return GraphedStep(step) if device.type == "cuda" else step


class GraphedStep:
    """Call `step` through a CUDA graph; where it cannot be captured it runs as it is, and a line says why."""

    can_capture = True  # in this process: what failed once is not tried again

    def __init__(self, step: Callable[[], None]):
        self.step = step
        self.calls = 0
        self.graph: torch.cuda.CUDAGraph | None = None
        self.aside = torch.cuda.Stream()

    def __call__(self) -> None:
        if self.graph is None and self.calls == WARM_UP and GraphedStep.can_capture:
            self.graph = self._captured()
        if self.graph is not None:
            self.graph.replay()
        elif self.calls < WARM_UP:
            self._run_aside()
        else:
            self.step()
        self.calls += 1

    def _run_aside(self) -> None:
        current = torch.cuda.current_stream()
        self.aside.wait_stream(current)
        with torch.cuda.stream(self.aside):
            self.step()
        current.wait_stream(self.aside)

    def _captured(self) -> "torch.cuda.CUDAGraph | None":
        graph, current = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
        try:
            # thread_local: what other threads do with the GPU meanwhile (pinning memory) does not concern the capture
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                self.step()
        except RuntimeError as error:
            torch.cuda.set_stream(current)  # which a capture that ends in an error does not restore
            GraphedStep.can_capture = False
            reason = str(error).strip().splitlines()[0]
            say(f"warning: no CUDA graph of a decoding step ({reason}): decoding goes on kernel by kernel, slower")
            return None
        return graph
