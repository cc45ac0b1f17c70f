"""A 4-bit base under an adapter (QLoRA): what it refuses and needs; where bitsandbytes is installed SFT, GRPO, merge."""

import json
from importlib.util import find_spec
from pathlib import Path

import grpo_runs
import pytest
import sft_runs
import torch
from safetensors.torch import load_file
from tiny_world import make_base, write_train_file

import grpo
import sft
from omni_clst.errors import InputError
from omni_clst.grpo.config import CLSTConfig
from omni_clst.grpo.recipes import measure
from omni_clst.model.adapters import read_adapter
from omni_clst.model.checkpoints import find_checkpoint, load_thinker
from omni_clst.model.quantization import NF4_BYTES
from omni_clst.settings import load_config
from omni_clst.training.config import SFTConfig
from omni_clst.training.memory import memory_of
from omni_clst.training.workload import expected_workload

needs_package = pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed")
NF4 = {"quantization": "nf4"}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("quantised")
    make_base(folder / "base", hidden=64)  # blocks of 64 weights
    write_train_file(folder, 24)
    return folder


REFUSED = [
    (SFTConfig, {"tuning": "full"}, "quantization nf4 needs tuning lora: 4-bit weights are not trained"),
    (SFTConfig, {"deepspeed": "configs/zero3.json"}, "quantization nf4 cannot be used with deepspeed"),
    (CLSTConfig, {"tuning": "lora", "engine": "vllm"}, "quantization nf4 cannot be used with engine vllm"),
    (CLSTConfig, {"tuning": "lora", "vllm_server": "http://a:1"}, "quantization nf4 cannot be used with engine vllm"),
]


@pytest.mark.parametrize(("config_class", "settings", "message"), REFUSED, ids=[str(row[1]) for row in REFUSED])
def test_what_4_bit_weights_do_not_support_is_refused(config_class, settings, message):
    words = [f"--{key}={value}" for key, value in ({"model": "a/b", "train_file": "t.jsonl"} | NF4 | settings).items()]
    with pytest.raises(InputError, match=message):
        load_config(config_class, words, needs_files=False)


def test_missing_package_is_one_line_before_anything_is_loaded(world, monkeypatch):
    monkeypatch.setattr("omni_clst.model.quantization.find_spec", lambda name: None)
    with pytest.raises(InputError, match="^quantization nf4 needs a package that is not installed: pip install -r "):
        sft.main(sft_runs.arguments(world, "missing", **NF4))
    assert not (world / "runs" / "missing").exists()


def test_memory_of_a_quantised_base_is_its_linear_layers_in_half_a_byte():
    words = ["--model=a/b", "--train_file=t.jsonl", "--max_audio_seconds=60"]
    config, quantised = (
        load_config(SFTConfig, [*words, *more], needs_files=False) for more in ([], ["--quantization=nf4"])
    )
    size = measure("7B", config.lora_targets, config.lora_rank)
    work = expected_workload(config, size, 1000, 1, "hf")
    linear = 28 * (3584 * (3584 + 2 * 512) + 3584 * 3584 + 3 * 3584 * 18944)
    assert size.linear == linear
    saved = memory_of(config, work).permanent["weights"] - memory_of(quantised, work).permanent["weights"]
    assert saved == int(linear * (2 - NF4_BYTES))


def linear_weights(model) -> dict[str, torch.Tensor]:
    return {name: module.weight for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}


@needs_package
def test_language_model_is_4_bit_and_the_rest_is_as_it_was(world):
    checkpoint = find_checkpoint(str(world / "base"))
    plain = load_thinker(checkpoint, torch.float32)
    quantised = load_thinker(checkpoint, torch.float32, quantization="nf4")
    before, after = linear_weights(plain), linear_weights(quantised)
    packed = {name for name, weight in after.items() if weight.dtype == torch.uint8}
    assert packed == {name for name in before if name.startswith("model.layers.")}
    assert all(torch.equal(before[name], after[name]) for name in before.keys() - packed)


@needs_package
def test_sft_and_grpo_train_an_adapter_that_merges_into_the_bases_own_weights(world):
    sft.main(sft_runs.arguments(world, "sft", **NF4))
    run_dir = world / "runs" / "sft"
    losses = sft_runs.losses(run_dir)
    assert losses[sft_runs.STEPS] < losses[1]
    assert_merged(find_checkpoint(str(run_dir / "checkpoint-6")).source, run_dir / "merged", world / "base")

    rewards = {"rewards": "spelling: 1.0", "temperature": 1.0}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(__import__("omni_clst.method.rewards", fromlist=["REWARDS"]).REWARDS, "spelling", spelling)
        grpo.main(grpo_runs.arguments(world, "grpo", model=run_dir / "merged", **NF4, **rewards))
    trained = world / "runs" / "grpo"
    rows = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert max(row.get("sampling/logp_difference", 0.0) for row in rows) < 1e-3
    adapter = read_adapter(Path(find_checkpoint(str(trained)).source))
    assert {tensor.dtype for tensor in adapter.weights.values()} == {torch.float32}
    assert any(tensor.abs().max() > 0 for name, tensor in adapter.weights.items() if "lora_B" in name)


def spelling(sample, completion) -> float:
    """A reward that random text earns now and then."""
    return sum(completion.text.encode()) % 5 / 4


def assert_merged(adapter_folder: str, merged: Path, base: Path) -> None:
    """`merged` is the base's weights, not the quantised ones, with the adapter's change added."""
    adapter = read_adapter(Path(adapter_folder))
    before, after = load_file(base / "model.safetensors"), load_file(merged / "model.safetensors")
    layer = "model.layers.0.self_attn.q_proj"
    parts = {part[:6]: adapter.weights[key] for key, (name, part) in adapter.lora_keys.items() if name.endswith(layer)}
    scale = adapter.settings["lora_alpha"] / adapter.settings["r"]
    name = f"thinker.{layer}.weight"
    expected = before[name] + scale * parts["lora_B"] @ parts["lora_A"]
    assert torch.allclose(after[name], expected, atol=1e-6)
    assert not torch.equal(after[name], before[name])
