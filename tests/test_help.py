"""`--help` of every entry point: each key with its default, in lines that a terminal shows, without loading libraries."""

import subprocess
import sys

import pytest

import answer
import ask
import compare
import curriculum
import demo
import export
import grpo
import infer
import plan
import prepare
import recipes
import report
import score
import sft
import when_thinking_pays
from omni_clst.answering.config import AnswerConfig, AskConfig, InferConfig
from omni_clst.demo.config import DemoConfig, RecipesConfig, ThinkingConfig
from omni_clst.export.config import ExportConfig
from omni_clst.grpo.config import CLSTConfig
from omni_clst.grpo.settings import CORRECTION
from omni_clst.method.config import CurriculumConfig, ThoughtDropoutConfig
from omni_clst.preparation.config import PrepareAllConfig, PrepareConfig
from omni_clst.report.config import ReportConfig
from omni_clst.scoring.config import CompareConfig, ScoreConfig
from omni_clst.settings import REPOSITORY
from omni_clst.training.config import PlanConfig, SFTConfig
from omni_clst.training.trainer_settings import PASSED_ON, PASSED_TO_TRL

ENTRIES = [  # main, its words, whose keys are printed
    (answer.main, ["--help"], AnswerConfig),
    (ask.main, ["--help"], AskConfig),
    (infer.main, ["-h"], InferConfig),
    (curriculum.main, ["sft", "--help"], ThoughtDropoutConfig),
    (curriculum.main, ["clst", "--help"], CurriculumConfig),
    (prepare.main, ["--help"], PrepareAllConfig),
    (prepare.main, ["avqa", "--help"], PrepareConfig),
    (sft.main, ["--config", "missing.yaml", "--help"], SFTConfig),
    (grpo.main, ["--help"], CLSTConfig),
    (when_thinking_pays.main, ["--help"], ThinkingConfig),
    (recipes.main, ["--help"], RecipesConfig),
    (demo.main, ["--help"], DemoConfig),
    (plan.main, ["--help"], PlanConfig),
    (report.main, ["--help"], ReportConfig),
    (export.main, ["--help"], ExportConfig),
    (score.main, ["--help"], ScoreConfig),
    (compare.main, ["--help"], CompareConfig),
]


def printed(main, argv: list[str], capsys) -> list[str]:
    with pytest.raises(SystemExit) as ended:
        main(argv)
    assert ended.value.code == 0
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(("main", "argv", "config_class"), ENTRIES, ids=lambda part: getattr(part, "__name__", str(part)))
def test_help_names_every_key_once(main, argv, config_class, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    lines = printed(main, argv, capsys)
    keys = [line.split()[0] for line in lines if line.startswith("  --")]
    assert len(keys) == len(set(keys))
    assert {f"--{name}" for name in config_class.model_fields} - {"--trainer"} <= set(keys)
    assert "--trainer" not in keys
    assert [line for line in lines if len(line) > 120] == []


def test_help_of_training_names_what_the_libraries_trainer_takes(capsys):
    of_sft = {line.split()[0][2:] for line in printed(sft.main, ["--help"], capsys) if line.startswith("  --")}
    assert of_sft - SFTConfig.model_fields.keys() == PASSED_ON
    of_grpo = {line.split()[0][2:] for line in printed(grpo.main, ["--help"], capsys) if line.startswith("  --")}
    refused = {"neftune_noise_alpha", "data_seed", "dataloader_drop_last", "dataloader_prefetch_factor"}
    assert of_grpo - CLSTConfig.model_fields.keys() == (PASSED_ON | PASSED_TO_TRL | CORRECTION) - refused


def test_help_shows_default_rule_and_what_may_change_on_resume(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    lines = printed(grpo.main, ["--help"], capsys)
    assert "  --model ...                         a folder in a base's layout, or a Hub id [folder or Hub id]" in lines
    at = lines.index("  --top_k 0                           sample from this many most likely tokens; 0: all")
    assert lines[at + 1].strip() == "[whole number >= 0]"
    assert any(line.endswith("[group | batch | none]") for line in lines)  # scale_rewards, of TRL
    assert any(line.startswith("  --completions_per_forward none * ") for line in lines)


def test_help_of_both_curricula_needs_no_subcommand(capsys):
    curriculum.main(["--help"])
    out = capsys.readouterr().out
    assert "--drop_from" in out and "--base_answers_dir" in out


@pytest.mark.slow
def test_launchers_leave_a_key_to_its_stage_and_refuse_one_of_a_third(tmp_path):
    def refused(launcher: str, *words: str) -> str:
        command = ["bash", str(REPOSITORY / "script" / launcher), "--model", "a/b", "--samples", "gone", *words]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True).stderr

    gone = f"error: samples {tmp_path}/gone: no such file\n"
    assert refused("build_sft.sh", "--mode", "random").endswith(gone)
    assert refused("build_clst.sh", "--mix", "hard: 1").endswith(gone)
    assert "mix is a setting of the stage clst, not of this command" in refused("build_sft.sh", "--mix", "hard: 1")


def test_launcher_with_a_first_word_has_help_without_it():
    command = ["bash", str(REPOSITORY / "script" / "infer.sh")]
    shown = subprocess.run([*command, "--help"], capture_output=True, text=True)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "--data_root" in shown.stdout
    refused = subprocess.run([*command, "--limit", "3"], capture_output=True, text=True)
    assert (refused.returncode, refused.stderr.splitlines()[-1][:26]) == (2, "error: no checkpoint given")


@pytest.mark.parametrize(
    "entry",
    [
        "answer",
        "infer",
        "curriculum",
        "prepare",
        "when_thinking_pays",
        "recipes",
        "score",
        "compare",
        "report",
        "demo",
        "plan",
        "export",
    ],
)
def test_help_loads_no_torch(entry):
    code = f"import sys, {entry}\ntry: {entry}.main(['--help'])\nexcept SystemExit: pass\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY / "src", check=True, capture_output=True)
