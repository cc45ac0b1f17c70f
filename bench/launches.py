"""Count the operations of a decoding step that are kernels on a GPU, and how many of them the CPU launches one by one.

Shapes of 28 layers and tiny width, G = 4: the number depends on the layers, not on their width. Counted by torch.profiler
on the CPU; views, which launch nothing, are left out. A step that is one CUDA graph counts as one launch.

    python bench/launches.py
"""

import argparse
from collections.abc import Callable
from contextlib import nullcontext

import torch
from common import QUESTION, make_clip, make_model, make_processor
from torch.profiler import ProfilerActivity, profile, record_function

from omni_clst.data.encoder import OmniEncoder
from omni_clst.data.prompts import make_prompt
from omni_clst.data.samples import AudioQASample
from omni_clst.model import static_decoding
from omni_clst.model.cuda_graph import Step
from omni_clst.model.engine import HFEngine
from omni_clst.model.lora import add_lora, make_lora
from omni_clst.model.merged_adapter import adapter_merged
from omni_clst.model.sampling import Sampling

IN_GRAPH = "a step of static decoding"
NO_KERNEL = {  # views, allocations, and operations that only call others
    "aten::" + name
    for name in ("view", "_unsafe_view", "reshape", "expand", "as_strided", "slice", "select", "unsqueeze", "squeeze", "t",
                 "transpose", "permute", "detach", "alias", "split", "unbind", "empty", "empty_like", "empty_strided",
                 "lift_fresh", "resize_", "result_type", "to", "detach_", "_reshape_alias", "unflatten", "chunk",
                 "split_with_sizes", "resolve_conj", "resolve_neg", "contiguous", "is_nonzero", "item")
}  # fmt: skip


def marked(computation: Step, device: torch.device) -> Callable[[], None]:
    """The step under a name that the profile shows; on a GPU it would be a graph."""

    def run() -> None:
        with record_function(IN_GRAPH):
            computation.step()

    return run


def has_kernel(event) -> bool:
    """Whether an operation is a kernel, or calls one."""
    if event.name.startswith("aten::") and event.name not in NO_KERNEL:
        return True  # it launches by itself what none of those that it calls does
    return any(map(has_kernel, event.cpu_children))


def kernels_of(events) -> tuple[int, int]:
    """Kernels among a profile's events: all, and those outside of what would be a graph, each graph counted once."""
    inside = outside = graphs = 0
    for event in events:
        graphs += event.name == IN_GRAPH
        is_operation = event.name.startswith("aten::") and event.name not in NO_KERNEL
        if not is_operation or any(map(has_kernel, event.cpu_children)):
            continue
        parent = event.cpu_parent
        while parent is not None and parent.name != IN_GRAPH:
            parent = parent.cpu_parent
        inside, outside = (inside + 1, outside) if parent is not None else (inside, outside + 1)
    return inside + outside, outside + graphs


class Bench:
    """A model with an adapter and an encoded prompt."""

    def __init__(self, size: str, copies: int):
        self.encoder = OmniEncoder(make_processor(), make_prompt("direct", ""), 300.0)
        sample = AudioQASample("x", "/x.wav", QUESTION, ("a dog", "a cat"), "a dog")
        model = make_model(self.encoder.processor, size)
        self.model = add_lora(model, "", make_lora(model, 16, 32.0), float32=True)
        self.example = self.encoder.encode_waveform(sample, make_clip(5.0))
        self.copies = copies

    def generate(self, decoding: str, new_tokens: int) -> None:
        engine = HFEngine(self.model, self.encoder, Sampling(new_tokens, 1.2), decoding=decoding)
        engine.end_ids = []
        engine.generate([self.example], [0], self.copies)

    def count(self, decoding: str, new_tokens: int) -> tuple[int, int]:
        with profile(activities=[ProfilerActivity.CPU]) as profiler:
            self.generate(decoding, new_tokens)
        return kernels_of(profiler.events())

    def per_token(self, decoding: str) -> tuple[float, float]:
        """Kernels and launches a token: the difference of a short generation and a longer one."""
        less, more = self.count(decoding, 2), self.count(decoding, 4)  # a profile of many tokens takes minutes to read
        kernels, launches = ((b - a) / 2 for a, b in zip(less, more, strict=True))
        return kernels, launches


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="28 layers", help="a size of common.py")
    parser.add_argument("--copies", type=int, default=4)
    arguments = parser.parse_args()
    static_decoding.graphed = marked
    bench = Bench(arguments.size, arguments.copies)
    print(f"{arguments.size}, G = {arguments.copies}; a decoding step")
    print(f"{'adapter':<10}{'decoding':<10}{'kernels':>9}{'launched by the CPU':>21}")
    for adapter, context in (("unmerged", nullcontext), ("merged", lambda: adapter_merged(bench.model))):
        for decoding in ("plain", "static"):
            with context():
                kernels, launches = bench.per_token(decoding)
            print(f"{adapter:<10}{decoding:<10}{kernels:>9.0f}{launches:>21.0f}", flush=True)


if __name__ == "__main__":
    main()
