"""`ask.sh`: single questions about clips, from the command line or line by line."""

import io

import pytest
from tiny_world import make_base, write_clips

import ask
from omni_clst.data.prompts import make_prompt
from omni_clst.errors import InputError
from omni_clst.model.checkpoints import PROMPT_FILE, write_prompt

QUESTION = ["what sound comes first ?", "hiss", "drum", "click", "beep"]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("asked")
    make_base(folder / "base")
    make_base(folder / "sft")
    write_prompt(folder / "sft", make_prompt("demo_selective", ""))
    make_base(folder / "released")
    (folder / "released" / PROMPT_FILE).unlink()
    write_clips(folder / "clips", 3)
    return folder


def said(world, capsys, model: str, *words: str) -> list[str]:
    options = ["--device", "cpu", "--max_new_tokens", "6"]
    ask.main([str(world / model), *words, *options])
    return capsys.readouterr().out.splitlines()


def clip(world, number: int) -> str:
    return str(world / "clips" / f"clip00{number}.wav")


def test_answer_has_its_time_and_its_tokens(world, capsys):
    *_, answer, time = said(world, capsys, "base", clip(world, 0), *QUESTION)
    assert answer.startswith("answer   ")
    assert time.startswith("time     ") and "tokens of prompt, 6 of completion" in time
    assert answer.endswith("(cut off: raise --max_new_tokens)")


def test_thought_is_shown_where_the_prompt_asks_for_one(world, capsys):
    thought, answer, _ = said(world, capsys, "sft", clip(world, 0), *QUESTION)[-3:]
    assert (thought, answer.startswith("answer   none in <answer> tags: ")) == ("thought  (none)", True)
    thought, *_ = said(world, capsys, "sft", clip(world, 0), *QUESTION, "--thought", "empty")[-3:]
    assert thought == "thought  (empty)"


def test_lines_keep_the_model_loaded_and_the_last_clip(world, capsys, monkeypatch):
    lines = [
        f"{clip(world, 0)} | {' | '.join(QUESTION)}",
        " | ".join(QUESTION),
        "",
        "gone.wav | who ?",
        "who ? | alone",
        f"{world / 'base' / 'config.json'} | who ?",
        f"~/clip001.wav | {' | '.join(QUESTION)}",
    ]
    monkeypatch.setenv("HOME", str(world / "clips"))
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(lines)))
    ask.main([str(world / "base"), "--device", "cpu", "--max_new_tokens", "6"])
    printed = capsys.readouterr()
    answers = [line for line in printed.out.splitlines() if line.startswith("answer ")]
    assert len(answers) == 3
    assert answers[0] == answers[1] != answers[2]  # the answers depend on the clip
    assert printed.out.count("engine hf") == 1
    *errors, undecodable = printed.err.splitlines()
    assert errors == ["error: gone.wav: no such clip", "error: 'alone' is one choice: give two or more, or none"]
    assert "config.json: not decodable as audio" in undecodable


def test_question_without_choices_is_asked_bare_of_a_released_model(world, capsys):
    released = said(world, capsys, "released", clip(world, 0), "what is it ?")[-1]
    with_choices = said(world, capsys, "released", clip(world, 0), "what is it ?", "a", "b")[-1]
    count = [int(line.split(", ")[1].split()[0]) for line in (released, with_choices)]
    assert count[1] > count[0] + 20  # the direct prompt's sentence is not in the bare question


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "model is not set"),
        (["base", "x.wav"], "x.wav: a clip without a question"),
        (
            ["base", "--seed", "1", "x.wav", "who ?"],
            "'x.wav' is not a --key: checkpoint, clip, question and choices come first",
        ),
        (["base", "x.wav", "who ?"], "x.wav: no such clip"),
        (["base", "{clip}", " "], "no question given"),
        (["base", "{clip}", "who ?", "a"], "'a' is one choice: give two or more, or none"),
        (["base", "{world}/base/config.json", "who ?"], "config.json: not decodable as audio"),
    ],
)
def test_what_is_missing_is_said(world, words, message):
    words = [word.format(clip=clip(world, 0), world=world) for word in words]
    with pytest.raises(InputError) as error:
        ask.main([*([str(world / words[0])] if words else []), *words[1:], "--device", "cpu"])
    assert message in str(error.value)
