"""Settings of the library's trainers: every one is sorted, passed-on ones have an effect, others are one-line errors."""

import json
from dataclasses import fields
from pathlib import Path

import pytest
import torch
import yaml
from tiny_world import make_base, write_train_file
from transformers import TrainingArguments
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK
from transformers.training_args import OptimizerNames
from trl import GRPOConfig

import sft
from omni_clst.errors import InputError
from omni_clst.grpo.config import CLSTConfig
from omni_clst.grpo.settings import CORRECTION
from omni_clst.grpo.settings import REFUSED as REFUSED_OF_TRL
from omni_clst.settings import load_config
from omni_clst.training.config import SFTConfig
from omni_clst.training.trainer_settings import (
    KNOWN_ELSEWHERE,
    OPTIMISERS,
    PASSED_ON,
    PASSED_TO_TRL,
    REFUSED,
    REPORTERS,
    SECRET,
    SET_BY_THE_RUN,
    LibrarySetting,
    trainer_keys,
)


def judgements(name: str, ours: set[str]) -> list[str]:
    """In which of the lists a setting of `TrainingArguments` stands."""
    lists = {"ours": ours, "set by the run": SET_BY_THE_RUN, "refused": REFUSED, "passed on": PASSED_ON}
    return [word for word, names in lists.items() if name in names]


def test_every_setting_of_transformers_is_sorted_once():
    ours = set(SFTConfig.model_fields)
    theirs = {f.name for f in fields(TrainingArguments)}
    assert {name: judgements(name, ours) for name in theirs if len(judgements(name, ours)) != 1} == {}
    assert theirs >= {*SET_BY_THE_RUN, *REFUSED, *PASSED_ON} - {"reward_weights", "shuffle_dataset"}


def test_every_setting_of_trl_is_sorted_once():
    ours = set(CLSTConfig.model_fields)
    more = {f.name for f in fields(GRPOConfig)} - {f.name for f in fields(TrainingArguments)}
    other_vllm = {name for name in more if name.startswith("vllm_")} - CORRECTION  # all refused
    lists = [ours, SET_BY_THE_RUN, REFUSED_OF_TRL, PASSED_TO_TRL, CORRECTION, other_vllm]
    counts = {name: sum(name in names for names in lists) for name in more}
    assert {name: count for name, count in counts.items() if count != 1} == {}
    assert not set(REFUSED_OF_TRL) & set(REFUSED)


def test_no_known_name_of_other_programs_is_a_setting():
    ours = SFTConfig.model_fields.keys() | CLSTConfig.model_fields.keys()
    assert not KNOWN_ELSEWHERE.keys() & (ours | {f.name for f in fields(GRPOConfig)})


NEEDS_SETTINGS_THAT_ARE_REFUSED = {  # optim_args, optim_target_modules, or hardware that nothing here runs on
    "adamw_torch_xla", "adamw_torch_npu_fused", "adamw_anyprecision", "galore_adamw", "galore_adamw_8bit",
    "galore_adafactor", "galore_adamw_layerwise", "galore_adamw_8bit_layerwise", "galore_adafactor_layerwise", "lomo",
    "adalomo", "grokadamw", "apollo_adamw", "apollo_adamw_layerwise", "stable_adamw",
}  # fmt: skip


def test_every_optimiser_and_tracker_is_known():
    assert {name.value for name in OptimizerNames} == OPTIMISERS.keys() | NEEDS_SETTINGS_THAT_ARE_REFUSED
    assert INTEGRATION_TO_CALLBACK.keys() | {"none", "all"} == REPORTERS.keys()


TYPES = [
    ("1e-4", float, 1e-4),
    ("3", float, 3),
    (0.5, float, 0.5),
    ("3", int, 3),
    (3.0, int, 3),
    ("true", bool, True),
    (False, bool, False),
    ("cosine", str, "cosine"),
    ("none", str, "none"),
    ("none", str | None, None),
    (None, int | None, None),
    ("{min_lr: 1.0e-5}", dict | str | None, {"min_lr": 1e-5}),
    (7, int | None, 7),
]


