"""Checkpoints: which folders are one, what loads them, and merging keeps the model's outputs."""

import json
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_world import make_base
from transformers import Qwen2_5OmniForConditionalGeneration, Qwen2_5OmniThinkerForConditionalGeneration

from omni_clst.errors import InputError
from omni_clst.model.checkpoints import (
    MARKER,
    complete_checkpoints,
    find_checkpoint,
    load_model_config,
    load_thinker,
    save_omni,
)
from omni_clst.model.lora import add_lora, make_lora
from omni_clst.training.sft import merge_checkpoint


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return make_base(tmp_path_factory.mktemp("model") / "base")


@pytest.fixture(scope="module")
def adapter(base, tmp_path_factory):
    """An adapter folder whose B matrices are not zero."""
    folder = tmp_path_factory.mktemp("adapter") / "checkpoint-7"
    model = load_thinker(find_checkpoint(str(base)), torch.float32)
    peft_model = add_lora(model, str(base), make_lora(model, 4, 8.0), float32=True)
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in peft_model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.3)
    peft_model.save_pretrained(folder)
    (folder / MARKER).touch()
    return folder


def test_lora_sits_in_the_language_model_and_nowhere_else(base):
    model = load_thinker(find_checkpoint(str(base)), torch.float32)
    peft_model = add_lora(model, str(base), make_lora(model, 4, 8.0), float32=True)
    learning = [name for name, parameter in peft_model.named_parameters() if parameter.requires_grad]
    assert len(learning) == 2 * 7 * 2  # A and B for seven linear layers in each of two decoder layers
    assert all(".model.layers." in name and "lora" in name for name in learning)


def test_lora_targets_that_match_nothing_are_an_error(base):
    model = load_thinker(find_checkpoint(str(base)), torch.float32)
    with pytest.raises(InputError, match=r"lora_targets 'nothing' matches none of the model's \d+ linear layers"):
        make_lora(model, 4, 8.0, "nothing")


def test_merged_folder_gives_base_plus_adapter_in_plain_transformers(base, adapter, tmp_path):
    """The other process imports transformers alone; `omni_clst` is not on its path."""
    checkpoint = find_checkpoint(str(adapter))
    merge_checkpoint(checkpoint, tmp_path / "merged", torch.float32, keep_talker=False)
    ids = torch.arange(40, 60).unsqueeze(0)
    model = load_thinker(find_checkpoint(str(base)), torch.float32)
    from peft import PeftModel

    peft_model = PeftModel.from_pretrained(model, adapter)
    with torch.no_grad():
        expected = peft_model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    code = (
        "import sys, torch, transformers\n"
        "m = transformers.Qwen2_5OmniThinkerForConditionalGeneration.from_pretrained(sys.argv[1])\n"
        "ids = torch.arange(40, 60).unsqueeze(0)\n"
        "torch.save(m(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.detach(), sys.argv[2])\n"
        "assert 'omni_clst' not in sys.modules and 'peft' not in sys.modules\n"
    )
    command = [sys.executable, "-c", code, tmp_path / "merged", tmp_path / "logits.pt"]
    subprocess.run(command, check=True, cwd=tmp_path, capture_output=True)
    plain = torch.load(tmp_path / "logits.pt")
    assert torch.allclose(plain, expected, atol=1e-4)
    unmerged = Qwen2_5OmniThinkerForConditionalGeneration.from_pretrained(base)
    assert not torch.allclose(plain, unmerged(input_ids=ids, attention_mask=torch.ones_like(ids)).logits, atol=1e-2)


