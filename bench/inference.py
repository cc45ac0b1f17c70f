"""Measure greedy inference in clips per second, the plain way and ours, in one run.

The obvious way: batches of eight in the file's order, the stock processor with its padding to 300 s, transformers'
`generate`. Ours: the engine that `infer.py` uses, batches of like length, features made by a worker ahead. Both write
--new_tokens tokens a clip. With --clips FOLDER over real clips, else over noise of 1.5 to 30 s.

    python bench/inference.py --clips ../shared/data/mmau_mini_subset/test-mini-audios
"""

import argparse
import tempfile
import time
from pathlib import Path

import soundfile
import torch
from common import QUESTION, SIZES, describe_machine, make_clip, make_model, make_processor
from counts import Counts
from plain_grpo import as_released

from omni_clst.answering.audio_source import AudioSource
from omni_clst.answering.batches import encoded_batches, plan_batches
from omni_clst.data.encoder import OmniEncoder
from omni_clst.data.prompts import make_prompt
from omni_clst.data.samples import AudioQASample
from omni_clst.model.engine import HFEngine, placeholder_ids
from omni_clst.model.sampling import Sampling

PLAIN_BATCH = 8


def run_plain(model, encoder, samples, new_tokens: int) -> dict[str, list[int]]:
    """Token ids by sample, batch after batch."""
    ids_of = {}
    for start in range(0, len(samples), PLAIN_BATCH):
        part = samples[start : start + PLAIN_BATCH]
        texts = [encoder.prompt_text(sample, 1) for sample in part]
        clips = [encoder.load(sample) for sample in part]
        inputs = encoder.processor(text=texts, audio=clips, padding=True, padding_side="left", return_tensors="pt")
        inputs["input_features"] = inputs["input_features"].to(model.dtype)
        inputs = inputs.to(model.device)
        model.rope_deltas = None
        with as_released(model):
            output = model.generate(**inputs, max_new_tokens=new_tokens, do_sample=False, eos_token_id=None, pad_token_id=0,
                                    suppress_tokens=placeholder_ids(model))  # fmt: skip
        generated = output[:, inputs["input_ids"].shape[1] :].tolist()
        ids_of |= {sample.id: ids for sample, ids in zip(part, generated, strict=True)}
    return ids_of


def run_fast(model, encoder, samples, new_tokens: int, batch_tokens: int) -> dict[str, list[int]]:
    engine = HFEngine(model, encoder, Sampling(new_tokens))
    engine.end_ids = [-1]  # none ends early, as above
    batches = plan_batches(samples, [encoder.length(sample) for sample in samples], batch_tokens, new_tokens)
    ids_of = {}
    for batch, examples, _ in encoded_batches(batches, encoder, AudioSource.plan("real", samples), num_workers=1):
        generated = engine.generate(examples, [0] * len(examples))
        ids_of |= {sample.id: list(done.token_ids) for sample, [done] in zip(batch.samples, generated, strict=True)}
    return ids_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="79m")
    parser.add_argument("--clips", type=Path)
    parser.add_argument("--new_tokens", type=int, default=64)
    parser.add_argument("--batch_tokens", type=int, default=2**16, help="of ours")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    processor = make_processor()
    dtype = torch.bfloat16 if arguments.device == "cuda" else torch.float32
    model = make_model(processor, arguments.size, dtype=dtype, device=arguments.device)
    encoder = OmniEncoder(processor, make_prompt("direct", ""), 300.0)
    with tempfile.TemporaryDirectory() as folder:
        if arguments.clips is None:
            for number in range(24):
                soundfile.write(
                    f"{folder}/{number:02d}.wav", make_clip(1.5 + 28.5 * (number * 7 % 24) / 23, number), 16_000
                )
        paths = sorted((arguments.clips or Path(folder)).iterdir())
        samples = [AudioQASample(path.name, str(path), QUESTION, ("a dog", "a cat"), "a dog") for path in paths]
        what = f"{arguments.size}, {len(samples)} clips, {arguments.new_tokens} new tokens"
        print(f"{describe_machine(arguments.device)}; {what}")
        ways = {"plain": run_plain, "fast": run_fast}
        rates, answers = {}, {}
        for name, way in ways.items():
            more = (arguments.batch_tokens,) if name == "fast" else ()
            way(model, encoder, samples[:2], 2, *more)  # not counted
            counts, start = Counts(model), time.perf_counter()
            answers[name] = way(model, encoder, samples, arguments.new_tokens, *more)
            seconds = time.perf_counter() - start
            counts.remove()
            rates[name] = len(samples) / seconds
            listed = ", ".join(f"{what} {count:,}" for what, count in counts.items())
            print(f"{name:<6}{seconds:8.1f} s{rates[name]:8.2f} clips/s   {listed}", flush=True)
    same = sum(answers["plain"][key] == ids for key, ids in answers["fast"].items())
    print(f"ratio {rates['fast'] / rates['plain']:.1f}; {same} of {len(samples)} answers are the same to the token")


if __name__ == "__main__":
    main()
