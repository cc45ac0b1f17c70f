"""`--project FOLDER`: paths of the shipped YAMLs count from it, and its project.yaml has settings for all stages."""

import pytest
from test_clst_launcher import launch, training
from tiny_world import make_base, write_mmau, write_train_file

from omni_clst.answering.config import AnswerConfig, InferConfig
from omni_clst.errors import InputError
from omni_clst.grpo.config import CLSTConfig
from omni_clst.grpo.settings import grpo_keys
from omni_clst.method.config import ThoughtDropoutConfig
from omni_clst.preparation.config import PrepareAllConfig
from omni_clst.settings import REPOSITORY, load_config
from omni_clst.training.config import SFTConfig
from omni_clst.training.trainer_settings import trainer_keys

CONFIGS = REPOSITORY / "configs"


@pytest.fixture
def project(tmp_path):
    """The files that the YAMLs name, below a project's folder."""
    folder = tmp_path / "my project"
    files = ("source.jsonl", "sft_guided_drop_thought/train.jsonl", "sft_guided_drop_thought/valid.jsonl", "CLST_15k.jsonl")
    for file in files:
        (folder / "data" / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / "data" / file).touch()
    return folder


def load(config_class, yaml, project, *words, keys=None):
    return load_config(config_class, ["--config", str(CONFIGS / yaml), "--project", str(project), *words], keys)


def answering(project, *words):
    argv = ["--config", str(CONFIGS / "build_sft.yaml"), "--project", str(project), *words]
    return load_config(AnswerConfig, argv, other_stages={"sft": ThoughtDropoutConfig})


def test_paths_of_every_yaml_count_from_the_project(project):
    sft = load(SFTConfig, "sft_lora.yaml", project, keys=trainer_keys)
    assert (sft.train_file, sft.audio_root) == (
        str(project / "data" / "sft_guided_drop_thought" / "train.jsonl"), str(project / "data")
    )  # fmt: skip
    assert sft.run_dir == project / "runs" / "sft_lora"
    assert sft.model == "Qwen/Qwen2.5-Omni-7B"
    grpo = load(CLSTConfig, "clst_15k.yaml", project, keys=grpo_keys)
    assert (grpo.model, grpo.train_file) == (
        str(project / "runs" / "sft_lora" / "merged"), str(project / "data" / "CLST_15k.jsonl")
    )  # fmt: skip
    assert grpo.deepspeed == str(CONFIGS / "zero3.json")  # shipped with the code
    assert load(InferConfig, "infer.yaml", project, "--model", "x").data_root == str(project / "data")
    assert load_config(PrepareAllConfig, ["--project", str(project)]).data_root == str(project / "data")


def test_settings_of_the_project_override_the_yaml_and_the_command_line_overrides_them(project):
    (project / "models" / "3B").mkdir(parents=True)
    (project / "project.yaml").write_text(
        "base: models/3B\naudio_root: /clips\nprompt: mine.txt\nsft_lora: {num_train_epochs: 3.0, lora_rank: 4}\n"
    )
    sft = load(SFTConfig, "sft_lora.yaml", project, "--lora_rank", "2", keys=trainer_keys)
    assert (sft.model, sft.audio_root, sft.prompt) == (
        str(project / "models" / "3B"), "/clips", str(project / "mine.txt")
    )  # fmt: skip
    assert (sft.num_train_epochs, sft.lora_rank) == (3.0, 2)
    assert answering(project).model == str(project / "models" / "3B")
    grpo = load(CLSTConfig, "clst_15k.yaml", project, keys=grpo_keys)
    assert grpo.model == str(project / "runs" / "sft_lora" / "merged")  # no released model, so the base is not meant
    assert grpo.num_train_epochs == 1.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("audio_rot: x\n", "project.yaml: unknown key 'audio_rot' (did you mean 'audio_root'?)"),
        ("sft_lor: {lora_rank: 4}\n", "project.yaml: unknown key 'sft_lor' (did you mean 'sft_lora'?)"),
        ("zzz: 1\n", "project.yaml: unknown key 'zzz' (base, audio_root, data_root, prompt, "),
        ("sft_lora: 4\n", "project.yaml: sft_lora 4 is not settings of that stage (key: value)"),
        ("sft_lora: {lora_rnk: 4}\n", "project.yaml: unknown key 'lora_rnk' (did you mean 'lora_rank'?)"),
        ("a: [1\n", "project.yaml:2: not YAML"),
    ],
)
def test_mistake_in_the_projects_settings_is_named(project, text, message):
    (project / "project.yaml").write_text(text)
    with pytest.raises(InputError) as error:
        load(SFTConfig, "sft_lora.yaml", project, keys=trainer_keys)
    assert message in str(error.value)


def test_project_that_is_no_folder_is_named(project):
    with pytest.raises(InputError, match=r"project nowhere: no such folder"):
        load(SFTConfig, "sft_lora.yaml", "nowhere", keys=trainer_keys)


def test_missing_file_of_a_yaml_is_named_with_its_origin(project):
    (project / "data" / "sft_guided_drop_thought" / "valid.jsonl").unlink()
    with pytest.raises(InputError) as error:
        load(SFTConfig, "sft_lora.yaml", project, keys=trainer_keys)
    path = project / "data" / "sft_guided_drop_thought" / "valid.jsonl"
    assert str(error.value) == (f"valid_file {path}: no such file (from sft_lora.yaml; --valid_file none unsets it)")


@pytest.mark.parametrize("unset", ["none", "null", ""])
def test_none_null_and_nothing_unset_a_path_and_a_number(project, unset):
    words = ("--valid_file", unset, "--save_total_limit", unset)
    sft = load(SFTConfig, "sft_lora.yaml", project, *words, keys=trainer_keys)
    assert (sft.valid_file, sft.save_total_limit) == (None, None)


def test_empty_text_is_a_text(project):
    assert load(SFTConfig, "sft_lora.yaml", project, "--system_prompt", "", keys=trainer_keys).system_prompt == ""


@pytest.mark.slow
def test_inference_after_training_is_in_the_project_too(tmp_path):
    make_base(tmp_path / "base")
    write_train_file(tmp_path, 8)
    write_mmau(tmp_path / "project" / "data", 4)
    options = ["--benchmarks", "mmau-mini", "--max_new_tokens", "4", "--num_workers", "0", "--device", "cpu"]
    words = training(tmp_path, "in it")
    place = words.index("--runs_dir")
    del words[place : place + 2]
    result = launch(tmp_path, *words, "--project", "project", "--", *options)
    assert result.returncode == 0, result.stderr[-2000:]
    assert (tmp_path / "project" / "runs" / "in it" / "infer" / "mmau-mini" / "scores.json").exists()


@pytest.mark.parametrize("text", ["", "# base: x\n", "base:\nsft_lora:\n  # lora_rank: 4\n"])
def test_settings_that_are_all_commented_out_change_nothing(project, text):
    (project / "project.yaml").write_text(text)
    sft = load(SFTConfig, "sft_lora.yaml", project, keys=trainer_keys)
    assert (sft.model, sft.lora_rank) == ("Qwen/Qwen2.5-Omni-7B", 8)
