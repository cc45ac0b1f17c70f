"""Completions a second with transformers' model and with vLLM, in one run, by prompts in a batch and completions a prompt.

python bench/rollout.py                       # what the device can: bfloat16 on a GPU, float32 on a CPU
python bench/rollout.py --size 500m --prompts 1 8 32 --copies 1 8
"""

import argparse
import tempfile
from pathlib import Path

import torch
from common import QUESTION, SIZES, Phases, describe_machine, make_clip, make_model, make_processor
from transformers import Qwen2_5OmniConfig

from omni_clst.data.encoder import Example, OmniEncoder
from omni_clst.data.prompts import make_prompt
from omni_clst.data.samples import AudioQASample
from omni_clst.demo.pretrain import save_base
from omni_clst.model.engine import HFEngine
from omni_clst.model.sampling import Sampling
from omni_clst.model.vllm_engine import VLLMEngine, VLLMSettings


def make_examples(encoder: OmniEncoder, count: int, seconds: float) -> list[Example]:
    """Prompts with a clip of their own each."""
    sample = AudioQASample("x", "/x.wav", QUESTION, ("a dog", "a cat"), "a dog")
    return [encoder.encode_waveform(sample, make_clip(seconds, seed)) for seed in range(count)]


def completions_a_second(engine, examples: list[Example], copies: int, repeats: int) -> tuple[float, float]:
    """Completions and tokens a second of the fastest of `repeats` rounds after one that is not counted."""
    rates = []
    for number in range(repeats + 1):
        if isinstance(engine, VLLMEngine):
            engine.forget()  # as after an update: no prompt and no clip is known
        phases = Phases()
        with phases.of("rollout"):
            groups = engine.generate(examples, list(range(len(examples))), copies)
        tokens = sum(completion.tokens for group in groups for completion in group)
        if number:
            rates.append((len(examples) * copies / phases["rollout"], tokens / phases["rollout"]))
    return max(rates)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="79m")
    parser.add_argument("--prompts", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--copies", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--seconds", type=float, default=10.0, help="of a clip")
    parser.add_argument("--new_tokens", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=2, help="counted rounds")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    encoder = OmniEncoder(make_processor(), make_prompt("direct", ""), 300.0, keep_waveform=True)
    encoder.end_ids = []  # none ends early, with either engine
    sampling = Sampling(arguments.new_tokens, 1.2)
    model = make_model(encoder.processor, arguments.size, dtype=dtype, device=arguments.device)
    longest = max(arguments.prompts)
    examples = make_examples(encoder, longest, arguments.seconds)
    print(f"{describe_machine(arguments.device)}; {arguments.size}, {dtype}, clips of {arguments.seconds:g} s, "
          f"prompts of {len(examples[0].input_ids)} tokens, {arguments.new_tokens} new ones")  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        config = Qwen2_5OmniConfig(thinker_config=model.config.to_dict())
        save_base(Path(folder), model, config, encoder.processor)
        settings = VLLMSettings(
            str(dtype).removeprefix("torch."),
            max_model_len=len(examples[0].input_ids) + arguments.new_tokens,
            gpu_memory_utilization=0.4,
            suppressed=encoder.placeholder_ids,
        )
        engines = {
            "hf": HFEngine(model, encoder, sampling),
            "vllm": VLLMEngine(folder, encoder, sampling, settings, device),
        }
    print(
        f"{'prompts':>8}{'copies':>8}"
        + "".join(f"{name + ', a second':>18}{'tokens':>9}" for name in engines)
        + f"{'ratio':>8}"
    )
    for prompts in arguments.prompts:
        for copies in arguments.copies:
            rates = [
                completions_a_second(engine, examples[:prompts], copies, arguments.repeats) for engine in engines.values()
            ]
            (plain, _), (fast, _) = rates
            cells = "".join(f"{completions:>18.2f}{tokens:>9.0f}" for completions, tokens in rates)
            print(f"{prompts:>8}{copies:>8}{cells}{fast / plain:>8.1f}", flush=True)


if __name__ == "__main__":
    main()
