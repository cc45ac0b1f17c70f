"""LoRA adapters of other programs: applied in full, or one line that names missing or unknown keys."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from tiny_world import make_base
from transformers import Qwen2_5OmniThinkerForConditionalGeneration

from omni_clst.errors import InputError
from omni_clst.model.checkpoints import find_checkpoint, load_model_config, load_processor, load_thinker

LEAVES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
LAYERS = [
    f"model.layers.{number}.{place}"
    for number in (0, 1)
    for place in [f"self_attn.{leaf}" for leaf in LEAVES[:4]] + [f"mlp.{leaf}" for leaf in LEAVES[4:]]
]
REGEX = r"model\.layers\.\d+\.(self_attn|mlp)\.\w+_proj"


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return make_base(tmp_path_factory.mktemp("foreign") / "base")


@pytest.fixture(scope="module")
def weights(base):
    """The base's weights by the thinker's own names."""
    return {name.removeprefix("thinker."): tensor for name, tensor in load_file(base / "model.safetensors").items()}


def lora_of(weights: dict, layers: list[str], rank: int = 4, seed: int = 0) -> dict[str, torch.Tensor]:
    """Random A (rank, in) and B (out, rank) by `layer.lora_A`."""
    generator = torch.Generator().manual_seed(seed)
    lora = {}
    for layer in layers:
        out, width = weights[f"{layer}.weight"].shape
        lora[f"{layer}.lora_A"] = torch.randn(rank, width, generator=generator)
        lora[f"{layer}.lora_B"] = torch.randn(out, rank, generator=generator)
    return lora


def write_adapter(
    folder: Path, base: Path | str, lora: dict, rename: Callable, targets: object, kind: str = "safetensors", **more
) -> Path:
    folder.mkdir(parents=True)
    tensors = {rename(name): tensor for name, tensor in lora.items()}
    if kind == "bin":
        torch.save(tensors, folder / "adapter_model.bin")
    else:
        save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    settings = {
        "peft_type": "LORA",
        "r": 4,
        "lora_alpha": 8,
        "target_modules": targets,
        "base_model_name_or_path": str(base),
    }
    (folder / "adapter_config.json").write_text(json.dumps(settings | more))
    return folder


def peft_key(name: str) -> str:
    """As PEFT names a key of a wrapped thinker."""
    return f"base_model.model.{name}.weight"


def whole_key(name: str) -> str:
    """As PEFT names it where the whole Omni model was wrapped."""
    return f"base_model.model.thinker.{name}.weight"


def check_merged(
    folder: Path, weights: dict, lora: dict, scale: Callable[[str], float], replaced: dict | None = None
) -> None:
    """Every weight of the merged thinker is the base's, plus B @ A times the layer's scale where there is a LoRA."""
    merged = load_thinker(find_checkpoint(str(folder)), torch.float32).state_dict()
    assert merged.keys() == weights.keys()
    for name, weight in (weights | (replaced or {})).items():
        layer = name.removesuffix(".weight")
        if f"{layer}.lora_A" in lora:
            delta = lora[f"{layer}.lora_B"] @ lora[f"{layer}.lora_A"] * scale(layer)
            assert delta.abs().max() > 0.1
            torch.testing.assert_close(merged[name], weight + delta, rtol=1e-5, atol=1e-5, msg=name)
        else:
            assert torch.equal(merged[name], weight), name


MS_SWIFT = r"^(thinker\.model)(?=\.).*\.(" + "|".join(LEAVES) + ")$"
FORMS = [
    ("our trainer", peft_key, REGEX, "safetensors"),
    ("leaf names, which the audio tower has too", peft_key, LEAVES, "safetensors"),
    ("the whole Omni model was wrapped", whole_key, LEAVES, "safetensors"),
    ("ms-swift's regex over the whole model", whole_key, MS_SWIFT, "safetensors"),
    ("keys without PEFT's prefix", lambda name: f"thinker.{name}.weight", LEAVES, "safetensors"),
    ("keys of the thinker's own", lambda name: f"{name}.weight", LEAVES, "safetensors"),
    ("PEFT's prefix behind the thinker's", lambda name: f"thinker.base_model.model.{name}.weight", LEAVES, "safetensors"),
    ("keys that name the adapter", lambda name: f"base_model.model.{name}.default.weight", LEAVES, "safetensors"),
    ("under torch.compile and FSDP", lambda name: f"_orig_mod.{peft_key(name)}".replace(
        ".layers.0.", ".layers.0._fsdp_wrapped_module."), LEAVES, "safetensors"),
    ("an older file format", whole_key, LEAVES, "bin"),
    ("every linear layer", whole_key, "all-linear", "safetensors"),
    ("no targets in the settings", whole_key, None, "safetensors"),
]  # fmt: skip


@pytest.mark.parametrize(("reason", "rename", "targets", "file"), FORMS, ids=[row[0] for row in FORMS])
def test_adapter_is_applied_in_full(base, weights, tmp_path, reason, rename, targets, file):
    lora = lora_of(weights, LAYERS)
    folder = write_adapter(tmp_path / "a", base, lora, rename, targets, file)
    check_merged(folder, weights, lora, lambda layer: 8 / 4)


def test_rank_and_alpha_of_single_layers_are_those_of_the_training(base, weights, tmp_path):
    """Patterns are over the names of the model that was wrapped."""
    wide = [layer for layer in LAYERS if "layers.1." in layer]
    lora = lora_of(weights, LAYERS[:7]) | lora_of(weights, wide, rank=6)
    folder = write_adapter(
        tmp_path / "a", base, lora, whole_key, LEAVES,
        rank_pattern={r"thinker\.model\.layers\.1\..*": 6}, alpha_pattern={"thinker.model.layers.0.mlp.up_proj": 20},
    )  # fmt: skip

    def scale(layer: str) -> float:
        return 20 / 4 if layer == "model.layers.0.mlp.up_proj" else 8 / (6 if layer in wide else 4)

    check_merged(folder, weights, lora, scale)


def test_rank_stabilised_scale(base, weights, tmp_path):
    lora = lora_of(weights, LAYERS)
    folder = write_adapter(tmp_path / "a", base, lora, whole_key, LEAVES, use_rslora=True)
    check_merged(folder, weights, lora, lambda layer: 8 / 4**0.5)


def test_some_layers_where_the_settings_say_so(base, weights, tmp_path):
    lora = lora_of(weights, LAYERS[7:])
    folder = write_adapter(tmp_path / "a", base, lora, whole_key, LEAVES, layers_to_transform=[1])
    check_merged(folder, weights, lora, lambda layer: 2)
    check_merged(
        write_adapter(tmp_path / "b", base, lora, peft_key, r"model\.layers\.1\..*proj"), weights, lora, lambda _: 2
    )


def test_layers_of_towers_and_the_head(base, weights, tmp_path):
    layers = ["lm_head", "audio_tower.proj", "audio_tower.layers.0.fc1"]
    lora = lora_of(weights, layers)
    folder = write_adapter(tmp_path / "a", base, lora, whole_key, ["lm_head", "proj", "fc1"])
    check_merged(folder, weights, lora, lambda layer: 2)


@pytest.mark.parametrize("place", ["", "modules_to_save.", "modules_to_save.default."])
def test_weights_trained_in_full_replace_the_base(base, weights, tmp_path, place):
    head = torch.randn_like(weights["lm_head.weight"])
    lora = lora_of(weights, LAYERS)
    folder = write_adapter(tmp_path / "a", base, lora, whole_key, LEAVES, modules_to_save=["lm_head"])
    file = folder / "adapter_model.safetensors"
    save_file(load_file(file) | {f"base_model.model.thinker.lm_head.{place}weight": head}, file)
    check_merged(folder, weights, lora, lambda layer: 2, {"lm_head.weight": head})


@pytest.mark.parametrize(
    "more", [{"use_dora": True}, {"use_rslora": True, "use_dora": True}, {"init_lora_weights": "gaussian"}]
)
def test_adapter_that_peft_saved_gives_what_peft_computes(base, tmp_path, more):
    model = Qwen2_5OmniThinkerForConditionalGeneration.from_pretrained(base)
    peft_model = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules=REGEX, **more))
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in peft_model.named_parameters():
            if "lora_" in name:
                parameter.add_(torch.randn_like(parameter) * 0.3)
    peft_model.save_pretrained(tmp_path / "a")
    ids = torch.arange(40, 60).unsqueeze(0)
    with torch.no_grad():
        expected = peft_model(input_ids=ids).logits
        merged = load_thinker(find_checkpoint(str(tmp_path / "a")), torch.float32)(input_ids=ids).logits
        plain = load_thinker(find_checkpoint(str(base)), torch.float32)(input_ids=ids).logits
    assert torch.allclose(merged, expected, atol=1e-3)
    assert not torch.allclose(plain, expected, atol=1e-1)


def test_merged_thinker_can_be_trained_in_full(base, weights, tmp_path):
    folder = write_adapter(tmp_path / "a", base, lora_of(weights, LAYERS), whole_key, LEAVES)
    model = load_thinker(find_checkpoint(str(folder)), torch.float32)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_base_may_be_a_thinker_alone(base, weights, tmp_path):
    Qwen2_5OmniThinkerForConditionalGeneration.from_pretrained(base).save_pretrained(tmp_path / "thinker")
    lora = lora_of(weights, LAYERS)
    folder = write_adapter(tmp_path / "a", tmp_path / "thinker", lora, whole_key, LEAVES)
    check_merged(folder, weights, lora, lambda layer: 2)


def test_relative_base_counts_from_here_and_from_the_adapter(base, weights, tmp_path, monkeypatch):
    shutil.copytree(base, tmp_path / "models" / "base")
    lora = lora_of(weights, LAYERS)
    folder = write_adapter(tmp_path / "models" / "adapter", "base", lora, whole_key, LEAVES)
    assert find_checkpoint(str(folder)).base == str(tmp_path / "models" / "base")
    monkeypatch.chdir(tmp_path)
    other = write_adapter(tmp_path / "elsewhere" / "adapter", "models/base", lora, whole_key, LEAVES)
    assert find_checkpoint(str(other)).base == "models/base"
    check_merged(other, weights, lora, lambda layer: 2)


BAD_ADAPTERS = [
    ("a layer that the thinker has not", lambda lora: {**lora, "talker.model.x.lora_A": torch.ones(4, 8),
     "talker.model.x.lora_B": torch.ones(8, 4)}, {},
     "{a}: 2 of the adapter's 32 keys belong to no layer of the thinker: base_model.model.talker.model.x.lora_A.weight, "
     "base_model.model.talker.model.x.lora_B.weight"),
    ("a key of another kind", lambda lora: {**lora, "model.layers.0.mlp.up_proj.lora_E": torch.ones(3)}, {},
     "{a}: 1 of the adapter's 31 keys belong to no layer of the thinker: "
     "base_model.model.model.layers.0.mlp.up_proj.lora_E.weight"),
    ("A without B", lambda lora: {k: v for k, v in lora.items() if k != "lm_head.lora_B"}, {},
     "{a}: the adapter has base_model.model.lm_head.lora_A.weight and no base_model.model.lm_head.lora_B.weight"),
    ("B without A", lambda lora: {k: v for k, v in lora.items() if k != "lm_head.lora_A"}, {},
     "{a}: the adapter has base_model.model.lm_head.lora_B.weight and no base_model.model.lm_head.lora_A.weight"),
    ("a layer less than it targets", lambda lora: {k: v for k, v in lora.items() if "layers.1.mlp.up" not in k}, {},
     "{a}: the adapter lacks 1 layers that it targets: model.layers.1.mlp.up_proj"),
    ("half of the layers", lambda lora: {k: v for k, v in lora.items() if "layers.1" not in k}, {"targets": REGEX},
     "{a}: the adapter lacks 7 layers that it targets: model.layers.1.mlp.down_proj, model.layers.1.mlp.gate_proj, "
     "model.layers.1.mlp.up_proj, ..."),
    ("rank of the settings", lambda lora: lora, {"r": 8},
     "{a}: base_model.model.lm_head.lora_A.weight has shape (4, 32), base and "
     "adapter_config.json ask for (8, 32)"),
    ("base of another size", lambda lora: {k: torch.cat([v, v], 1) if k.endswith("A") else v for k, v in lora.items()}, {},
     "{a}: base_model.model.lm_head.lora_A.weight has shape (4, 64), base and "
     "adapter_config.json ask for (4, 32)"),
    ("magnitudes missing", lambda lora: lora, {"use_dora": True},
     "{a}: settings and weights of the adapter differ in base_model.model.lm_head.lora_magnitude_vector, "
     "base_model.model.model.layers.0.mlp.down_proj.lora_magnitude_vector, "
     "base_model.model.model.layers.0.mlp.gate_proj.lora_magnitude_vector, ..."),
    ("weights of modules_to_save missing", lambda lora: lora, {"modules_to_save": ["audio_tower.proj"]},
     "{a}: modules_to_save names 'audio_tower.proj', and the adapter has no weights for it"),
    ("no keys at all", lambda lora: {"x": torch.ones(1)}, {},
     "{a}: no LoRA weights in the adapter, its keys are base_model.model.x.weight"),
    ("another method", lambda lora: lora, {"peft_type": "IA3"}, "{a}: adapter of type 'IA3', only 'LORA' can be merged"),
    ("no method", lambda lora: lora, {"peft_type": None}, "{a}: adapter of type None, only 'LORA' can be merged"),
    ("a start that changes the base", lambda lora: lora, {"init_lora_weights": "pissa_niter_16"},
     "{a}: init_lora_weights 'pissa_niter_16' changes the base's weights too; merge the adapter with the program that "
     "trained it and give the merged folder"),
    ("a variant", lambda lora: lora, {"use_qalora": True},
     "{a}: adapter_config.json has use_qalora True, which cannot be merged here; merge it with its trainer"),
    ("a variant of the future", lambda lora: lora, {"use_xlora2": {"k": 1}},
     "{a}: adapter_config.json has use_xlora2 {{'k': 1}}, which cannot be merged here; merge it with its trainer"),
    ("biases trained beside the LoRA", lambda lora: lora, {"lora_bias": True},
     "{a}: adapter_config.json has lora_bias True, which cannot be merged here; merge it with its trainer"),
    ("layers copied", lambda lora: lora, {"layer_replication": [[0, 2]]},
     "{a}: adapter_config.json has layer_replication [[0, 2]], which cannot be merged here; merge it with its trainer"),
    ("tokens trained", lambda lora: lora, {"trainable_token_indices": [3]},
     "{a}: adapter_config.json has trainable_token_indices [3], which cannot be merged here; merge it with its trainer"),
    ("base not on this machine", lambda lora: lora, {"base_model_name_or_path": "/gone/Qwen2___5-Omni-7B"},
     "{a}: the adapter's base model /gone/Qwen2___5-Omni-7B is not on this machine; write its folder or Hub id into "
     "{a}/adapter_config.json as base_model_name_or_path"),
    ("a relative base that is not there", lambda lora: lora, {"base_model_name_or_path": "../base/of/old"},
     "{a}: the adapter's base model ../base/of/old is not on this machine; write its folder or Hub id into "
     "{a}/adapter_config.json as base_model_name_or_path"),
    ("no base", lambda lora: lora, {"base_model_name_or_path": None},
     "{a}: the adapter names no base model; write it into {a}/adapter_config.json as base_model_name_or_path"),
    ("a base that is no text", lambda lora: lora, {"base_model_name_or_path": ["x"]},
     "{a}: the adapter names no base model; write it into {a}/adapter_config.json as base_model_name_or_path"),
]  # fmt: skip


@pytest.mark.parametrize(("reason", "spoil", "settings", "message"), BAD_ADAPTERS, ids=[row[0] for row in BAD_ADAPTERS])
def test_adapter_that_cannot_be_applied_in_full_is_one_line(base, weights, tmp_path, reason, spoil, settings, message):
    lora = spoil(lora_of(weights, [*LAYERS, "lm_head"]))
    folder = write_adapter(tmp_path / "a", base, lora, peft_key, **({"targets": LEAVES} | settings))
    check_refused(folder, message.format(a=folder))


def check_refused(folder: Path, message: str) -> None:
    with pytest.raises(InputError) as caught:
        checkpoint = find_checkpoint(str(folder))
        load_model_config(checkpoint.full_model)
        load_processor(checkpoint)
        load_thinker(checkpoint, torch.float32)
    assert str(caught.value) == message
    assert "\n" not in str(caught.value)


def test_incomplete_adapter_files_are_refused(base, weights, tmp_path):
    folder = write_adapter(tmp_path / "a", base, lora_of(weights, LAYERS), peft_key, LEAVES)
    file = folder / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    check_refused(
        folder, f"{file}: cannot be read (Error while deserializing header: incomplete metadata, file not fully covered)"
    )
    file.unlink()
    check_refused(folder, f"{folder}: no adapter_model.safetensors in it")
    (folder / "adapter_model.bin").write_bytes(b"x" * 99)
    check_refused(folder, f"{folder}/adapter_model.bin: cannot be read (not a file of tensors)")
    (folder / "adapter_config.json").write_text("[]")
    check_refused(folder, f"{folder}/adapter_config.json: expected an object, got '[]'")


def test_adapter_on_an_adapter_is_refused(base, weights, tmp_path):
    first = write_adapter(tmp_path / "a", base, lora_of(weights, LAYERS), peft_key, LEAVES)
    second = write_adapter(tmp_path / "b", first, lora_of(weights, LAYERS), peft_key, LEAVES)
    check_refused(second, f"{second}: the adapter's base model {first} is an adapter itself; merge that one first")


def test_adapter_under_zero_3_is_refused(base, weights, tmp_path, monkeypatch):
    folder = write_adapter(tmp_path / "a", base, lora_of(weights, LAYERS), peft_key, LEAVES)
    monkeypatch.setattr("omni_clst.model.checkpoints.is_deepspeed_zero3_enabled", lambda: True)
    check_refused(folder, f"{folder}: under ZeRO-3 no adapter can be merged while loading; merge it first")


def test_adapter_in_a_folder_below_is_named(base, weights, tmp_path):
    write_adapter(tmp_path / "out" / "sft", base, lora_of(weights, LAYERS), peft_key, LEAVES)
    check_refused(
        tmp_path / "out", f"{tmp_path}/out: neither config.json nor adapter_config.json in it, but in sft below it"
    )
