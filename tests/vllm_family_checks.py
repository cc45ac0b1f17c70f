"""What vLLM makes of a base, in a process of its own: its threads do not survive the forks of other tests.

    PYTHONPATH=src python tests/vllm_family_checks.py BASE OTHER OUTPUT

Writes a JSON object to OUTPUT: whether BASE answers in vLLM as in transformers, and with the weights of OTHER as that.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch

from omni_clst.data.audio import SAMPLING_RATE
from omni_clst.data.encoder import Example, OmniEncoder
from omni_clst.data.prompts import make_prompt
from omni_clst.data.samples import AudioQASample
from omni_clst.errors import InputError
from omni_clst.model.checkpoints import find_checkpoint, load_family, load_processor, load_thinker
from omni_clst.model.engine import HFEngine
from omni_clst.model.sampling import Sampling
from omni_clst.model.vllm_engine import VLLMEngine, VLLMSettings

LENGTHS = (SAMPLING_RATE, 40_160, 5 * SAMPLING_RATE + 160, 29 * SAMPLING_RATE)
ODD = SAMPLING_RATE + 77  # no whole number of mel frames


def main(base: str, other: str, output: str) -> None:
    checkpoint = find_checkpoint(base)
    encoder = OmniEncoder(
        load_processor(checkpoint),
        make_prompt("demo_selective", ""),
        30.0,
        keep_waveform=True,
        clips=load_family(checkpoint).clips,
    )

    def example_of(length: int) -> Example:
        waveform = np.random.default_rng(length).normal(0, 0.1, length).astype(np.float32)
        return encoder.encode_waveform(AudioQASample(f"clip {length}", "", "which ?", ("a", "b"), "a"), waveform)

    examples = list(map(example_of, LENGTHS))
    seeds, sampling = [0] * len(examples), Sampling(8)
    settings = VLLMSettings("float32", max_model_len=2048, suppressed=encoder.placeholder_ids)
    engine = VLLMEngine(base, encoder, sampling, settings, torch.device("cpu"))

    def answers(of) -> list[tuple[int, ...]]:
        return [completion.token_ids for (completion,) in of.generate(examples, seeds)]

    expected = {name: load_thinker(find_checkpoint(name), torch.float32) for name in (base, other)}
    found = {"base": answers(engine) == answers(HFEngine(expected[base], encoder, sampling))}
    try:
        engine.load(expected[other].state_dict().items())
        found["other"] = answers(engine) == answers(HFEngine(expected[other], encoder, sampling))
    except InputError as error:
        found["other"] = str(error)
    found["distinct"] = len(set(answers(engine)))
    (odd,) = engine.generate([example_of(ODD)], [0])  # raises where the prompt's ids are not ours
    found["odd"] = odd[0].tokens > 0
    Path(output).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
