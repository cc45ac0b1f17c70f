"""The plan of a run, on numbers worked out by hand."""

from dataclasses import replace

import pytest
import torch
from grpo_runs import arguments, run_driver
from tiny_world import make_base, write_train_file

import grpo
from omni_clst.demo.tiny import make_thinker_config
from omni_clst.errors import InputError
from omni_clst.model.checkpoints import find_checkpoint, load_processor
from omni_clst.model.families.qwen2_5_omni import Qwen2_5OmniThinker
from omni_clst.model.lora import add_lora, make_lora
from omni_clst.settings import REPOSITORY
from omni_clst.training.memory import HIDDEN_VALUES, Memory, activation_bytes, memory_table, rollout_bytes
from omni_clst.training.model_size import ModelSize
from omni_clst.training.plan import print_memory

GIB = 2**30
# 900 weights in the language model, 100 in the towers
SIZE = ModelSize(language=900, towers=100, lora=10, hidden=8, intermediate=16, layers=3, vocabulary=50, cached=4)


def test_activations_are_one_layer_and_every_layers_input():
    layer, inputs, logits = 10 * (11 * 8 + 4 * 16) * 2, 10 * 8 * 2, 3 * 5 * 50 * 4
    assert activation_bytes(SIZE, 10, 5, checkpointing=True, width=2, hidden_values=11) == layer + 3 * inputs + logits
    assert activation_bytes(SIZE, 10, 5, checkpointing=False, width=2, hidden_values=11) == 3 * layer + logits


@pytest.mark.parametrize(
    ("kind", "dtype", "autocast"),
    [("full", "float32", False), ("full", "bfloat16", False), ("lora", "bfloat16", True), ("autocast", "float32", True)],
)
def test_activations_are_what_a_decoder_layer_keeps_for_its_backward(world, kind, dtype, autocast):
    """The difference of two layers and four, counted by hooks on saved tensors, is within a fifth below the estimate."""
    processor = load_processor(find_checkpoint(str(world / "base")))
    kept, tokens = [], 200
    for layers in (2, 4):
        torch.manual_seed(0)
        config = make_thinker_config(processor, hidden=64, layers=layers, audio_layers=1)
        model = Qwen2_5OmniThinker(config).to(getattr(torch, dtype))
        model.audio_tower.requires_grad_(False)
        if kind == "lora":
            model = add_lora(model, "base", make_lora(model, 4, 8.0), float32=True)
        weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
        saved: dict[int, torch.Tensor] = {}  # held here, so that no storage is used again

        def keep(tensor, saved=saved):
            saved[tensor.untyped_storage().data_ptr()] = tensor
            return tensor

        ids = torch.full((1, tokens), 20)
        labels = torch.full_like(ids, -100)
        labels[:, -1] = 20
        with (
            torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
            torch.autocast("cpu", torch.bfloat16, enabled=autocast),
        ):
            model(input_ids=ids, labels=labels, attention_mask=torch.ones_like(ids))
        activations = [t for key, t in saved.items() if key not in weights and (t.dim() > 2 or tokens in t.shape)]
        kept.append(sum(tensor.untyped_storage().nbytes() for tensor in activations))
    size = replace(SIZE, hidden=64, intermediate=192)
    width = 2 if autocast or dtype == "bfloat16" else 4
    found = (kept[1] - kept[0]) / 2
    estimate = activation_bytes(replace(size, layers=1), tokens, 0, False, width, HIDDEN_VALUES[kind])
    assert 0.8 * estimate < found < 1.05 * estimate


@pytest.mark.parametrize("gathered", [False, True])
def test_rollout_is_cache_prefill_and_logits_and_under_zero3_the_whole_model(gathered):
    cache, prefill, logits = (2 * 7 + 6 * 3) * 3 * 4 * 2, 14 * (8 * 8 + 3 * 16) * 2, 3 * 6 * 50 * 4
    expected = cache + prefill + logits + gathered * 1000 * 2
    assert rollout_bytes(SIZE, 6, 2 * 7 + 6 * 3, 2 * 7, width=2, gathered=gathered) == expected


@pytest.mark.parametrize(
    ("trainable", "width", "stage", "expected"),
    [
        (900, 4, 0, {"weights": 4000 + 1800, "gradients": 3600, "optimiser": 7200}),  # a copy in bfloat16
        (10, 2, 0, {"weights": 2020, "gradients": 40, "optimiser": 80}),  # LoRA: 1010 weights, 10 learn
        (900, 4, 2, {"weights": 4000, "gradients": 900, "optimiser": 1800}),  # on 4 processes
        (900, 4, 3, {"weights": 1000, "gradients": 900, "optimiser": 1800}),
    ],
)
def test_memory_is_shared_out_as_the_stage_says(trainable, width, stage, expected):
    assert memory_table(SIZE, trainable, width, stage, compute_width=2, processes=4) == expected


def test_peaks_at_different_times_count_once(capsys):
    print_memory(Memory({"weights": 20 * GIB}, {"activations": 1 * GIB, "rollout": 2 * GIB}))
    assert capsys.readouterr().out == (
        "memory       22.00 GiB per device (weights 20.00, the larger of activations 1.00, rollout 2.00); "
        "fits 24 GB no, 48 GB yes, 80 GB yes\n"
    )


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plan")
    make_base(folder / "base")
    write_train_file(folder, 8)
    return folder


def test_plan_is_printed_before_the_disk_is_found_too_small(world, monkeypatch, capsys):
    disk = type("Disk", (), {"free": 10})
    monkeypatch.setattr("shutil.disk_usage", lambda _: disk)
    with pytest.raises(InputError, match="this run needs .* GB of disk, 0.0 GB are free"):
        grpo.main([*arguments(world, "full disk", rewards="format: 1.0"), "--dry_run"])
    assert "samples      8 " in capsys.readouterr().out


@pytest.mark.slow
def test_plan_says_what_gathering_at_every_token_costs(world):
    zero3 = REPOSITORY / "configs" / "zero3.json"
    argv = arguments(world, "in parts", tuning="full", deepspeed=zero3, per_device_train_batch_size=2)
    result = run_driver("none", [*argv, "--ds3_gather_for_generation", "false", "--dry_run"], processes=2)
    assert result.returncode == 0, result.stderr[-3000:]
    [line] = [line for line in result.stdout.splitlines() if line.startswith("rollouts ")]
    assert "every token fetches 0.0 GB of weights from the other GPUs" in line
    assert line.endswith("GiB more during a rollout")


@pytest.mark.slow
def test_plan_of_a_sharded_run_is_made_before_the_shards(world):
    """Under ZeRO-3 transformers shards every model that is made, also one that is only to be counted."""
    zero3 = REPOSITORY / "configs" / "zero3.json"
    result = run_driver("none", [*arguments(world, "zero3", tuning="full", deepspeed=zero3), "--dry_run"])
    assert result.returncode == 0, result.stderr[-3000:]
    assert "ds3_gather_for_generation" not in result.stdout
    for word in ("samples      8 ", "parameters ", "reference ", "rollout ", "hours ", " on 1 x A100-80,", "disk "):
        assert word in result.stdout
