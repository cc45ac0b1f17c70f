"""The card of an exported model is written from its runs."""

import json
import shutil

import exported_runs
import grpo_runs
import pytest
import yaml
from exported_runs import run_export

from omni_clst.files import sha256_of_file

spelling_earns, world = grpo_runs.spelling_earns, exported_runs.world  # fixtures


@pytest.fixture
def card_of(world, tmp_path):
    def card(run: str, *words: str) -> str:
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        return (run_export(world, run, tmp_path / "out", *words) / "README.md").read_text(encoding="utf-8")

    return card


def rows_of_table(card: str, first: str) -> list[list[str]]:
    """The cells of the table whose header begins with `first`."""
    lines = card.split(f"| {first} |", 1)[1].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[: lines.index("")]]


def test_card_names_every_stage_with_its_data_and_what_it_cost(world, card_of):
    card = card_of("grpo lora")
    hashed = f"`{sha256_of_file(world / 'train.jsonl')[:16]}`"
    first, second = rows_of_table(card, "stage")
    assert first[:5] == ["SFT", "`base`", "`train.jsonl`", hashed, "2"]
    assert second[:5] == ["GRPO", "the stage above", "`train.jsonl`", hashed, "2"]
    assert first[6].endswith(" CPU hours") and second[6].endswith(" CPU hours")
    assert str(world) not in card  # no path of this machine


def test_hash_is_that_of_the_file_when_the_run_began(world, card_of):
    file = world / "train.jsonl"
    began = sha256_of_file(file)[:16]
    content = file.read_bytes()
    try:
        file.write_bytes(content + b"\n")
        assert sha256_of_file(file)[:16] != began
        assert began in card_of("sft")
    finally:
        file.write_bytes(content)


def test_card_has_settings_that_the_weights_depend_on_and_the_curve(world, card_of):
    card = card_of("sft")
    settings = next(line for line in card.splitlines() if line.startswith("Settings that are not the defaults"))
    assert "`learning_rate: 0.01`" in settings and "`max_steps: 2`" in settings
    assert "`device" not in settings and "lora_rank" not in settings
    log = {row["step"]: row for row in grpo_runs.rows_of(world / "runs" / "sft" / "metrics.jsonl") if "loss" in row}
    curve = rows_of_table(card, "step")
    assert [row[:2] for row in curve] == [[str(step), f"{row['loss']:.3g}"] for step, row in log.items()]
    assert curve[-1][2] != ""  # the evaluation


def test_card_has_the_prompt_of_the_training(card_of):
    assert "```\n{question}\n{choices}\nthink if needed :\n```" in card_of("sft")


def test_card_has_the_scores_with_their_intervals(world, card_of):
    assert "Not scored yet" in card_of("grpo lora")
    folder = world / "runs" / "grpo lora" / "infer" / "mmar"
    folder.mkdir(parents=True)
    rule = {"accuracy": 61.25, "interval": [58.123, 64.377]}
    origin = {"thought": "free", "audio": "real", "dtype": "torch.float32", "limit": None}
    score = {"benchmark": "mmar", "release": "2025-05", "total": 1000, "think_rate": 48.0, "mean_tokens": 70.25}
    (folder / "scores.json").write_text(json.dumps(score | {"origin": origin, "official": rule, "strict": rule}))
    try:
        card = card_of("grpo lora")
        assert rows_of_table(card, "benchmark") == [
            ["mmar", "2025-05", "1000", "thought free, audio real", *["61.2 [58.1, 64.4]"] * 2, "48.0", "70.2"]
        ]
        assert "of the run's checkpoint in float32; these weights are in float32" in card
    finally:
        shutil.rmtree(folder.parent)


def test_licences_are_those_of_the_bases_card_and_of_the_command(world, tmp_path, card_of):
    card = card_of("sft")
    assert yaml.safe_load(card.split("---")[1])["license"] == "other"
    assert "that of the base `base`, whose card was not at hand" in card and "Training data: not stated" in card
    base = tmp_path / "own" / "Omni"
    shutil.copytree(world / "base", base)
    (base / "README.md").write_text("---\nlicense: other\nlicense_name: some-licence\n---\n# Omni\n", encoding="utf-8")
    card = card_of("sft", "--base", str(base), "--data_licence", "cc-by-4.0")
    assert yaml.safe_load(card.split("---")[1])["license"] == "some-licence"
    assert "* Weights: some-licence, as the base `Omni`.\n* Training data: cc-by-4.0." in card
