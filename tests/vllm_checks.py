"""What is asked of `VLLMEngine` itself, in a process of its own: its threads do not survive the forks of other tests.

    PYTHONPATH=src python tests/vllm_checks.py BASE OUTPUT

Writes a JSON object to OUTPUT: names of checks with what they found.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from omni_clst.data.audio import MIN_SAMPLES, SAMPLING_RATE
from omni_clst.data.encoder import Example, OmniEncoder, collate
from omni_clst.data.prompts import make_prompt
from omni_clst.data.samples import AudioQASample
from omni_clst.errors import InputError
from omni_clst.model.checkpoints import find_checkpoint, load_processor, load_thinker
from omni_clst.model.engine import Completion, HFEngine
from omni_clst.model.sampling import Sampling
from omni_clst.model.vllm_engine import VLLMEngine, VLLMSettings

LENGTHS = [MIN_SAMPLES, MIN_SAMPLES + 1, 8000, 15999, 16000, 16001, 31999, 48123, 159999, 160001, 30 * SAMPLING_RATE,
           480384, 480654, 41 * SAMPLING_RATE + 7]  # fmt: skip
ROUNDS = 10
SHORT = 8  # of these; the checks behind the first ask them alone
FILTERS = {
    "all tokens": Sampling(12, 1.2),
    "top-k": Sampling(12, 1.2, top_k=10),
    "top-p": Sampling(12, 1.2, top_p=0.8),
    "top-p of top-k": Sampling(12, 1.2, top_p=0.9, top_k=20),
    "min-p": Sampling(12, 1.2, min_p=0.1),
}


def clip(length: int) -> np.ndarray:
    return np.random.default_rng(length).normal(0, 0.1, length).astype(np.float32)


def make_examples(encoder: OmniEncoder) -> list[Example]:
    """Clips of odd lengths, with prompts of different lengths."""
    return [
        encoder.encode_waveform(
            AudioQASample(f"clip {length}", "", "which ? " * (1 + number % 4), ("a", "b"), "a"), clip(length)
        )
        for number, length in enumerate(LENGTHS)
    ]


def of_clips(encoder: OmniEncoder, *lengths: int) -> Example:
    """A question about several clips."""
    sample = AudioQASample(f"{len(lengths)} clips", "", "which ?", ("a", "b"), "a")
    return encoder.encode_waveforms(sample, list(map(clip, lengths)))


def scored(model, example: Example, completions: list[Completion], sampling: Sampling, suppressed: tuple) -> list[float]:
    """Differences of the log-probabilities that one prompt's completions were drawn with from the policy's."""
    longest = max(completion.tokens for completion in completions)
    ids = torch.zeros(len(completions), longest, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, completion in enumerate(completions):
        ids[row, : completion.tokens] = torch.tensor(completion.token_ids)
        mask[row, : completion.tokens] = 1
    with torch.no_grad():
        scores = model(
            **collate([example], 0, "left"),
            completion_ids=ids,
            completion_mask=mask,
            sampling=sampling,
            suppressed=list(suppressed),
        )
    return [
        abs(drawn - float(found))
        for row, completion in enumerate(completions)
        for drawn, found in zip(completion.log_probs, scores.log_probs[row], strict=False)
    ]


def greedy(model, encoder: OmniEncoder, examples: list[Example]) -> list[tuple]:
    answers = HFEngine(model, encoder, Sampling(12)).generate(examples, [0] * len(examples))
    return [completion.token_ids for [completion] in answers]


def refusal(act) -> str:
    try:
        act()
    except InputError as error:
        return str(error)
    return "accepted"


def main(base: str, output: str) -> None:
    checkpoint = find_checkpoint(base)
    prompt = make_prompt("demo_selective", "")
    encoder = OmniEncoder(load_processor(checkpoint), prompt, 300.0, keep_waveform=True)
    model = load_thinker(checkpoint, torch.float32, "cpu")
    examples = make_examples(encoder)
    settings = VLLMSettings("float32", max_model_len=2048, suppressed=encoder.placeholder_ids, clips_per_prompt=3)
    expected = greedy(model, encoder, examples)
    engine = VLLMEngine(base, encoder, Sampling(12), settings, torch.device("cpu"))
    seeds = list(range(len(examples)))

    def answers() -> list[tuple]:
        engine.sampling = Sampling(12)
        return [completion.token_ids for [completion] in engine.generate(examples, seeds)]

    found = {"greedy": answers() == expected, "distinct": len(set(expected))}
    examples, expected, seeds = examples[:SHORT], expected[:SHORT], seeds[:SHORT]

    shorter = replace(examples[7], waveform=examples[7].waveform[:-8000])
    found["mismatch"] = refusal(lambda: engine.generate([*examples, shorter, *examples], [0] * (2 * SHORT + 1)))
    text = encoder.encode_chat("which ?", None, None)
    found["no clip"] = [engine.generate([text], [0])[0][0].token_ids == greedy(model, encoder, [text])[0]]
    long = encoder.encode_waveform(AudioQASample("long", "", "which ? " * 900, ("a", "b"), "a"), clip(16000))
    found["too long"] = refusal(lambda: engine.generate([long], [0]))
    several = [of_clips(encoder, 16000), of_clips(encoder, 16001, 8000), of_clips(encoder, 640, 48123, 15999)]
    found["several clips"] = [c.token_ids for [c] in engine.generate(several, [0] * 3)] == greedy(model, encoder, several)
    found["too many clips"] = refusal(lambda: engine.generate([of_clips(encoder, 8000, 8001, 8002, 8003)], [0]))
    found["after refusals"] = answers() == expected

    found["log-probs"], found["repeats"] = {}, {}
    for name, sampling in FILTERS.items():
        engine.sampling = sampling
        groups = engine.generate(examples, seeds, 4)
        found["repeats"][name] = engine.generate(examples, seeds, 4) == groups
        differences = [
            d for e, g in zip(examples, groups, strict=True) for d in scored(model, e, g, sampling, encoder.placeholder_ids)
        ]
        found["log-probs"][name] = [len(differences), max(differences)]
        found["placeholders"] = any(set(c.token_ids) & set(encoder.placeholder_ids) for g in groups for c in g)

    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    found["weights"] = {}
    for part in ("model.layers.0", "lm_head", "audio_tower.layers.0", "audio_tower.proj"):
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name.startswith(part) and parameter.ndim >= 2:
                    parameter.mul_(-1.5)
        changed = greedy(model, encoder, examples)
        engine.load(model.named_parameters())
        found["weights"][part] = [answers() == changed, changed != expected]
        if part == "audio_tower.proj":
            forget, engine.forget = engine.forget, lambda: None
            model.load_state_dict(before)
            engine.load(model.named_parameters())
            found["without forgetting"] = refusal_or_difference(answers, expected)
            engine.forget = forget
            engine.forget()
        model.load_state_dict(before)
    found["requests"] = [engine_answers_again(engine, model, examples, expected) for _ in range(ROUNDS)]
    Path(output).write_text(json.dumps(found))


def engine_answers_again(engine: VLLMEngine, model, examples: list[Example], expected: list) -> list[bool]:
    """50 requests about the same few clips, after the same weights were loaded anew."""
    engine.load(model.named_parameters())
    numbers = [number % len(examples) for number in range(50)]
    groups = engine.generate([examples[number] for number in numbers], [0] * 50)
    return [completion.token_ids == expected[number] for number, [completion] in zip(numbers, groups, strict=True)]


def refusal_or_difference(answers, expected: list) -> str:
    """`same`, or how a stale cache shows itself."""
    try:
        return "same" if answers() == expected else "stale"
    except RuntimeError as error:
        return str(error)


if __name__ == "__main__":
    main(*sys.argv[1:])
