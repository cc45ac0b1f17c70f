"""Measure one GRPO step, the plain way and ours, in one run: seconds by phase and counts of what the model computed.

python bench/grpo_step.py --copies 8
python bench/grpo_step.py --table          # ours alone, over G and clip lengths
"""

import argparse
import copy
import statistics

import torch
from common import QUESTION, SIZES, Phases, describe_machine, make_clip, make_model, make_processor
from counts import Counts
from plain_grpo import grpo_loss, make_inputs, roll_out, score

from omni_clst.data.encoder import OmniEncoder, collate
from omni_clst.data.prompts import make_prompt
from omni_clst.data.samples import AudioQASample
from omni_clst.model.engine import HFEngine, placeholder_ids
from omni_clst.model.sampling import Sampling

TEMPERATURE, BETA = 1.2, 0.04


class Bench:
    """A model, its frozen reference, an optimiser and one prompt."""

    def __init__(self, arguments):
        self.copies, self.new_tokens, self.device = arguments.copies, arguments.new_tokens, arguments.device
        self.processor = make_processor()
        dtype = torch.bfloat16 if arguments.dtype == "bfloat16" else torch.float32
        self.model = make_model(self.processor, arguments.size, arguments.vocabulary, dtype, self.device)
        self.reference = copy.deepcopy(self.model).requires_grad_(False)
        self.optimizer = torch.optim.AdamW([p for p in self.model.parameters() if p.requires_grad], lr=1e-6)
        self.suppressed = placeholder_ids(self.model)
        self.encoder = OmniEncoder(self.processor, make_prompt("direct", ""), 300.0)
        self.sample = AudioQASample("x", "/x.wav", QUESTION, ("a dog", "a cat"), "a dog")
        self.clip = make_clip(arguments.seconds)
        self.advantages = torch.linspace(-1, 1, self.copies, device=self.device)

    def plain(self, phases: Phases) -> None:
        """The plain way: every copy is computed completely."""
        with phases.of("features"):
            text = self.encoder.prompt_text(self.sample, 1)
            inputs = make_inputs(self.processor, text, self.clip, self.copies, self.device)
            inputs["input_features"] = inputs["input_features"].to(self.model.dtype)
        with phases.of("rollout"):
            ids = roll_out(self.model, inputs, self.new_tokens, TEMPERATURE, self.suppressed)
        mask = torch.ones_like(ids)
        with phases.of("reference"), torch.no_grad():
            reference = score(self.reference, inputs, ids, mask, TEMPERATURE, self.suppressed)
        with phases.of("policy"):
            log_probs = score(self.model, inputs, ids, mask, TEMPERATURE, self.suppressed)
            grpo_loss(log_probs, reference, mask, self.advantages, BETA).backward()
        self._update(phases)

    def fast(self, phases: Phases) -> None:
        """Our way: prompt and clip of the copies are computed once."""
        sampling = Sampling(self.new_tokens, TEMPERATURE)
        with phases.of("features"):
            example = self.encoder.encode_waveform(self.sample, self.clip)
        engine = HFEngine(self.model, self.encoder, sampling)
        engine.end_ids = [-1]  # none ends early, as above
        with phases.of("rollout"):
            [example] = engine.encode_clips([example])  # used by reference and policy, too
            [completions] = engine.generate([example], [0], self.copies)
        ids = torch.tensor([completion.token_ids for completion in completions], device=self.device)
        mask = torch.ones_like(ids)
        prompts = {name: tensor.to(self.device) for name, tensor in collate([example], 0, "left").items()}
        scored = {"completion_ids": ids, "completion_mask": mask, "sampling": sampling, "suppressed": self.suppressed}
        with phases.of("reference"), torch.no_grad():
            reference = self.reference(**prompts, **scored).log_probs
        with phases.of("policy"):
            log_probs = self.model(**prompts, **scored).log_probs
            grpo_loss(log_probs, reference, mask, self.advantages, BETA).backward()
        self._update(phases)

    def _update(self, phases: Phases) -> None:
        with phases.of("optimiser"):
            self.optimizer.step()
            self.optimizer.zero_grad()

    def measure(self, step, repeats: int) -> tuple[dict[str, float], Counts]:
        """Median seconds by phase over `repeats` steps after a warm-up step, and the counts of one step."""
        measured = []
        for number in range(repeats + 1):
            phases, counts = Phases(), [Counts(model) for model in (self.model, self.reference)]
            step(phases)
            for one in counts:
                one.remove()
            measured += [phases] if number else []
        names = measured[0]
        return {name: statistics.median(one[name] for one in measured) for name in names}, counts[0] + counts[1]


def compare(bench: Bench, repeats: int) -> None:
    ways = {"plain": bench.plain, "fast": bench.fast}
    measured = {name: bench.measure(way, repeats) for name, way in ways.items()}
    print(f"{'':<28}" + "".join(f"{name:>12}{'' if name == 'plain' else '   ratio'}" for name in ways))
    seconds = {name: phases | {"a step": sum(phases.values())} for name, (phases, _) in measured.items()}
    for phase in seconds["plain"]:
        print_row(f"{phase}, s", [seconds[name][phase] for name in ways], "12.3f")
    for what in measured["plain"][1]:
        print_row(what, [measured[name][1][what] for name in ways], "12,")


def print_row(label: str, values: list[float], shape: str) -> None:
    """The plain way's value, then every other way's with its ratio."""
    plain, *others = values
    print(f"{label:<28}{plain:{shape}}" + "".join(f"{value:{shape}}{plain / value:8.1f}" for value in others), flush=True)


def table(arguments) -> None:
    """Seconds of our step over G and clip lengths, with prompt + sum of completions."""
    print(f"{'clip':>6}{'G':>4}{'tokens':>8}{'G x row':>9}{'step, s':>9}{'ms a token':>12}")
    for seconds in (5.0, 10.0, 20.0, 30.0):
        for copies in (2, 4, 8, 16):
            arguments.seconds, arguments.copies = seconds, copies
            bench = Bench(arguments)
            phases, _ = bench.measure(bench.fast, arguments.repeats)
            prompt = len(bench.encoder.encode_waveform(bench.sample, bench.clip).input_ids)
            tokens, step = prompt + copies * arguments.new_tokens, sum(phases.values())
            rows = copies * (prompt + arguments.new_tokens)
            print(f"{seconds:>5.0f}s{copies:>4}{tokens:>8}{rows:>9}{step:>9.2f}{1000 * step / tokens:>12.2f}", flush=True)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments that choose the model and the step."""
    parser.add_argument("--size", choices=SIZES, default="79m")
    parser.add_argument("--vocabulary", type=int, help="another one than the size's own")
    parser.add_argument("--copies", type=int, default=8, help="G: completions a prompt")
    parser.add_argument("--seconds", type=float, default=10.0, help="of the clip")
    parser.add_argument("--new_tokens", type=int, default=64)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--repeats", type=int, default=3, help="counted steps")
    parser.add_argument("--table", action="store_true")
    arguments = parser.parse_args()
    print(f"{describe_machine(arguments.device)}; {arguments.size}, {arguments.dtype}, {arguments.new_tokens} new tokens")
    if arguments.table:
        table(arguments)
        return
    bench = Bench(arguments)
    millions = sum(p.numel() for p in bench.model.parameters()) / 1e6
    print(f"{millions:.0f} M parameters, G = {arguments.copies}, a clip of {arguments.seconds:g} s")
    compare(bench, arguments.repeats)


if __name__ == "__main__":
    main()
