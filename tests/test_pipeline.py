"""The embedded world's pipeline: what each step hands to its entry point, and how values are written on a command line."""

from pathlib import Path

import pytest

from omni_clst.demo import pipeline
from omni_clst.demo.pipeline import World, as_argument
from omni_clst.settings import load_config
from omni_clst.training.config import SFTConfig


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "none"),
        (True, "true"),
        (3.0e-4, "0.0003"),
        (["a", "b"], "a,b"),
        ({"accuracy": 2.0, "format": 1.0}, "{accuracy: 2.0, format: 1.0}"),
        (Path("/x/y"), "/x/y"),
    ],
)
def test_values_are_written_as_a_command_line_has_them(value, text):
    assert as_argument(value) == text


@pytest.fixture
def calls(monkeypatch) -> list:
    made: list = []
    monkeypatch.setattr(pipeline, "run", lambda entry, settings, subcommand=None: made.append((entry, dict(settings))))
    return made


def test_settings_of_a_step_override_its_yaml_and_its_start(tmp_path, calls):
    world = World(tmp_path, "1", {"pretrain_steps": 5})
    world.supervised("guided", {"mode": "guided"}, {"config": tmp_path / "own.yaml", "max_steps": 7})
    world.reinforced("guided", "grpo_a", tmp_path / "model", {"train_file": tmp_path / "t.jsonl"}, {"order": "shuffled"})
    entries = [entry for entry, _ in calls]
    assert entries == ["demo", "curriculum", "sft", "infer", "grpo", "infer"]
    settings = [settings for _, settings in calls]
    assert settings[0] == {"out": tmp_path, "seed": "1", "pretrain_steps": 5}
    assert settings[1]["mode"] == "guided"
    assert (settings[2]["config"], settings[2]["max_steps"]) == (tmp_path / "own.yaml", 7)
    assert (settings[4]["run_name"], settings[4]["order"]) == ("grpo_a", "shuffled")
    assert settings[5]["model"] == tmp_path / "guided" / "grpo_a"


def test_a_finished_curriculum_is_not_made_again(tmp_path, calls):
    world = World(tmp_path, "0")
    (tmp_path / "guided").mkdir()
    (tmp_path / "guided" / "CLST.jsonl").touch()
    files = world.curriculum("guided", tmp_path / "model")
    assert [entry for entry, _ in calls] == ["demo"]
    assert files["train_file"] == tmp_path / "guided" / "CLST.jsonl"


def test_written_arguments_are_read_back(tmp_path):
    rewards = {"max_steps": 7, "lora_rank": 8, "valid_file": None, "learning_rate": 1.0e-6}
    words = [f"--{key}={as_argument(value)}" for key, value in rewards.items()]
    (tmp_path / "t.jsonl").touch()
    config = load_config(SFTConfig, [*words, "--model=a/b", f"--train_file={tmp_path / 't.jsonl'}"])
    assert {key: getattr(config, key) for key in rewards} == rewards
