"""Measure one size of model with one tuning on this machine's card, and append a row of a Markdown table for each figure.

The parts: inference (greedy answers), rollout (plain decoding, static decoding, with a merged adapter), grpo_step (scoring
by the reference, forward and backward of the policy, optimiser) and memory (what forward and backward add). Random weights,
four prompts with 10-s clips, four completions each; LoRA in bfloat16, full tuning from float32 weights under autocast.
`gpu.py` runs this for every size; each row is written as soon as it is measured.

    python bench/card.py --size 500m --tuning lora
"""

import argparse
import copy
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from common import QUESTION, SIZES, Phases, make_clip, make_model, make_processor
from memory import GIB, peak
from plain_grpo import grpo_loss
from profile_step import best_rates

from omni_clst.data.encoder import Example, OmniEncoder, collate
from omni_clst.data.prompts import make_prompt
from omni_clst.data.samples import AudioQASample
from omni_clst.devices import choose_device
from omni_clst.model.cuda_graph import GraphedStep
from omni_clst.model.engine import HFEngine, placeholder_ids
from omni_clst.model.lora import add_lora, make_lora
from omni_clst.model.merged_adapter import adapter_merged
from omni_clst.model.sampling import Sampling

PROMPTS, COPIES, TEMPERATURE, BETA = 4, 4, 1.2, 0.04
HEADER = ("size", "tuning", "part", "s", "tokens a second", "of the limit", "peak, GiB")


