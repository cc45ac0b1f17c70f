"""Settings: precedence, paths, and every problem of a configuration named at once."""

import ast
import re
from pathlib import Path

import pytest
import yaml

from omni_clst.answering.config import AnswerConfig, InferConfig
from omni_clst.data.benchmarks.registry import BENCHMARKS
from omni_clst.demo.config import RecipesConfig, ThinkingConfig
from omni_clst.errors import InputError
from omni_clst.export.config import ExportConfig
from omni_clst.grpo.config import CLSTConfig
from omni_clst.grpo.recipes import config_class_of, trains
from omni_clst.grpo.settings import grpo_keys
from omni_clst.method.config import CurriculumConfig, ThoughtDropoutConfig
from omni_clst.preparation.config import PrepareConfig
from omni_clst.settings import REPOSITORY, load_config
from omni_clst.training.config import SFTConfig
from omni_clst.training.trainer_settings import LibrarySetting, trainer_keys


@pytest.fixture
def train_file(tmp_path):
    path = tmp_path / "train.jsonl"
    path.write_text("{}\n")
    return path


def test_command_line_wins_over_yaml_and_yaml_over_default(tmp_path, train_file):
    config_file = tmp_path / "c.yaml"
    config_file.write_text(f"model: a/b\ntrain_file: {train_file}\nlora_rank: 16\nmax_length: 100\n")
    config = load_config(SFTConfig, ["--config", str(config_file), "--max_length", "50"])
    assert (config.lora_rank, config.max_length, config.lora_alpha) == (16, 50, 32.0)


def test_later_config_file_takes_the_place_of_an_earlier_one(tmp_path, train_file):
    first, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
    first.write_text("model: a/b\nlora_rank: 3\n")
    second.write_text(f"model: a/b\ntrain_file: {train_file}\n")
    config = load_config(SFTConfig, ["--config", str(first), "--config", str(second)])
    assert config.lora_rank == 8