@pytest.mark.parametrize(("value", "kind", "expected"), TYPES, ids=str)
def test_value_takes_the_type_of_its_field(value, kind, expected):
    result = LibrarySetting(kind).read(value)
    assert (result, type(result)) == (expected, type(expected))


WRONG_TYPES = [
    ("many", float), ([1], float), ({"a": 1}, int), (8.7, int), ("8.7", int), ("nan", float), (float("inf"), float),
    (True, int), (True, float), ("maybe", bool), (1, bool), (None, int), ([1], str), (True, str), ("[1]", dict | None),
    ("5", dict | str | None),
]  # fmt: skip


@pytest.mark.parametrize(("value", "kind"), WRONG_TYPES, ids=str)
def test_value_of_another_type_is_refused(value, kind):
    with pytest.raises(ValueError):
        LibrarySetting(kind).read(value)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trainer settings")
    make_base(folder / "base")
    write_train_file(folder, 7)
    return folder


def arguments(world: Path, run_name: str, **changes: object) -> list[str]:
    settings = {
        "model": world / "base", "train_file": world / "train.jsonl", "runs_dir": world / "runs", "run_name": run_name,
        "prompt": "demo_selective", "per_device_train_batch_size": 2, "gradient_accumulation_steps": 1, "max_steps": 5,
        "gradient_checkpointing": "false", "save_steps": 5, "eval_steps": 5, "logging_steps": 1,
        "dataloader_num_workers": 0, "learning_rate": 0.01, "device": "cpu", "report_to": "none", "merge": "false",
    } | changes  # fmt: skip
    return [f"--{key}={value}" for key, value in settings.items()]


def curves(world: Path, run_name: str, **changes: object) -> dict[str, list[float]]:
    """Losses, learning rates and evaluations of a short run by step."""
    sft.main(arguments(world, run_name, **changes))
    rows = [json.loads(line) for line in (world / "runs" / run_name / "metrics.jsonl").read_text().splitlines()]
    names = ("loss", "learning_rate", "eval_loss")
    return {name: [(row["step"], row[name]) for row in rows if name in row] for name in names}


@pytest.fixture(scope="module")
def plain(world):
    return curves(world, "plain", valid_file=world / "train.jsonl")


WITH_AN_EFFECT = {  # setting: (value, what it changes)
    "lr_scheduler_type": ("constant", "learning_rate"),
    "lr_scheduler_kwargs": ("{min_lr: 0.005}", "learning_rate"),
    "optim": ("sgd", "loss"),
    "weight_decay": (50, "loss"),
    "adam_beta1": (0.1, "loss"),
    "adam_beta2": (0.1, "loss"),
    "adam_epsilon": (1.0, "loss"),
    "max_grad_norm": (1e-9, "loss"),
    "neftune_noise_alpha": (50, "loss"),
    "data_seed": (7, "loss"),
    "dataloader_drop_last": ("true", "loss"),  # 7 rows in batches of 2
    "eval_on_start": ("true", "eval_loss"),
    "eval_delay": (6, "eval_loss"),
}
WITHOUT = {  # how it is computed, on which machine: setting: value
    "tf32": "false",
    "torch_empty_cache_steps": 2,
    "full_determinism": "true",
    "dataloader_pin_memory": "false",
    "dataloader_prefetch_factor": 3,
    "ddp_bucket_cap_mb": 10,
}


def test_every_setting_that_is_passed_on_is_tried():
    assert WITH_AN_EFFECT.keys() | WITHOUT.keys() == PASSED_ON


@pytest.mark.slow
@pytest.mark.parametrize("name", WITH_AN_EFFECT)
def test_setting_that_is_passed_on_has_an_effect(world, plain, name):
    value, changed = WITH_AN_EFFECT[name]
    more = {"lr_scheduler_type": "cosine_with_min_lr"} if name == "lr_scheduler_kwargs" else {}
    found = curves(world, name, valid_file=world / "train.jsonl", **{name: value}, **more)
    assert found[changed] != plain[changed]