def as_row(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"


class CardBench:
    """A model with its tuning and encoded prompts; every measurement becomes a row of `table`."""

    def __init__(self, size: str, tuning: str, device: str, new_tokens: int, table: Path):
        self.size, self.tuning, self.device, self.new_tokens, self.table = size, tuning, device, new_tokens, table
        self.dtype = torch.bfloat16 if device == "cuda" else torch.float32
        self.encoder = OmniEncoder(make_processor(), make_prompt("direct", ""), 300.0)
        self.encoder.end_ids = []  # none ends early
        weights = self.dtype if tuning == "lora" else torch.float32
        self.model = make_model(self.encoder.processor, size, dtype=weights, device=device)
        self.suppressed = placeholder_ids(self.model)
        thinker = self.model
        self.products = sum(p.numel() for p in [*thinker.model.layers.parameters(), *thinker.lm_head.parameters()])
        if tuning == "lora":
            self.model = add_lora(thinker, "", make_lora(thinker, 16, 32.0), float32=True)
        self.rates = best_rates(device, self.dtype)
        self.examples = self._encoded()

    def _encoded(self) -> list[Example]:
        sample = AudioQASample("x", "/x.wav", QUESTION, ("a dog", "a cat"), "a dog")
        examples = [self.encoder.encode_waveform(sample, make_clip(10.0, seed)) for seed in range(PROMPTS)]
        with self.autocast():
            return self._engine("plain", 0.0).encode_clips(examples)

    def autocast(self) -> AbstractContextManager:
        """Training computes in bfloat16 from float32 weights, as an adapter does."""
        return torch.autocast("cuda", torch.bfloat16) if self.device == "cuda" else nullcontext()

    def _engine(self, decoding: str, temperature: float) -> HFEngine:
        return HFEngine(self.model, self.encoder, Sampling(self.new_tokens, temperature), decoding=decoding)

    def write(self, part: str, seconds: float, tokens: int, limit: float) -> None:
        """Append the row of a measurement; `limit` is the least number of seconds that the card's rates allow."""
        memory = f"{peak(self.device) / GIB:.1f}"
        cells = (
            self.size,
            self.tuning,
            part,
            f"{seconds:.2f}",
            f"{tokens / seconds:,.0f}",
            f"{limit / seconds:.0%}",
            memory,
        )
        self._append(cells)

    def _append(self, cells: tuple[str, ...]) -> None:
        with self.table.open("a", encoding="utf-8") as file:
            print(as_row(cells), file=file)
        print(as_row(cells), flush=True)

    def generate(self, part: str, decoding: str, copies: int, temperature: float) -> None:
        """Decode once to warm up, and once for the row."""
        engine = self._engine(decoding, temperature)
        for _ in range(2):
            self._forget_peak()
            phases = Phases()
            with phases.of(part), self.autocast():
                engine.generate(self.examples, list(range(PROMPTS)), copies)
        products, reading = self.rates
        prompts = sum(len(example.input_ids) for example in self.examples)
        read = (self.new_tokens - 1) * self.products * self.dtype.itemsize  # all weights for each token
        name = f"{part}{'' if GraphedStep.can_capture or decoding == 'plain' else ' (no graph)'}"
        limit = 2 * self.products * prompts / products + read / reading
        self.write(name, phases[part], PROMPTS * copies * self.new_tokens, limit)

    def step(self) -> None:
        """Score by the reference, compute the policy's gradients and update it; twice, the second for the rows."""
        reference = copy.deepcopy(self.model).to(self.dtype).requires_grad_(False) if self.tuning == "full" else None
        self.model.train().gradient_checkpointing_enable({"use_reentrant": False})  # as the recipes have it
        optimizer = torch.optim.AdamW([p for p in self.model.parameters() if p.requires_grad], lr=1e-6)
        prompts = {name: tensor.to(self.device) for name, tensor in collate(self.examples, 0, "left").items()}
        ids = torch.randint(0, 100, (PROMPTS * COPIES, self.new_tokens), device=self.device)
        mask, advantages = torch.ones_like(ids), torch.linspace(-1, 1, len(ids), device=self.device)
        sampling = Sampling(self.new_tokens, TEMPERATURE)
        scored = prompts | {"completion_ids": ids, "completion_mask": mask, "sampling": sampling}
        scored["suppressed"] = self.suppressed
        for _ in range(2):
            phases = Phases()
            self._forget_peak()
            with phases.of("reference"), torch.no_grad(), self.autocast(), self._as_reference():
                expected = (reference or self.model)(**scored).log_probs
            before = peak(self.device)
            with phases.of("policy"):
                with self.autocast():
                    log_probs = self.model(**scored).log_probs
                grpo_loss(log_probs, expected, mask, advantages, BETA).backward()
            added = peak(self.device) - before
            with phases.of("optimiser"):
                optimizer.step()
                optimizer.zero_grad()
        tokens = int(prompts["attention_mask"].sum()) + ids.numel()
        operations = 2 + 2 + 2 + (2 if self.tuning == "lora" else 4)  # reference, forward, the same again, backward
        self.write("grpo_step", sum(phases.values()), tokens, operations * self.products * tokens / self.rates[0])
        what = f"memory: forward and backward add {added / GIB:.2f} GiB"
        self._append((self.size, self.tuning, what, f"{phases['policy']:.2f}", "", "", f"{peak(self.device) / GIB:.1f}"))

    def _as_reference(self) -> AbstractContextManager:
        return self.model.disable_adapter() if self.tuning == "lora" else nullcontext()

    def _forget_peak(self) -> None:
        if self.device == "cuda":
            torch.cuda.reset_peak_memory_stats()

    def run(self) -> None:
        """All parts, the ones that need least memory first."""
        self.generate("inference, static", "static", 1, 0.0)
        self.generate("rollout, plain", "plain", COPIES, TEMPERATURE)
        self.generate("rollout, static", "static", COPIES, TEMPERATURE)
        if self.tuning == "lora":
            with adapter_merged(self.model):
                self.generate("rollout, static, merged", "static", COPIES, TEMPERATURE)
        self.step()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="500m")
    parser.add_argument("--tuning", choices=("lora", "full"), default="lora")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--new_tokens", type=int, default=128)
    parser.add_argument("--table", type=Path, default=Path("/dev/null"), help="the file that rows are appended to")
    arguments = parser.parse_args()
    choose_device(arguments.device)  # with the attention that runs have
    CardBench(arguments.size, arguments.tuning, arguments.device, arguments.new_tokens, arguments.table).run()


if __name__ == "__main__":
    main()