def test_relative_paths_count_from_the_caller_and_from_the_repository(tmp_path, train_file, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = load_config(SFTConfig, ["--model", "a/b", "--train_file", "train.jsonl"])
    assert config.train_file == str(train_file)
    config_file = tmp_path / "c.yaml"
    config_file.write_text(f"model: a/b\ntrain_file: {train_file}\naudio_root: data\n")
    assert load_config(SFTConfig, ["--config", str(config_file)]).audio_root == str(REPOSITORY / "data")


def test_run_directory_is_in_the_repository_by_default(train_file):
    config = load_config(SFTConfig, ["--model", "a/b", "--train_file", str(train_file), "--run_name", "x"])
    assert config.run_dir == REPOSITORY / "runs" / "x"


def test_model_is_a_folder_where_one_is_there_and_else_a_hub_id(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "some" / "folder").mkdir(parents=True)
    assert load_config(InferConfig, ["--model", "some/folder"]).model == str(tmp_path / "some" / "folder")
    assert load_config(InferConfig, ["--model", "Qwen/Qwen2.5-Omni-7B"]).model == "Qwen/Qwen2.5-Omni-7B"
    assert load_config(InferConfig, ["--model", "./gone/away"]).model == str(tmp_path / "gone" / "away")
    assert load_config(InferConfig, ["--model", "some/foldre"]).model == str(tmp_path / "some" / "foldre")


def test_bare_flag_and_equals_sign_are_understood():
    config = load_config(InferConfig, ["--model", "a/b", "--overwrite", "--batch_tokens=4", "--benchmarks", "mmar"])
    assert config.overwrite is True
    assert config.batch_tokens == 4
    assert config.benchmarks == ["mmar"]


def test_yaml_float_without_a_point_is_still_a_number(tmp_path, train_file):
    config_file = tmp_path / "c.yaml"
    config_file.write_text(f"model: a/b\ntrain_file: {train_file}\nlearning_rate: 1e-5\n")
    assert load_config(SFTConfig, ["--config", str(config_file)]).learning_rate == 1e-5


def test_trainer_settings_of_transformers_pass_through(train_file):
    argv = ["--model", "a/b", "--train_file", str(train_file), "--weight_decay", "0.1"]
    assert load_config(SFTConfig, argv, lambda: {"weight_decay": LibrarySetting(float)}).trainer == {"weight_decay": 0.1}


BAD = [
    (["--model", "a/b", "--bach_tokens", "3"], "command line: unknown key 'bach_tokens' (did you mean 'batch_tokens'?)"),
    (["--model", "a/b", "--batch_tokens", "many"], "command line: batch_tokens 'many' is not a whole number"),
    (["--model", "a/b", "--overwrite", "maybe"], "command line: overwrite 'maybe' is not true or false"),
    (["--model", "a/b", "stray"], "command line: 'stray' is not a --key"),
    (["--model", "a/b", "--batch_tokens", "0"], "batch_tokens 0 is not positive"),
    (["--model", "a/b", "--device", "tpu"], "device 'tpu' is not one of auto, cuda, cpu"),
    (["--model", "a/b", "--dtype", "int8"], "dtype 'int8' is not one of auto, float32, bfloat16, float16"),
    (["--model", "a/b", "--audio", "loud"], "audio 'loud' is not one of real, silence, other"),
    (["--model", "a/b", "--benchmarks", "mmlu"], f"benchmarks 'mmlu' is not one of all, {', '.join(BENCHMARKS)}"),
    (["--model", "a/b", "--temperature", "-1"], "temperature -1.0 is not at least 0"),
    (["--model", "a/b", "--temperature", "nan"], "temperature nan is not at least 0"),
    (["--model", "a/b", "--top_p", "1.5"], "top_p 1.5 is not between 0 and 1"),
    (["--model", "a/b", "--top_p", "0"], "top_p 0.0 is not positive"),
    (["--model", "a/b", "--limit", "0"], "limit 0 is not positive"),
    (
        ["--model", "a/b", "--attn_implementation", "fast"],
        "attn_implementation 'fast' is not one of sdpa, flash_attention_2, eager",
    ),
    (["--batch_tokens", "3"], "model is not set (--model VALUE, or in the YAML)"),
    (["--model", "a/b", "--config", "/nowhere.yaml"], "/nowhere.yaml: No such file or directory"),
]


BAD_TRAINING = [
    ("learning_rate", "nan", "learning_rate nan is not positive"),
    ("num_train_epochs", "0", "num_train_epochs 0.0 is not positive"),
    ("lora_dropout", "2", "lora_dropout 2.0 is not between 0 and 1"),
    ("dataloader_num_workers", "-1", "dataloader_num_workers -1 is not at least 0"),
    ("per_device_eval_batch_size", "0", "per_device_eval_batch_size 0 is not positive"),
    (
        "lora_targets",
        "(q",
        "lora_targets '(q' is not a regular expression (missing ), unterminated subpattern at position 0)",
    ),
    ("run_name", "", "run_name '' does not name a folder below runs_dir"),
    ("run_name", "..", "run_name '..' does not name a folder below runs_dir"),
    ("run_name", "/etc", "run_name '/etc' does not name a folder below runs_dir"),
]


@pytest.mark.parametrize(("key", "value", "message"), BAD_TRAINING, ids=[row[2][:40] for row in BAD_TRAINING])
def test_bad_training_setting_is_named(train_file, key, value, message):
    with pytest.raises(InputError) as caught:
        load_config(SFTConfig, ["--model", "a/b", "--train_file", str(train_file), f"--{key}={value}"])
    assert str(caught.value) == message


@pytest.mark.parametrize(("argv", "message"), BAD, ids=[row[1][:40] for row in BAD])
def test_bad_setting_is_named(argv, message):
    with pytest.raises(InputError) as caught:
        load_config(InferConfig, argv)
    assert str(caught.value) == message


ANSWER = ["--model", "a/b", "--answers_dir", "x"]
OTHER_STAGES = {"sft": ThoughtDropoutConfig, "clst": CurriculumConfig}


def test_keys_of_the_stage_named_by_also_for_are_left_to_it(train_file):
    (train_file.parent / "answers.jsonl").write_text("{}\n")
    argv = ["--model", "a/b", "--answers_dir", str(train_file.parent), "--samples", str(train_file), "--also_for", "sft"]
    argv += ["--output", "y", "--mode", "keep_all"]
    assert load_config(AnswerConfig, argv, other_stages=OTHER_STAGES).model == "a/b"
    assert load_config(ThoughtDropoutConfig, [*argv, "--also_for=answer"], other_stages={"answer": AnswerConfig})


OF_ANOTHER_STAGE = [  # further words, the line
    (["--mix", "x"], "command line: mix is a setting of the stage clst, not of this command"),
    (["--mix", "x", "--also_for", "sft"], "command line: mix is a setting of the stage clst, not of this command"),
    (["--mod", "x", "--also_for", "sft"], "command line: unknown key 'mod' (did you mean 'mode'?)"),
    (["--also_for", "grpo"], "command line: also_for 'grpo' is not one of sft, clst"),
]


@pytest.mark.parametrize(("words", "message"), OF_ANOTHER_STAGE, ids=[row[1][14:60] for row in OF_ANOTHER_STAGE])
def test_key_of_another_stage_on_the_command_line_is_an_error(train_file, words, message):
    with pytest.raises(InputError) as caught:
        load_config(AnswerConfig, [*ANSWER, "--samples", str(train_file), *words], other_stages=OTHER_STAGES)
    assert str(caught.value) == message


def test_key_of_another_stage_in_a_shared_yaml_is_left_to_it(tmp_path, train_file):
    file = tmp_path / "c.yaml"
    file.write_text("mix: {hard: 1}\nsize: 3\nmode: guided\n")
    argv = [*ANSWER, "--samples", str(train_file), "--config", str(file)]
    assert load_config(AnswerConfig, argv, other_stages=OTHER_STAGES).model == "a/b"
    with pytest.raises(InputError, match=r"^c\.yaml: mode is a setting of the stage sft, not of this command$"):
        load_config(AnswerConfig, [*argv, "--also_for", "clst"], other_stages=OTHER_STAGES)


def test_all_problems_are_reported_together():
    with pytest.raises(InputError) as caught:
        load_config(SFTConfig, ["--model", "a/b", "--train_file", "/no/file", "--lora_rank", "0", "--tuning", "half"])
    assert str(caught.value).splitlines() == [
        "3 problems in the settings:",
        "  tuning 'half' is not one of lora, full",
        "  lora_rank 0 is not positive",
        "  train_file /no/file: no such file",
    ]


def test_problems_of_every_kind_come_in_one_error(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("model: a/b\ntrain_file: /no/file\nlora_rank: many\nlora_alpha: -1\nlora_rnk: 8\nweight_decay: x\n")
    argv = ["--config", str(file), "--train_towers", "--seed", "0.5", "--lr_scheduler", "cosine"]
    with pytest.raises(InputError) as caught:
        load_config(SFTConfig, argv, lambda: {"weight_decay": LibrarySetting(float)})
    assert str(caught.value).splitlines() == [
        "8 problems in the settings:",
        "  c.yaml: unknown key 'lora_rnk' (did you mean 'lora_rank'?)",
        "  c.yaml: weight_decay 'x' is not a number",
        "  command line: unknown key 'lr_scheduler'",
        "  c.yaml: lora_rank 'many' is not a whole number",
        "  lora_alpha -1.0 is not positive",
        "  command line: seed '0.5' is not a whole number",
        "  train_file /no/file: no such file (from c.yaml)",
        "  train_towers needs tuning full: LoRA freezes the towers",
    ]


def test_rule_that_reads_an_invalid_setting_is_skipped():
    with pytest.raises(InputError) as caught:
        load_config(SFTConfig, ["--model", "a/b", "--train_towers", "--tuning", "half"])
    assert str(caught.value).splitlines() == [
        "2 problems in the settings:",
        "  train_file is not set (--train_file VALUE, or in the YAML)",
        "  tuning 'half' is not one of lora, full",
    ]


CONFIGS = (
    AnswerConfig,
    InferConfig,
    ThoughtDropoutConfig,
    CurriculumConfig,
    PrepareConfig,
    SFTConfig,
    CLSTConfig,
    RecipesConfig,
    ThinkingConfig,
    ExportConfig,
)


@pytest.mark.parametrize("config_class", CONFIGS, ids=lambda cls: cls.__name__)
def test_every_setting_says_what_it_trades(config_class):
    assert [name for name, info in config_class.model_fields.items() if not info.description] == []


def test_settings_that_a_resumed_run_may_change():
    of_both = {
        "device", "check_audio", "allow_missing_audio", "runs_dir", "overwrite", "dry_run", "per_device_eval_batch_size",
        "save_total_limit", "logging_steps", "dataloader_num_workers", "report_to", "ddp_timeout",
    }  # fmt: skip
    of_grpo = {
        "completions_per_forward", "completions_per_rollout", "offload_reference", "audio_cache_gib",
        "early_stopping_patience", "gpu_memory_utilization", "vllm_sleep", "vllm_server", "vllm_weights",
        "max_logp_drift", "decoding", "merge_adapter", "completion_table_steps",
    }  # fmt: skip
    assert SFTConfig.may_change_on_resume() == of_both | {"merge", "keep_talker"}
    assert CLSTConfig.may_change_on_resume() == of_both | of_grpo


def test_broken_yaml_names_file_and_line(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("model: a/b\nbatch_tokens: [1\n")
    with pytest.raises(InputError, match=re.escape(f"{path}:3: not YAML")):
        load_config(InferConfig, ["--config", str(path)])


FOR_ANSWER = {"answer": AnswerConfig}
SHIPPED_FOR = {
    "infer": [(InferConfig, None, ["--model", "a/b"])],
    "build_sft": [(AnswerConfig, OTHER_STAGES, ["--also_for=sft"]), (ThoughtDropoutConfig, FOR_ANSWER, [])],
    "build_grpo": [(AnswerConfig, OTHER_STAGES, ["--also_for=sft"]), (ThoughtDropoutConfig, FOR_ANSWER, [])],
    "build_clst": [(AnswerConfig, OTHER_STAGES, ["--also_for=clst"]), (CurriculumConfig, FOR_ANSWER, [])],
    "recipes": [(RecipesConfig, None, [])],
    "when_thinking_pays": [(ThinkingConfig, None, [])],
}
SHIPPED = sorted(
    path for path in REPOSITORY.glob("configs/**/*.yaml") if path.parent.name != "grids"
)  # worlds, not settings


def configs_of(path: Path) -> list:
    """The configs that a shipped YAML is for, each with its other stages and further words."""
    return [(config_class_of(path), None, [])] if trains(path) else SHIPPED_FOR[path.stem]


def library_keys_of(path: Path):
    return {SFTConfig: trainer_keys, CLSTConfig: grpo_keys}.get(configs_of(path)[0][0])


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_every_shipped_yaml_has_only_known_keys(path, monkeypatch):
    """Missing data files are no fault of the YAML: only its keys and values are checked here."""
    monkeypatch.setattr("omni_clst.fields.missing_file", lambda name, value: [])
    monkeypatch.setattr("omni_clst.method.config.missing_file", lambda name, value: [])
    for config_class, other_stages, more in configs_of(path):
        load_config(config_class, ["--config", str(path), *more], library_keys_of(path), other_stages)


class SettingsRead(ast.NodeVisitor):
    """Names read as `config.NAME`, `*.config.NAME` or, in a config's own properties, `self.NAME`; rules do not count."""

    def __init__(self):
        self.names: set[str] = set()

    def visit_FunctionDef(self, node):
        if not any(getattr(decorator, "id", None) == "rule" for decorator in node.decorator_list):
            self.generic_visit(node)

    def visit_Attribute(self, node):
        owner = getattr(node.value, "id", getattr(node.value, "attr", None))
        if owner in ("config", "self"):
            self.names.add(node.attr)
        self.generic_visit(node)


def test_every_key_of_every_shipped_yaml_is_read_by_something():
    """Ours are read as attributes of a config; the others are fields of the library's trainer, which are handed on."""
    reader = SettingsRead()
    for file in REPOSITORY.glob("src/**/*.py"):
        reader.visit(ast.parse(file.read_text(encoding="utf-8")))
    handed_on = {path: keys() for path in SHIPPED if (keys := library_keys_of(path))}
    unread = [
        f"{path.relative_to(REPOSITORY)}: {key}"
        for path in SHIPPED
        for key in yaml.safe_load(path.read_text(encoding="utf-8"))
        if key not in reader.names | handed_on.get(path, {}).keys()
    ]
    assert not unread
    assert "no_such_setting" not in reader.names


def test_yaml_floats_carry_a_point():
    """`1e-4` is a text to YAML."""
    for path in SHIPPED:
        for key, value in yaml.safe_load(Path(path).read_text()).items():
            assert not (isinstance(value, str) and re.fullmatch(r"[\d.]+e-?\d+", value)), f"{path}: {key}"
