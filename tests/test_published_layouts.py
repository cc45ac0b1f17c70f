"""Both training files of the published code go through SFT and GRPO unchanged."""

import json

import pytest
from grpo_runs import arguments as grpo_arguments
from grpo_runs import completions
from sft_runs import arguments as sft_arguments
from sft_runs import losses
from tiny_world import make_base, write_clips

import grpo
import sft

CHOICES = ["hiss", "drum", "click", "beep"]


def clst_row(name: str, number: int) -> dict:
    """The published CLST_15k.jsonl."""
    return {
        "question_text": "what sound comes first ?",
        "multi_choice": CHOICES,
        "answer": CHOICES[number % 4],
        "think": "hiss drum",
        "audio_path": f"clips/{name}",
        "dataset": "AVQA",
    }


def swift_row(name: str, number: int) -> dict:
    """The published sft_guided_drop_thought/*.jsonl."""
    think = "\n\n" if number % 2 else "hiss drum"
    listed = "\n".join(f"{letter}. {choice}" for letter, choice in zip("ABCD", CHOICES, strict=True))
    return {
        "messages": [
            {"role": "user", "content": f"<audio>what sound comes first ?\n{listed}"},
            {"role": "assistant", "content": f"<think>{think}</think><answer>{CHOICES[number % 4]}</answer>"},
        ],
        "audios": [f"clips/{name}"],
    }


@pytest.fixture(scope="module", params=[clst_row, swift_row], ids=["CLST_15k", "sft_guided_drop_thought"])
def world(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("published")
    make_base(folder / "base")
    rows = [request.param(name, number) for number, name in enumerate(write_clips(folder / "clips", 12))]
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


def test_file_trains_by_sft(world):
    sft.main(sft_arguments(world, "sft", max_steps=2, merge="false"))
    assert len(losses(world / "runs" / "sft")) == 2


def test_file_trains_by_grpo_in_its_order(world):
    grpo.main(grpo_arguments(world, "grpo", rewards="accuracy: 2.0, format: 1.0", max_steps=2))
    assert [position for _, position, *_ in completions(world / "runs" / "grpo")] == [0, 0, 1, 1, 2, 2, 3, 3]
