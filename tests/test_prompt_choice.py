"""The prompt: that of the checkpoint unless another is named, which is said; from a name, a text or a file."""

import shutil
from dataclasses import replace

import pytest
from grpo_runs import arguments
from tiny_world import make_base, write_train_file

import grpo
from omni_clst.answering.config import InferConfig
from omni_clst.data.prompts import make_prompt
from omni_clst.data.samples import AudioQASample
from omni_clst.errors import InputError
from omni_clst.model.checkpoints import PROMPT_FILE, find_checkpoint, read_prompt, write_prompt
from omni_clst.model.prompt_choice import prompt_for_answering
from omni_clst.training.sft import target_text

GERMAN = "Frage: {question}\n{choices}\nAntworte mit <think>...</think><answer>...</answer>."


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prompts")
    make_base(folder / "base")
    shutil.copytree(folder / "base", folder / "german")
    write_prompt(folder / "german", make_prompt(GERMAN, "Du hörst zu."))
    shutil.copytree(folder / "base", folder / "released")
    (folder / "released" / PROMPT_FILE).unlink()
    (folder / "mine.txt").write_text(GERMAN + "\n", encoding="utf-8")
    write_train_file(folder, 8)
    return folder


def without_prompt(argv: list[str], *keys: str) -> list[str]:
    pairs = list(zip(argv[::2], argv[1::2], strict=True))
    return [word for key, value in pairs if key not in ("--prompt", "--system_prompt", *keys) for word in (key, value)]


def training(world, run_name: str, **changes) -> list[str]:
    return arguments(world, run_name, rewards="format: 1.0", max_steps=2, **changes)


def test_grpo_goes_on_with_the_prompt_of_the_sft_model(world, capsys):
    grpo.main(without_prompt(training(world, "goes on", model=world / "german")))
    assert f"prompt: custom, as {world / 'german'} was trained" in capsys.readouterr().out
    trained = read_prompt(find_checkpoint(str(world / "runs" / "goes on")))
    assert trained == make_prompt(GERMAN, "Du hörst zu.")


def test_prompt_other_than_the_checkpoints_is_said_at_the_start_and_in_the_dry_run(world, capsys):
    grpo.main([*training(world, "other", model=world / "german"), "--dry_run"])
    shown = capsys.readouterr().out
    assert f"note: the prompt (demo_selective) is not the one that {world / 'german'} was trained with (custom)" in shown
    grpo.main(["--system_prompt", "", *without_prompt(training(world, "other", model=world / "german")), "--dry_run"])
    assert "note: the system prompt (custom) is not the one" in capsys.readouterr().out


def test_dry_run_prints_a_prompt_as_the_model_reads_it(world, capsys):
    argv = without_prompt(training(world, "dry", model=world / "german"))
    grpo.main([*argv, "--dry_run"])
    shown = capsys.readouterr().out
    assert "  | <|im_start|>system\n  | Du hörst zu.<|im_end|>\n  | <|im_start|>user\n" in shown
    assert "<|AUDIO|>" in shown and shown.count("<|AUDIO|>") == 1
    assert "  | - drum\n" in shown and shown.rstrip().endswith("| <|im_start|>assistant\n  |")
    assert "(85 tokens, 12 of them for the clip)" in shown  # half a second, 25 tokens a second


def test_file_of_the_callers_folder_is_a_prompt(world, monkeypatch, capsys):
    monkeypatch.chdir(world)
    argv = without_prompt(training(world, "from file"))
    grpo.main([*argv, "--prompt", "mine.txt"])
    assert read_prompt(find_checkpoint(str(world / "runs" / "from file"))) == make_prompt(str(world / "mine.txt"), "")
    assert "(mine.txt) is not the one" in capsys.readouterr().out


def test_run_is_not_resumed_with_another_text_in_its_prompts_file(world, tmp_path):
    file = tmp_path / "mine.txt"
    file.write_text(GERMAN, encoding="utf-8")
    argv = without_prompt(training(world, "changed"))
    grpo.main([*argv, "--prompt", str(file)])
    file.write_text(GERMAN.replace("Frage", "Aufgabe"), encoding="utf-8")
    with pytest.raises(InputError, match="other settings.*prompt_sha256"):
        grpo.main([*argv, "--prompt", str(file), "--max_steps", "2"])


@pytest.mark.parametrize(
    ("text", "message"),
    [("Frage: {question}", "the text has no {question} or no {choices}: 'Frage: {question}'"), (None, "No such file")],
)
def test_prompts_file_that_is_none_is_one_error(world, tmp_path, text, message):
    if text:
        (tmp_path / "mine.txt").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="prompt .*mine.txt") as error:
        grpo.main([*without_prompt(training(world, "none")), "--prompt", str(tmp_path / "mine.txt")])
    assert message in str(error.value)


def test_training_from_a_released_model_takes_the_selective_prompt(world, capsys):
    grpo.main([*without_prompt(training(world, "released", model=world / "released")), "--dry_run"])
    assert "prompt: selective\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("prompt", "asks", "target"),
    [
        ("selective", True, "<think>\n\n</think><answer>drum</answer>"),
        ("demo_selective", True, "<think>\n\n</think><answer>drum</answer>"),
        ("{question} {choices} Think, then answer.", True, "<think>\n\n</think><answer>drum</answer>"),
        ("{question} {choices} <answer>choice</answer>", False, "<answer>drum</answer>"),
    ],
)
def test_text_that_mentions_only_the_answers_tags_asks_for_no_thought(prompt, asks, target):
    made = make_prompt(prompt, "", asks_for_tags=True)
    sample = AudioQASample("a", "/a.wav", "which ?", ("drum", "bell"), "drum", think="hiss drum")
    assert made.asks_for_thought is asks
    assert target_text(replace(sample, think=""), made) == target
    assert ("hiss drum" in target_text(sample, made)) is asks


@pytest.mark.parametrize(
    ("model", "prompt", "asks_for_tags"),
    [
        ("released", "auto", False),
        ("released", "{question} {choices} Kurz:", False),
        ("released", GERMAN, True),
        ("german", "{question} {choices} Kurz:", True),  # it was trained to answer in tags
        ("german", "direct", False),
    ],
)
def test_answers_are_read_from_tags_where_the_model_gives_them(world, model, prompt, asks_for_tags):
    config = InferConfig(model=str(world / model), prompt=prompt)
    assert prompt_for_answering(config, find_checkpoint(str(world / model))).asks_for_tags is asks_for_tags