@pytest.mark.slow
def test_setting_of_how_to_compute_changes_no_loss_and_reaches_the_trainer(world, plain):
    more = {"dataloader_num_workers": 1} | {name: value for name, value in WITHOUT.items() if name != "tf32"}
    try:
        found = curves(world, "how", valid_file=world / "train.jsonl", **more)
    finally:
        torch.use_deterministic_algorithms(False)  # full_determinism holds for the whole process
    assert dict(found["loss"]) == pytest.approx(dict(plain["loss"]))
    config = load_config(SFTConfig, arguments(world, "x", **WITHOUT), trainer_keys)
    assert config.trainer == {name: trainer_keys()[name].read(value) for name, value in WITHOUT.items()}


@pytest.mark.parametrize("name", REFUSED)
def test_setting_that_would_do_nothing_is_refused_with_its_reason(world, tmp_path, name):
    harmless, reason = REFUSED[name]
    kind = trainer_keys()[name].type
    value = next(v for v in (True, False, 3, "x", {"a": 1}) if fits(v, kind) and v not in harmless)
    file = tmp_path / "c.yaml"  # on the command line --project is another setting
    file.write_text(yaml.safe_dump({name: str(value)}), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load_config(SFTConfig, ["--config", str(file), *arguments(world, "x")], trainer_keys)
    shown = name if name in SECRET else f"{name} {LibrarySetting(kind).read(str(value))!r}"
    assert str(caught.value) == f"{shown} is not supported: {reason}"


def fits(value: object, kind: object) -> bool:
    try:
        LibrarySetting(kind).read(str(value))
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("name", REFUSED)
def test_harmless_value_of_a_refused_setting_is_taken(world, name, tmp_path):
    """As a YAML that lists everything has it."""
    for value in REFUSED[name][0]:
        file = tmp_path / "c.yaml"
        file.write_text(f"{name}: {json.dumps(value)}\n")
        assert load_config(SFTConfig, [*arguments(world, "x"), f"--config={file}"], trainer_keys)


def test_token_is_neither_printed_nor_written(world):
    with pytest.raises(InputError) as caught:
        sft.main(arguments(world, "token", hub_token="hf_secret"))
    assert "hf_secret" not in str(caught.value)
    assert not (world / "runs" / "token").exists()


@pytest.mark.parametrize("name", SET_BY_THE_RUN)
def test_setting_that_the_run_sets_says_what_decides_it(world, name):
    with pytest.raises(InputError) as caught:
        load_config(SFTConfig, arguments(world, "x", **{name: "true"}), trainer_keys)
    assert str(caught.value) == f"command line: {name} cannot be set: {SET_BY_THE_RUN[name]}"


@pytest.mark.parametrize("name", [name for name, package in OPTIMISERS.items() if package])
def test_optimiser_without_its_package_names_it(world, name, monkeypatch):
    monkeypatch.setattr("omni_clst.fields.find_spec", lambda module: None)
    with pytest.raises(InputError) as caught:
        load_config(SFTConfig, arguments(world, "x", optim=name), trainer_keys)
    package = OPTIMISERS[name][1]
    assert str(caught.value) == f"optim {name!r} needs a package that is not installed: pip install {package}"


@pytest.mark.parametrize("name", [name for name, package in REPORTERS.items() if package])
def test_tracker_without_its_package_names_it(world, name, monkeypatch):
    monkeypatch.setattr("omni_clst.fields.find_spec", lambda module: None)
    with pytest.raises(InputError) as caught:
        load_config(SFTConfig, arguments(world, "x", report_to=name), trainer_keys)
    package = REPORTERS[name][1]
    assert str(caught.value) == f"report_to {name!r} needs a package that is not installed: pip install {package}"