def test_saved_folder_loads_as_thinker_and_as_whole_model_without_speech(base):
    thinker, report = Qwen2_5OmniThinkerForConditionalGeneration.from_pretrained(base, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    whole = Qwen2_5OmniForConditionalGeneration.from_pretrained(base)
    assert whole.has_talker is False
    for name, tensor in whole.thinker.state_dict().items():
        assert torch.equal(tensor, thinker.state_dict()[name]), name


def test_layout_is_the_one_that_vllm_looks_up(base):
    config = json.loads((base / "config.json").read_text())
    assert config["model_type"] == "qwen2_5_omni"
    assert config["architectures"] == ["Qwen2_5OmniModel"]
    assert config["enable_audio_output"] is False
    assert config["thinker_config"]["model_type"] == "qwen2_5_omni_thinker"
    assert all(name.startswith("thinker.") for name in load_file(base / "model.safetensors"))


def test_weights_that_are_parts_of_one_tensor_are_saved(base, tmp_path):
    """As ZeRO-3 in one process on a CPU has them."""
    weights = load_thinker(find_checkpoint(str(base)), torch.float32).state_dict()
    flat = torch.cat([weight.flatten() for weight in weights.values()])
    parts = flat.split([weight.numel() for weight in weights.values()])
    views = {name: part.view_as(weights[name]) for name, part in zip(weights, parts, strict=True)}
    save_omni(tmp_path / "out", views, load_model_config(str(base)), str(base))
    saved = load_file(tmp_path / "out" / "model.safetensors")
    assert all(torch.equal(saved[f"thinker.{name}"], weight.float()) for name, weight in weights.items())


def test_keep_talker_copies_speech_weights_from_the_base(base, tmp_path):
    speaking = tmp_path / "speaking"
    shutil.copytree(base, speaking)
    save_file({"talker.x": torch.ones(2), "token2wav.y": torch.zeros(3)}, speaking / "speech.safetensors")
    model = load_thinker(find_checkpoint(str(base)), torch.float32)
    save_omni(tmp_path / "out", model.state_dict(), load_model_config(str(base)), str(speaking), keep_talker=True)
    weights = load_file(tmp_path / "out" / "model.safetensors")
    assert torch.equal(weights["talker.x"], torch.ones(2))
    assert torch.equal(weights["token2wav.y"], torch.zeros(3))
    assert json.loads((tmp_path / "out" / "config.json").read_text())["enable_audio_output"] is True
    assert (tmp_path / "out" / "spk_dict.pt").exists()


def test_keep_talker_without_speech_weights_is_an_error(base, tmp_path):
    model = load_thinker(find_checkpoint(str(base)), torch.float32)
    with pytest.raises(InputError, match="keep_talker: .* has no talker weights"):
        save_omni(tmp_path / "out", model.state_dict(), load_model_config(str(base)), str(base), keep_talker=True)


def test_merging_brings_the_base_processor_files(base, adapter, tmp_path):
    merge_checkpoint(find_checkpoint(str(adapter)), tmp_path / "merged", torch.float32, keep_talker=False)
    for name in ("tokenizer.json", "tokenizer_config.json", "processor_config.json", "chat_template.jinja"):
        assert (tmp_path / "merged" / name).read_bytes() == (base / name).read_bytes()


def test_half_written_merge_leaves_nothing_behind(base, adapter, tmp_path, monkeypatch):
    def fail(*arguments):
        raise RuntimeError("power cut")

    monkeypatch.setattr("omni_clst.training.sft.save_omni", fail)
    with pytest.raises(RuntimeError, match="power cut"):
        merge_checkpoint(find_checkpoint(str(adapter)), tmp_path / "merged", torch.float32, keep_talker=False)
    assert not (tmp_path / "merged").exists()


def test_incomplete_checkpoints_are_left_out(tmp_path):
    for step, whole in ((2, True), (10, True), (30, False)):
        (tmp_path / f"checkpoint-{step}").mkdir()
        if whole:
            (tmp_path / f"checkpoint-{step}" / MARKER).touch()
    assert [path.name for path in complete_checkpoints(tmp_path)] == ["checkpoint-2", "checkpoint-10"]


def test_missing_weights_are_named(base, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(base, broken)
    weights = load_file(broken / "model.safetensors")
    del weights["thinker.lm_head.weight"]
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"broken: 1 weights are missing \(lm_head.weight"):
        load_thinker(find_checkpoint(str(broken)), torch.float32)
