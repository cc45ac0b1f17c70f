"""What is asked of a vLLM server through `ServedVLLM`, in a process of its own, as vLLM is imported for it.

    PYTHONPATH=src python tests/vllm_server_checks.py OUTPUT [keys of grpo.py]

Writes a JSON object to OUTPUT: names of checks with what they found.
"""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import torch
from vllm_checks import FILTERS, SHORT, greedy, make_examples, refusal, scored

from omni_clst.data.encoder import OmniEncoder
from omni_clst.data.prompts import make_prompt
from omni_clst.grpo.config import CLSTConfig
from omni_clst.grpo.served_weights import PolicySource
from omni_clst.grpo.settings import grpo_keys
from omni_clst.grpo.vllm_rollout import ServedVLLM, reach_server
from omni_clst.grpo.vllm_server import VLLMServer
from omni_clst.model.checkpoints import find_checkpoint, load_processor, load_thinker
from omni_clst.model.sampling import Sampling
from omni_clst.settings import load_config


def tokens_of(groups) -> list[list[tuple]]:
    return [[completion.token_ids for completion in group] for group in groups]


def main(output: str, argv: list[str]) -> None:
    config = load_config(CLSTConfig, argv, grpo_keys)
    checkpoint = find_checkpoint(config.model)
    encoder = OmniEncoder(load_processor(checkpoint), make_prompt("demo_selective", ""), 300.0)
    model = load_thinker(checkpoint, torch.float32, "cpu")
    examples = [*make_examples(encoder), encoder.encode_chat("which ?", None, None)]
    expected = greedy(model, encoder, examples)
    vllm = ServedVLLM(config, config.model, encoder, torch.float32, torch.device("cpu"), model.named_parameters)

    def answers(step: int) -> list[tuple]:
        with vllm.at_step(step, Sampling(12)) as engine:
            groups = engine.generate(examples, [0] * len(examples))
        return [completion.token_ids for [completion] in groups]

    found = {"greedy": answers(0) == expected, "distinct": len(set(expected))}
    found["other precision"] = refusal(lambda: reach_server(config, config.model, torch.bfloat16))
    found["other model"] = refusal(lambda: reach_server(config, sys.argv[-1], torch.float32))
    examples, expected = examples[:SHORT], expected[:SHORT]

    found["log-probs"], found["repeats"] = {}, {}
    for name, sampling in FILTERS.items():
        with vllm.at_step(0, sampling) as engine:
            groups, again = (engine.generate(examples, list(range(SHORT)), 4) for _ in range(2))
        # the tokens: their log-probabilities differ in the last digits with what the scheduler batches together
        found["repeats"][name] = tokens_of(groups) == tokens_of(again)
        differences = [
            d for e, g in zip(examples, groups, strict=True) for d in scored(model, e, g, sampling, encoder.placeholder_ids)
        ]
        found["log-probs"][name] = [len(differences), max(differences)]

    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    found["weights"] = {}
    for step, part in enumerate(("model.layers.0", "lm_head", "audio_tower.layers.0", "audio_tower.proj"), 1):
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name.startswith(part) and parameter.ndim >= 2:
                    parameter.mul_(-1.5)
        changed = greedy(model, encoder, examples)
        found["weights"][part] = [answers(step) == changed, changed != expected]
        model.load_state_dict(before)

    found["transfer"] = transferred(model)
    call_workers = vllm.server.call_workers
    vllm.server.call_workers = lambda method, folder, names: call_workers(method, folder=folder + " elsewhere", names=names)
    found["other disk"] = refusal(lambda: answers(5))
    vllm.server.call_workers = call_workers
    found["after refusals"] = answers(6) == expected
    vllm.server.post("/update_weight_version", {"new_version": "those of another run"})
    found["other run"] = refusal(lambda: answers(6))
    found["left behind"] = [path.name for path in config.run_dir.glob("*")]
    Path(output).write_text(json.dumps(found))


def transferred(model) -> list[bool]:
    """Whether the trainer's side of vLLM's transfer by NCCL sends what it announces; nobody receives it here."""
    from vllm.distributed.weight_transfer.nccl_engine import NCCLTrainerWeightTransferEngine

    calls, sent = [], []
    server = VLLMServer("http://nobody", "")
    server.post = lambda path, body=None: calls.append((path, body)) or {}
    source = PolicySource(model.named_parameters, torch.bfloat16, torch.device("cpu"))
    engine = NCCLTrainerWeightTransferEngine(client=server, source=source, packed=False)
    engine.model_update_group = SimpleNamespace(broadcast=lambda tensor, src, stream: sent.append(tensor))
    torch.cuda.current_stream = lambda: None
    engine.send_weights()
    (_, _), (_, update), (_, _) = calls
    announced, weights = update["update_info"], dict(model.named_parameters())
    return [
        [path for path, _ in calls] == ["/start_weight_update", "/update_weights", "/finish_weight_update"],
        announced["names"] == [f"thinker.{name}" for name in weights],
        announced["shapes"] == [list(weight.shape) for weight in weights.values()],
        set(announced["dtype_names"]) == {"bfloat16"},
        all(torch.equal(a, b.to(torch.bfloat16)) for a, b in zip(sent, weights.values(), strict=True)),
    ]


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:-1])
