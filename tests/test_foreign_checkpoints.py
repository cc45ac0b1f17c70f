"""Model folders of other programs: loaded in full, or one line that names what is missing."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_world import make_base, write_mmau, write_train_file
from transformers import Qwen2_5OmniThinkerForConditionalGeneration

import answer
import grpo
import infer
import sft
from omni_clst.errors import InputError
from omni_clst.model.checkpoints import find_checkpoint, load_model_config, load_processor, load_thinker, read_prompt
from omni_clst.model.model_files import PROCESSOR_FILES


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return make_base(tmp_path_factory.mktemp("foreign") / "base")


@pytest.fixture(scope="module")
def weights(base):
    """The base's weights by the thinker's own names."""
    return {name.removeprefix("thinker."): tensor for name, tensor in load_file(base / "model.safetensors").items()}


def thinker_alone(folder: Path, base: Path, *left_out: str) -> Path:
    """As `save_pretrained` of the released thinker class writes it, with or without the processor's files."""
    Qwen2_5OmniThinkerForConditionalGeneration.from_pretrained(base).save_pretrained(folder)
    for name in PROCESSOR_FILES:
        if (base / name).exists() and name not in left_out:
            shutil.copy(base / name, folder / name)
    return folder


def copy_of(folder: Path, base: Path, *left_out: str) -> Path:
    """A whole folder that did not come from here: without our marker and prompt."""
    return shutil.copytree(base, folder, ignore=shutil.ignore_patterns("COMPLETE", "prompt.json", *left_out))


def change_config(folder: Path, **changes: object) -> Path:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    return folder


def rename_weights(folder: Path, rename: Callable[[str], str]) -> Path:
    file = folder / "model.safetensors"
    save_file({rename(name): tensor for name, tensor in load_file(file).items()}, file, metadata={"format": "pt"})
    return folder


