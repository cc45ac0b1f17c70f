"""The published recipes: their YAMLs fit together, and the embedded world runs their idea in the demo's sizes."""

from pathlib import Path

import pytest

from omni_clst.data.prompts import make_prompt
from omni_clst.demo import pipeline
from omni_clst.demo.config import RecipesConfig
from omni_clst.demo.pipeline import World
from omni_clst.demo.recipes import FOLDER, IDEAS, PLACES, PROMPTS, Recipe, demo_values, recipes_of
from omni_clst.errors import InputError
from omni_clst.files import read_yaml
from omni_clst.grpo.config import CLSTConfig
from omni_clst.grpo.settings import grpo_keys
from omni_clst.method.rewards import OF_A_THOUGHT, OF_NO_THOUGHT
from omni_clst.settings import REPOSITORY, load_config

NAMES = ["audiomcq_mixed_to_strong", "audiomcq_weak_to_strong", "ke_omni_r", "omni_clst", "r1_aqa"]
OTHER_SIZES = {"deepspeed", "num_train_epochs"}  # that the demo's YAMLs do not have: without, and steps are given


def recipe(name: str) -> Recipe:
    return Recipe(name, RecipesConfig())


def grpo_prompt(name: str) -> str:
    """The prompt that GRPO of a recipe trains with, that of stage 1 where it says auto."""
    values = [recipe(name).values(stage) for stage in ("grpo", "sft") if recipe(name).file(stage).exists()]
    return next(one["prompt"] for one in values if one.get("prompt", "auto") != "auto")


def test_all_recipes_are_found_and_others_refused():
    assert [one.name for one in recipes_of(RecipesConfig())] == NAMES
    with pytest.raises(InputError, match=r"^recipes 'gone' is not one of audiomcq_mixed_to_strong, "):
        recipes_of(RecipesConfig(recipes=["gone"]))


@pytest.mark.parametrize("name", NAMES)
def test_every_stage_reads_what_the_one_before_writes(name):
    values = {path.stem: read_yaml(str(path)) for path in (FOLDER / name).glob("*.yaml")}
    if "sft" in values:
        assert values["sft"]["train_file"] == f"{values['build_sft']['output']}/train.jsonl"
        assert values["grpo"]["model"] == f"runs/{values['sft']['run_name']}/merged"
    if "build_grpo" in values:
        assert values["grpo"]["train_file"] == f"{values['build_grpo']['output']}/train.jsonl"
    if "build_clst" in values:
        assert values["grpo"]["train_file"] == values["build_clst"]["output"]
        assert values["build_clst"]["base_answers_dir"] == values["build_sft"]["answers_dir"]


@pytest.mark.parametrize("name", NAMES)
def test_prompt_and_rewards_ask_for_the_same_form(name):
    setting = grpo_prompt(name)
    path = REPOSITORY / setting
    rewards = recipe(name).values("grpo")["rewards"].keys()
    for prompt in (str(path) if path.is_file() else setting, PROMPTS[Path(setting).name]):
        asks = make_prompt(prompt, "", asks_for_tags=True).asks_for_thought
        assert not rewards & (OF_NO_THOUGHT if asks else OF_A_THOUGHT), prompt


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_of_a_recipe_is_its_idea_or_has_the_demos_size(name):
    for stage, demo_stage in (("sft", "sft_lora"), ("grpo", "clst")):
        if recipe(name).file(stage).exists():
            known = IDEAS[demo_stage] | PLACES | OTHER_SIZES | {"system_prompt", *demo_values(demo_stage), "prompt"}
            assert recipe(name).values(stage).keys() <= known


@pytest.fixture
def calls(monkeypatch) -> list:
    made: list = []

    def run(entry, settings, subcommand=None):
        made.append((subcommand or entry, dict(settings)))

    monkeypatch.setattr(pipeline, "run", run)
    return made


def config_of_grpo(settings: dict) -> CLSTConfig:
    words = [f"--{key}={pipeline.as_argument(value)}" for key, value in settings.items()]
    return load_config(CLSTConfig, words, grpo_keys, needs_files=False)


@pytest.mark.parametrize("name", NAMES)
def test_grpo_on_the_embedded_world_has_the_recipes_idea_and_the_demos_sizes(name, tmp_path, calls):
    world = World(tmp_path, "0")
    recipe(name).run(world)
    config = config_of_grpo(dict(calls)["grpo"])
    published = recipe(name).values("grpo")
    ideas = {key: value for key, value in published.items() if key in IDEAS["clst"] and key in CLSTConfig.model_fields}
    assert {key: getattr(config, key) for key in ideas} == ideas
    assert config.trainer.get("lr_scheduler_type") == published.get("lr_scheduler_type")
    assert (config.tuning, config.deepspeed, config.max_steps) == ("lora", None, 90)
    assert config.per_device_train_batch_size == 8 * published["num_generations"]
    assert Path(config.train_file).is_relative_to(tmp_path)


def test_steps_of_each_recipe_on_the_embedded_world(tmp_path, calls):
    steps = {}
    for name in NAMES:
        calls.clear()
        recipe(name).run(World(tmp_path / name, "0"))
        steps[name] = [entry for entry, _ in calls]
    alone = ["demo", "sft", "sft", "infer", "sft", "grpo", "infer"]  # sft: the selection of samples, and the training
    silence = ["demo", "answer", "sft", "sft", "infer", "answer", "sft", "grpo", "infer"]
    assert steps["ke_omni_r"] == steps["r1_aqa"] == alone
    assert steps["audiomcq_weak_to_strong"] == steps["audiomcq_mixed_to_strong"] == silence
    assert steps["omni_clst"] == ["demo", "sft", "sft", "infer", "answer", "clst", "grpo", "infer"]


def test_curriculum_has_the_demos_sizes_and_the_recipes_mix(tmp_path, calls):
    recipe("omni_clst").run(World(tmp_path, "0"))
    settings = dict(calls)["clst"]
    assert (settings["size"], settings["valid_size"]) == (720, 120)
    assert settings["config"] == recipe("omni_clst").file("build_clst")


def test_minutes_count_the_answers_that_a_recipe_needs(tmp_path, monkeypatch):
    seconds = {"base/answers": 60.0, "base/silence": 120.0, "x": 999.0}
    for name in ("omni_clst", "r1_aqa", "audiomcq_weak_to_strong"):
        seconds |= {f"{name}/sft": 30.0, f"{name}/grpo": 90.0}
    monkeypatch.setattr(World, "seconds", lambda self: seconds | {"omni_clst/answers": 15.0})
    world = World.__new__(World)
    assert recipe("omni_clst").minutes(world) == {"first": 1.5, "last": 3.25}
    assert recipe("audiomcq_weak_to_strong").minutes(world) == {"first": 2.5, "last": 4.0}
    assert recipe("r1_aqa").minutes(world) == {"first": 0.5, "last": 2.0}
