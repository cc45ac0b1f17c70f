"""Measure the peak memory of the policy's forward and backward, the plain way and ours, without what was allocated before.

Each way in a process of its own: on a CPU its peak resident memory, on a GPU what was allocated.

    python bench/memory.py --vocabulary 152064 --copies 8
"""

import argparse
import resource
import subprocess
import sys

import torch
from common import SIZES, describe_machine
from grpo_step import BETA, TEMPERATURE, Bench, add_arguments
from plain_grpo import grpo_loss, make_inputs, score

from omni_clst.data.encoder import collate
from omni_clst.model.sampling import Sampling

GIB = 2**30


def peak(device: str) -> int:
    """Peak bytes so far."""
    if device != "cpu":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 2**10


def measure(arguments) -> int:
    """Bytes that one forward and backward adds."""
    bench = Bench(arguments)
    ids = torch.randint(0, 100, (bench.copies, bench.new_tokens), device=bench.device)
    mask = torch.ones_like(ids)
    example = bench.encoder.encode_waveform(bench.sample, bench.clip)
    if arguments.way == "plain":
        inputs = make_inputs(
            bench.processor, bench.encoder.prompt_text(bench.sample, 1), bench.clip, bench.copies, bench.device
        )
    else:
        prompts = {name: tensor.to(bench.device) for name, tensor in collate([example], 0, "left").items()}
    before = peak(bench.device)
    if arguments.way == "plain":
        log_probs = score(bench.model, inputs, ids, mask, TEMPERATURE, bench.suppressed)
    else:
        scored = {"sampling": Sampling(bench.new_tokens, TEMPERATURE), "suppressed": bench.suppressed}
        log_probs = bench.model(**prompts, completion_ids=ids, completion_mask=mask, **scored).log_probs
    grpo_loss(log_probs, torch.zeros_like(log_probs), mask, bench.advantages, BETA).backward()
    return peak(bench.device) - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--way", choices=("plain", "fast"), help="measure this one here; else both, each in a process")
    arguments = parser.parse_args()
    if arguments.way:
        print(measure(arguments))
        return
    words = arguments.vocabulary or SIZES[arguments.size][4]
    what = f"{arguments.size}, G = {arguments.copies}, {arguments.new_tokens} new tokens, vocabulary {words}"
    print(f"{describe_machine(arguments.device)}; {what}")
    peaks = {}
    for way in ("plain", "fast"):
        command = [sys.executable, __file__, *sys.argv[1:], "--way", way]
        peaks[way] = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])
        print(f"{way:<6}{peaks[way] / GIB:8.2f} GiB", flush=True)
    print(f"ratio {peaks['plain'] / peaks['fast']:8.1f}")


if __name__ == "__main__":
    main()