def shard(folder: Path, left_out: int | None = None) -> Path:
    """Weights in three files under an index, one of them perhaps missing."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    weight_map = {}
    for number in range(3):
        file = f"model-{number + 1:05d}-of-00003.safetensors"
        names = sorted(tensors)[number::3]
        weight_map |= dict.fromkeys(names, file)
        if number != left_out:
            save_file({name: tensors[name] for name in names}, folder / file, metadata={"format": "pt"})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return folder


def beside(folder: Path, **files: str) -> Path:
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(content)
    return folder


GOOD_FOLDERS = {
    "a thinker alone": lambda f, base: thinker_alone(f, base),
    "a thinker alone that names its base": lambda f, base: change_config(
        thinker_alone(f, base, *PROCESSOR_FILES), _name_or_path=str(base)),
    "a thinker's weights under the full config": lambda f, base: rename_weights(
        copy_of(f, base), lambda name: name.removeprefix("thinker.")),
    "full names under a thinker's config": lambda f, base: rename_weights(
        thinker_alone(f, base), lambda name: f"thinker.{name}"),
    "shards": lambda f, base: shard(copy_of(f, base)),
    "a checkpoint-N of another trainer": lambda f, base: copy_of(f / "checkpoint-500", base),
    "a trainer's state beside the model": lambda f, base: beside(copy_of(f, base), trainer_state__json="{}"),
    "a config.yaml above, not of a run": lambda f, base: beside(
        copy_of(f / "checkpoint-500", base).parent, config__yaml="x: 1") / "checkpoint-500",
    "no talker where the config promises one": lambda f, base: change_config(copy_of(f, base), enable_audio_output=True),
    "an older name of the dtype": lambda f, base: change_config(copy_of(f, base), torch_dtype="float32", dtype=None),
    "generation settings of its own": lambda f, base: beside(
        copy_of(f, base), generation_config__json='{"temperature": 0.3, "repetition_penalty": 1.5, "x": 1}'),
    "a chat template in the tokenizer's settings": lambda f, base: beside(
        copy_of(f, base, "chat_template.jinja", "tokenizer_config.json"),
        tokenizer_config__json=json.dumps(json.loads((base / "tokenizer_config.json").read_text())
                                          | {"chat_template": (base / "chat_template.jinja").read_text()})),
}  # fmt: skip


@pytest.mark.parametrize("reason", GOOD_FOLDERS)
def test_folder_of_another_program_is_taken(base, weights, tmp_path, reason):
    folder = GOOD_FOLDERS[reason](tmp_path / "f", base)
    checkpoint = find_checkpoint(str(folder))
    config, expected = load_model_config(checkpoint.full_model), load_model_config(str(base))
    assert config.model_type == "qwen2_5_omni"
    for part in ("text_config", "audio_config", "vision_config"):
        assert getattr(config.thinker_config, part).to_dict() == getattr(expected.thinker_config, part).to_dict()
    assert load_processor(checkpoint).tokenizer("what sound comes first ?").input_ids
    model = load_thinker(checkpoint, torch.float32)
    assert {name: tensor.sum() for name, tensor in model.state_dict().items()} == {
        name: tensor.sum() for name, tensor in weights.items()
    }
    assert model.generation_config.repetition_penalty in (None, 1.0)


def test_weights_in_bfloat16_are_taken_in_the_dtype_asked_for(base, weights, tmp_path):
    folder = copy_of(tmp_path / "f", base)
    save_file({f"thinker.{k}": v.bfloat16() for k, v in weights.items()}, folder / "model.safetensors", {"format": "pt"})
    change_config(folder, dtype="bfloat16")
    for dtype in (torch.float32, torch.bfloat16):
        model = load_thinker(find_checkpoint(str(folder)), dtype)
        assert model.lm_head.weight.dtype == dtype
        assert torch.equal(model.lm_head.weight.float(), weights["lm_head.weight"].bfloat16().float())


def test_what_a_folder_lacks_is_said_in_one_line(base, tmp_path, capsys):
    folder = change_config(thinker_alone(tmp_path / "f", base, *PROCESSOR_FILES), _name_or_path=str(base))
    load_processor(find_checkpoint(str(folder)))
    assert capsys.readouterr().out == (
        f"{folder}: the thinker alone; checkpoints trained from it are saved in the full Omni layout; "
        f"tokenizer and processor are taken from {base}\n"
    )
    load_processor(find_checkpoint(str(base)))
    assert capsys.readouterr().out == ""


NO_PROCESSOR = "copy them from the model that it was trained from, such as Qwen/Qwen2.5-Omni-7B"
BAD_FOLDERS = {
    "no processor's files": (lambda f, base: thinker_alone(f, base, *PROCESSOR_FILES),
        "{f}: no tokenizer.json and tokenizer_config.json, no preprocessor_config.json, no chat_template.jinja in it; "
        + NO_PROCESSOR),
    "no tokenizer": (lambda f, base: copy_of(f, base, "tokenizer.json"),
        "{f}: no tokenizer.json and tokenizer_config.json in it; " + NO_PROCESSOR),
    "no features": (lambda f, base: copy_of(f, base, "processor_config.json"),
        "{f}: no preprocessor_config.json in it; " + NO_PROCESSOR),
    "no chat template": (lambda f, base: copy_of(f, base, "chat_template.jinja"),
        "{f}: no chat_template.jinja in it; " + NO_PROCESSOR),
    "an origin without them either": (lambda f, base: change_config(
        thinker_alone(f, base, "tokenizer.json"), _name_or_path=str(copy_of(f.parent / "o", base, "tokenizer.json"))),
        "{f}: no tokenizer.json and tokenizer_config.json in it; " + NO_PROCESSOR),
    "an origin on another machine": (lambda f, base: change_config(
        thinker_alone(f, base, "tokenizer.json"), _name_or_path="/mnt/models/omni"),
        "{f}: no tokenizer.json and tokenizer_config.json in it; " + NO_PROCESSOR),
    "a broken tokenizer_config.json": (lambda f, base: beside(copy_of(f, base), tokenizer_config__json="{"),
        "{f}/tokenizer_config.json:1: not JSON (Expecting property name enclosed in double quotes)"),
    "a shard less": (lambda f, base: shard(copy_of(f, base), left_out=1),
        "{f}: 1 of 3 shards are missing: model-00002-of-00003.safetensors"),
    "an index without a map": (lambda f, base: beside(copy_of(f, base), model__safetensors__index__json="{}"),
        "{f}/model.safetensors.index.json: no weight_map in it"),
    "shards without their index": (lambda f, base: (shard(copy_of(f, base)) / "model.safetensors.index.json").unlink()
        or f, "{f}: neither model.safetensors nor model.safetensors.index.json in it, only "
        "model-00001-of-00003.safetensors, model-00002-of-00003.safetensors, model-00003-of-00003.safetensors"),
    "pytorch_model.bin": (lambda f, base: beside(copy_of(f, base, "model.safetensors"), pytorch_model__bin="x"),
        "{f}: its weights are pytorch_model.bin, only *.safetensors is read; convert them with transformers' "
        "from_pretrained and save_pretrained"),
    "DeepSpeed's shards": (lambda f, base: beside(copy_of(f, base, "model.safetensors"), zero_to_fp32__py=""),
        "{f}: DeepSpeed's shards instead of weights; run `python zero_to_fp32.py . . --safe_serialization` there"),
    "a Git LFS pointer": (lambda f, base: beside(
        copy_of(f, base), model__safetensors="version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"),
        "{f}/model.safetensors: a Git LFS pointer, not the weights; `git lfs pull` fetches them"),
    "another model type": (lambda f, base: change_config(copy_of(f, base), model_type="qwen2_5_omni_talker"),
        "{f}: model type 'qwen2_5_omni_talker' is none of the bases: Qwen2.5-Omni (qwen2_5_omni), "
        "Qwen2-Audio (qwen2_audio), Qwen3-Omni (qwen3_omni_moe)"),
    "a model type that nobody knows": (lambda f, base: change_config(copy_of(f, base), model_type="omni3"),
        "{f}: cannot be loaded, here or from the Hub (The checkpoint you are trying to load has model type `omni3` but "
        "Transformers does not recognize this architecture. This could be because of an issue with the checkpoint, or "
        "because your version of Transformers is out of date.)"),
    "quantised weights": (lambda f, base: change_config(copy_of(f, base), quantization_config={"quant_method": "gptq"}),
        "{f}: its weights are quantised (gptq); start from weights that are not"),
    "a list as config.json": (lambda f, base: beside(copy_of(f, base), config__json="[1]"),
        "{f}/config.json: expected an object, got '[1]'"),
    "weights missing": (lambda f, base: rename_weights(copy_of(f, base), lambda name: name.replace("lm_head", "head")),
        "{f}: 1 weights are missing (lm_head.weight, ...)"),
    "a prompt.json of another program": (lambda f, base: beside(copy_of(f, base), prompt__json='{"text": "hi"}'),
        "{f}/prompt.json: not a prompt of this project (its keys are ['text']); rename or remove it"),
    "a chosen.json of another program": (lambda f, base: beside(copy_of(f, base), chosen__json='{"x": 1}'),
        "{f}/chosen.json: names no checkpoint"),
    "nothing": (lambda f, base: f.mkdir() or f, "{f}: neither config.json nor adapter_config.json in it"),
    "an incomplete checkpoint of a run": (lambda f, base: beside(
        copy_of(f / "checkpoint-500", base).parent, config__yaml="x: 1", environment__json="{}") / "checkpoint-500",
        "{f}: incomplete checkpoint (no file COMPLETE: the run ended while writing it); give an earlier one"),
}  # fmt: skip


@pytest.mark.parametrize("reason", BAD_FOLDERS)
def test_folder_that_cannot_be_taken_is_one_line(base, tmp_path, reason):
    make, message = BAD_FOLDERS[reason]
    folder = make(tmp_path / "f", base)
    with pytest.raises(InputError) as caught:
        checkpoint = find_checkpoint(str(folder))
        load_model_config(checkpoint.full_model)
        load_processor(checkpoint)
        read_prompt(checkpoint)
        load_thinker(checkpoint, torch.float32)
    assert str(caught.value) == message.format(f=folder)


@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_training_from_a_thinker_alone_ends_in_the_full_layout(base, tmp_path, tuning):
    """What vLLM loads: the whole model's config, `thinker.` in front of every weight, the processor's files."""
    write_train_file(tmp_path, 4)
    write_mmau(tmp_path / "data", 2)
    folder = change_config(thinker_alone(tmp_path / "thinker", base, *PROCESSOR_FILES), _name_or_path=str(base))
    settings = {
        "model": folder, "train_file": tmp_path / "train.jsonl", "runs_dir": tmp_path, "run_name": "run", "device": "cpu",
        "tuning": tuning, "max_steps": 1, "save_steps": 1, "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 1,
        "gradient_checkpointing": "false", "dataloader_num_workers": 0, "report_to": "none", "prompt": "demo_selective",
    }  # fmt: skip
    sft.main([f"--{key}={value}" for key, value in settings.items()])
    saved = [tmp_path / "run" / "merged"] + ([tmp_path / "run" / "checkpoint-1"] if tuning == "full" else [])
    for out in saved:
        config = json.loads((out / "config.json").read_text())
        assert (config["model_type"], config["architectures"]) == ("qwen2_5_omni", ["Qwen2_5OmniModel"])
        assert all(name.startswith("thinker.") for name in load_file(out / "model.safetensors"))
        assert (out / "tokenizer.json").read_bytes() == (base / "tokenizer.json").read_bytes()
    for model in (folder, *saved):
        out = tmp_path / "out" / model.name
        infer.main([
            f"--{key}={value}" for key, value in {
                "model": model, "data_root": tmp_path / "data", "benchmarks": "mmau-mini", "output": out, "device": "cpu",
                "max_new_tokens": 2, "num_workers": 0, "prompt": "demo_direct",
            }.items()
        ])  # fmt: skip
        assert json.loads((out / "mmau-mini" / "scores.json").read_text())["answered"] == 2


def test_every_stage_takes_a_thinker_alone(base, tmp_path):
    write_train_file(tmp_path, 4)
    folder = change_config(thinker_alone(tmp_path / "thinker", base, *PROCESSOR_FILES), _name_or_path=str(base))
    shared = {"model": folder, "device": "cpu", "prompt": "demo_selective"}
    answers = {
        "samples": tmp_path / "train.jsonl",
        "answers_dir": tmp_path / "answers",
        "max_new_tokens": 2,
        "num_workers": 0,
    }
    answer.main([f"--{key}={value}" for key, value in (shared | answers).items()])
    assert len((tmp_path / "answers" / "answers.jsonl").read_text().splitlines()) == 4
    training = {
        "train_file": tmp_path / "train.jsonl", "runs_dir": tmp_path, "num_generations": 2, "max_steps": 1, "save_steps": 1,
        "per_device_train_batch_size": 2, "max_completion_length": 3, "dataloader_num_workers": 0, "report_to": "none",
        "beta": 0, "gradient_checkpointing": "false",
    }  # fmt: skip
    grpo.main([f"--{key}={value}" for key, value in (shared | training).items()])
    saved = find_checkpoint(str(tmp_path / "clst_15k"))
    assert load_model_config(saved.source).to_dict()["architectures"] == ["Qwen2_5OmniModel"]
    assert (Path(saved.source) / "tokenizer.json").read_bytes() == (base / "tokenizer.json").read_bytes()
