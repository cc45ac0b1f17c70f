"""Measure our GRPO step by phase, and compute the lower limit of its time on this machine.

Counts the operations of the matrix products and the bytes of weights that a step has to read, measures the machine's
highest rates for both, and compares each phase's time with the larger of the two limits.

    python bench/profile_step.py --copies 8
"""

import argparse
from dataclasses import replace

import torch
from common import Phases, describe_machine
from grpo_step import BETA, TEMPERATURE, Bench, add_arguments
from plain_grpo import grpo_loss
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from omni_clst.data.encoder import collate
from omni_clst.model.engine import HFEngine
from omni_clst.model.sampling import Sampling

aten = torch.ops.aten
ON_CPU = {  # operations that the counter does not know; formulas over shapes
    aten._scaled_dot_product_flash_attention_for_cpu: lambda q, k, v, *_, **__: sdpa_flop_count(q, k, v),
    aten._scaled_dot_product_flash_attention_for_cpu_backward: lambda g, q, k, v, *_, **__: sdpa_backward_flop_count(
        g, q, k, v
    ),
}


def best_rates(device: str, dtype: torch.dtype) -> tuple[float, float]:
    """Operations per second of a large product, and bytes per second of reading a tensor larger than the caches."""
    layer = torch.nn.Linear(4096, 4096, bias=False).to(device, dtype)
    rows, large = torch.randn(2048, 4096, device=device, dtype=dtype), torch.ones(2**28, device=device, dtype=torch.uint8)

    def seconds(work) -> float:
        taken = []
        for _ in range(4):
            start = Phases.now()
            work()
            taken.append(Phases.now() - start)
        return min(taken)

    with torch.no_grad():
        products = 2 * rows.numel() * 4096 / seconds(lambda: layer(rows))
        reading = large.numel() / seconds(lambda: large.view(torch.float32).sum())
    return products, reading


class Steps:
    """The phases of one step, each a method; called in order, since they use each other's results."""

    def __init__(self, bench: Bench):
        self.bench = bench
        self.sampling = Sampling(bench.new_tokens, TEMPERATURE)
        self.engine = HFEngine(bench.model, bench.encoder, self.sampling)
        self.engine.end_ids = [-1]  # none ends early
        self.example = bench.encoder.encode_waveform(bench.sample, bench.clip)

    def encode(self) -> None:
        [self.example] = self.engine.encode_clips([replace(self.example, audio_embeddings=None)])

    def prefill(self) -> None:
        with torch.no_grad():
            [(embeddings, mask)] = self.engine._embedded([self.example])
            self.bench.model.prefill(embeddings, mask)

    def rollout(self) -> None:
        [completions] = self.engine.generate([self.example], [0], self.bench.copies)
        self.ids = torch.tensor([completion.token_ids for completion in completions], device=self.bench.device)

    def _log_probs(self, model) -> torch.Tensor:
        prompts = {name: tensor.to(self.bench.device) for name, tensor in collate([self.example], 0, "left").items()}
        more = {"sampling": self.sampling, "suppressed": self.bench.suppressed}
        return model(**prompts, completion_ids=self.ids, completion_mask=torch.ones_like(self.ids), **more).log_probs

    def reference(self) -> None:
        with torch.no_grad():
            self.of_reference = self._log_probs(self.bench.reference)

    def policy(self) -> None:
        log_probs = self._log_probs(self.bench.model)
        grpo_loss(log_probs, self.of_reference, torch.ones_like(self.ids), self.bench.advantages, BETA).backward()

    def optimiser(self) -> None:
        self.bench.optimizer.step()
        self.bench.optimizer.zero_grad()


def weights_read(bench: Bench) -> dict[str, float]:
    """Bytes of weights that each phase reads at least once; for the optimiser all that it reads and writes."""
    model = bench.model
    size = model.lm_head.weight.element_size()

    def of(module) -> int:
        return size * sum(parameter.numel() for parameter in module.parameters())

    language = of(model.model.layers) + of(model.lm_head)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return {
        "encode": of(model.audio_tower),
        "prefill": language,
        "decode": (bench.new_tokens - 1) * language,
        "reference": language,
        "policy": 3 * language,  # forward, gradients of states, gradients of weights
        "optimiser": 7 * size * trained,  # weight, gradient and two moments in, weight and moments out
    }


def profile(bench: Bench, repeats: int) -> dict[str, tuple[float, float]]:
    """Seconds and operations by phase, the best of `repeats`; decoding is the rollout without encoding and prefill."""
    steps, measured = Steps(bench), {}
    for name in ("encode", "prefill", "rollout", "reference", "policy", "optimiser"):
        work = getattr(steps, name)
        with FlopCounterMode(display=False, custom_mapping=ON_CPU) as counter:
            work()
        taken = []
        for _ in range(repeats):
            if name == "optimiser":
                steps.policy()
            start = Phases.now()
            work()
            taken.append(Phases.now() - start)
        measured[name] = (min(taken), counter.get_total_flops())
    seconds, operations = (measured["rollout"][part] - measured["prefill"][part] for part in (0, 1))
    del measured["rollout"]
    decode = (seconds, operations)
    return {"encode": measured.pop("encode"), "prefill": measured.pop("prefill"), "decode": decode} | measured


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    bench = Bench(arguments)
    products, reading = best_rates(bench.device, bench.model.dtype)
    print(f"{describe_machine(bench.device)}: at best {products / 1e9:,.0f} GFLOP/s, reading {reading / 1e9:,.0f} GB/s")
    workload = f"G = {bench.copies}, a clip of {arguments.seconds:g} s, {bench.new_tokens} new tokens"
    print(f"{arguments.size}, {arguments.dtype}, {workload}")
    print(f"{'':<12}{'s':>9}{'GFLOP':>9}{'weights, GB':>13}{'limit, s':>10}{'of limit':>10}")
    totals = [0.0, 0.0]
    read = weights_read(bench)
    for name, (seconds, operations) in profile(bench, arguments.repeats).items():
        limit = max(operations / products, read[name] / reading)
        totals = [totals[0] + seconds, totals[1] + limit]
        counted = f"{operations / 1e9:>9.1f}{read[name] / 1e9:>13.2f}"
        print(f"{name:<12}{seconds:>9.3f}{counted}{limit:>10.3f}{limit / seconds:>10.0%}")
    step, limit = totals
    print(f"{'a step':<12}{step:>9.3f}{'':>22}{limit:>10.3f}{limit / step:>10.0%}")


if __name__ == "__main__":
    main()
