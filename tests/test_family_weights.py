"""The weights of every base: merged and handed over with an adapter, counted, under their released names."""

import json

import family_bases
import pytest
import torch
from family_bases import logits_of, with_adapter
from safetensors.torch import load_file
from tiny_families import TINY, family_named, make_tiny

from omni_clst.errors import InputError
from omni_clst.model.checkpoints import find_checkpoint, load_family, load_model_config, load_thinker, save_omni
from omni_clst.model.lora import make_lora
from omni_clst.model.policy_weights import policy_weights
from omni_clst.model.released import thinker_config_of
from omni_clst.training.model_size import measure_model, measure_thinker
from omni_clst.training.sft import merge_checkpoint

base, checkpoint, encoder, stock = (  # fixtures
    family_bases.base, family_bases.checkpoint, family_bases.encoder, family_bases.stock
)  # fmt: skip


def test_merged_weights_are_base_and_adapter_in_the_released_layout(base, encoder, checkpoint, stock, tmp_path):
    """Merged from the adapter's folder, and as a policy in training hands them over."""
    adapted = with_adapter(load_thinker(checkpoint, torch.float32))
    expected = logits_of(adapted, encoder)
    adapted.save_pretrained(tmp_path / "adapter")
    merge_checkpoint(find_checkpoint(str(tmp_path / "adapter")), tmp_path / "merged", torch.float32, keep_talker=False)

    reloaded, report = TINY[base[0]].stock.from_pretrained(
        tmp_path / "merged", output_loading_info=True, dtype=torch.float32
    )
    assert not report["missing_keys"] and not report["unexpected_keys"]
    torch.testing.assert_close(logits_of(reloaded.eval(), encoder), expected, rtol=0, atol=1e-4)
    ours = load_thinker(find_checkpoint(str(tmp_path / "merged")), torch.float32)
    torch.testing.assert_close(logits_of(ours, encoder), expected, rtol=0, atol=1e-4)
    assert (expected - logits_of(stock, encoder)).abs().max() > 0.01

    handed_over = dict(policy_weights(adapted, in_pieces=False))
    assert handed_over.keys() == ours.state_dict().keys()
    for name, weight in ours.state_dict().items():
        torch.testing.assert_close(handed_over[name], weight, rtol=0, atol=1e-5)


EXPERTS = r"model\.layers\.\d+\.(self_attn\.\w+_proj|mlp\.experts\.\w+_proj)"


def test_adapter_of_experts_is_counted_trained_and_merged(tmp_path):
    base = make_tiny("Qwen3-Omni", tmp_path / "base")
    checkpoint = find_checkpoint(str(base))
    model = load_thinker(checkpoint, torch.float32)
    for targets, named in ((None, 0), (EXPERTS, 4)):
        assert len(make_lora(model, 4, 8.0, targets).target_parameters or ()) == named
    ids = torch.arange(40, 60).unsqueeze(0)
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids}
    before = model(**batch).loss.item()
    adapted = with_adapter(model, EXPERTS)
    trained = {name: parameter for name, parameter in adapted.named_parameters() if parameter.requires_grad}
    assert sum(map(torch.numel, trained.values())) == measure_model(str(base), EXPERTS, 4).lora
    assert not [name for name in trained if ".model.layers." not in name]  # no layer of a tower has such a name's end

    expected = adapted(**batch).loss
    expected.backward()
    assert all(parameter.grad is not None for parameter in trained.values())
    assert abs(expected.item() - before) > 0.01
    adapted.save_pretrained(tmp_path / "adapter")
    merged = load_thinker(find_checkpoint(str(tmp_path / "adapter")), torch.float32)
    assert merged(**batch).loss.item() == pytest.approx(expected.item(), abs=1e-4)
    handed_over = dict(policy_weights(adapted, in_pieces=False))
    assert handed_over.keys() == merged.state_dict().keys()
    for name, weight in merged.state_dict().items():
        torch.testing.assert_close(handed_over[name], weight, rtol=0, atol=1e-5)
    with pytest.raises(InputError, match="lora_dropout 0.1: LoRA on experts has none"):
        make_lora(merged, 4, 8.0, EXPERTS, dropout=0.1)


def test_adapter_of_attention_leaves_the_towers_alone(base, checkpoint):
    """Their layers have the same last names."""
    adapted = with_adapter(load_thinker(checkpoint, torch.float32))
    trained = [name for name, parameter in adapted.named_parameters() if parameter.requires_grad]
    assert trained and not [name for name in trained if "audio_tower" in name or "visual" in name]
    assert sum(adapted.get_parameter(name).numel() for name in trained) == measure_model(str(base[1]), None, 4).lora


def test_released_shapes_are_counted():
    """Billions of parameters, from the sizes of the released configurations; a token meets 3 of 30 in the mixture."""
    found = {name: measure_thinker(thinker_config_of(name), None, 8)
             for name in ("Qwen/Qwen2-Audio-7B-Instruct", "Qwen3-Omni-30B-A3B")}  # fmt: skip
    audio, omni3 = found.values()
    assert (round(audio.total / 1e9, 1), audio.idle) == (8.4, 0)
    assert round(omni3.total / 1e9, 1) == 31.7
    assert round((omni3.language - omni3.idle) / 1e9, 1) == 3.4
    assert (omni3.audio_rate, omni3.cached) == (13.0, 2 * 4 * 128)


RELEASED_NAMES = {  # some of every part
    "Qwen2.5-Omni": ["thinker.lm_head.weight", "thinker.model.layers.1.mlp.up_proj.weight",
                     "thinker.audio_tower.layers.0.fc1.weight"],
    "Qwen2-Audio": ["language_model.lm_head.weight", "language_model.model.layers.1.mlp.up_proj.weight",
                    "audio_tower.layers.0.fc1.weight", "multi_modal_projector.linear.bias"],
    "Qwen3-Omni": ["thinker.lm_head.weight", "thinker.model.layers.1.mlp.experts.3.up_proj.weight",
                   "thinker.model.layers.0.mlp.gate.weight", "thinker.audio_tower.conv2d1.weight"],
}  # fmt: skip


def test_saved_folder_has_the_released_names(base):
    name, folder = base
    weights = load_file(folder / "model.safetensors")
    assert set(RELEASED_NAMES[name]) <= weights.keys()
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert config["model_type"] == family_named(name).model_type
    assert config["architectures"] == [family_named(name).architecture]


def test_thinker_saved_alone_is_found_and_saved_whole(base, stock, encoder, tmp_path):
    """A folder of transformers' own class, as other trainers write it."""
    stock.save_pretrained(tmp_path / "thinker")
    encoder.processor.save_pretrained(tmp_path / "thinker")
    alone = find_checkpoint(str(tmp_path / "thinker"))
    assert load_family(alone).name == base[0]
    model = load_thinker(alone, torch.float32)
    save_omni(tmp_path / "whole", model.state_dict(), load_model_config(alone.source), alone.source)
    assert load_file(tmp_path / "whole" / "model.safetensors").keys() == load_file(base[1] / "model.safetensors").keys()
