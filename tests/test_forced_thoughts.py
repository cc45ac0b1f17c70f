"""Thoughts forced empty or full: the model's own continuation of true first tokens, in a folder of its own."""

import json
import re
import shutil

import inference_runs
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from inference_runs import QUESTIONS, arguments, rows

import infer
from omni_clst.answering.config import InferConfig
from omni_clst.answering.encoder import make_encoder
from omni_clst.data.encoder import OmniEncoder
from omni_clst.data.prompts import make_prompt
from omni_clst.data.response import EMPTY_THOUGHT_OPENING, format_response
from omni_clst.data.samples import AudioQASample
from omni_clst.errors import InputError
from omni_clst.model.checkpoints import find_checkpoint, load_processor, load_thinker

world, undisturbed, thoughtless = inference_runs.world, inference_runs.undisturbed, inference_runs.thoughtless  # fixtures


def test_answers_with_the_thought_forced_empty_begin_with_it(world, thoughtless):
    infer.main(arguments(world, "thoughtless", prompt="demo_selective"))
    free = rows(world / "thoughtless" / "mmau-mini" / "predictions.jsonl")
    forced = rows(thoughtless / "predictions.jsonl")
    assert [row["id"] for row in forced] == [row["id"] for row in free]
    assert all(row["model_output_raw"].startswith("<think>\n\n</think><answer") for row in forced)
    assert len({row["model_output_raw"] for row in forced}) > 5
    assert not any(row["think"] for row in forced)
    assert not any(row["model_output_raw"].startswith("<think>") for row in free)  # a random model, left to itself
    opening = 6  # tokens: "<think" ">\n\n" "</" "think" "><" "answer"
    assert max(row["tokens"] for row in forced) == opening + 8  # max_new_tokens counts what the model writes
    assert max(row["tokens"] for row in free) == 8
    assert json.loads((thoughtless / "scores.json").read_text())["answered"] == QUESTIONS


def test_forced_answer_is_the_models_continuation_of_the_opening(world, thoughtless):
    """Against the plain way: one sample, the whole text's tokens without a cache, the likeliest token each time."""
    checkpoint = find_checkpoint(str(world / "base"))
    model = load_thinker(checkpoint, torch.float32)
    encoder = OmniEncoder(load_processor(checkpoint), make_prompt("demo_selective", ""), 300.0)
    clip = world / "data" / "MMAU" / "test-mini-audios" / "clip004.wav"
    sample = AudioQASample("q004", str(clip), "what sound comes first ?", ("hiss", "drum", "click", "beep"), "drum")
    example = encoder.encode(sample)
    ids = example.input_ids + encoder.token_ids(EMPTY_THOUGHT_OPENING)
    clips = example.input_features[None]
    mask = torch.ones(clips.shape[0], clips.shape[2], dtype=torch.long)
    written = []
    for _ in range(8):
        with torch.no_grad():
            logits = model(
                input_ids=torch.tensor([ids + written]), input_features=clips, feature_attention_mask=mask
            ).logits[0, -1]
        written.append(int(logits.argmax()))
        if written[-1] == encoder.end_of_turn_id:
            break
    text = encoder.tokenizer.decode(written, skip_special_tokens=True)
    assert rows(thoughtless / "predictions.jsonl")[4]["model_output_raw"] == EMPTY_THOUGHT_OPENING + text


def test_forced_answers_in_batches_equal_those_one_by_one(world, thoughtless):
    infer.main(arguments(world, "thoughtless alone", prompt="demo_selective", thought="empty", batch_tokens=1))
    one_by_one = rows(world / "thoughtless alone" / "mmau-mini.empty_thought" / "predictions.jsonl")
    assert one_by_one == rows(thoughtless / "predictions.jsonl")


def test_empty_thought_needs_a_prompt_that_asks_for_one(world):
    with pytest.raises(InputError, match="thought empty: the prompt 'demo_direct' asks for the answer alone"):
        infer.main(arguments(world, "refused", thought="empty"))
    assert not (world / "refused").exists()


def test_forced_thought_is_never_empty_and_has_a_folder_of_its_own(world):
    infer.main(arguments(world, "thinking", prompt="demo_selective", thought="full"))
    forced = rows(world / "thinking" / "mmau-mini.full_thought" / "predictions.jsonl")
    assert all(re.match(r"<think(?!>\s*\n|></)", row["model_output_raw"]) for row in forced)
    encoder, _ = (make_encoder(InferConfig(model=str(world / "base"), prompt="demo_selective", thought=thought),
                               find_checkpoint(str(world / "base"))) for thought in ("full", "free"))  # fmt: skip
    empty = encoder.token_ids(format_response("", "dog"))
    full = encoder.token_ids(format_response("dog bell one", "dog"))
    assert set(empty) & set(encoder.suppressed_ids) and not set(full) & set(encoder.suppressed_ids)
    assert full[: len(encoder.opening_ids)] == encoder.opening_ids  # the beginning of every thought that is not empty


def test_free_and_forced_answers_do_not_mix(world, undisturbed, thoughtless, tmp_path):
    shutil.copytree(thoughtless, tmp_path / "out" / "mmau-mini")
    with pytest.raises(InputError, match="answers with other settings .*thought: empty -> None"):
        infer.main(arguments(world, str(tmp_path / "out"), prompt="demo_selective"))
    assert "thought" not in json.loads((undisturbed / "settings.json").read_text())


def test_forced_answers_resume(world, thoughtless, tmp_path):
    folder = tmp_path / "out" / "mmau-mini.empty_thought"
    shutil.copytree(thoughtless, folder)
    part = folder / "parts" / "rank0.jsonl"
    part.write_bytes(b"".join(part.read_bytes().splitlines(keepends=True)[:8]))
    infer.main(arguments(world, str(tmp_path / "out"), prompt="demo_selective", thought="empty"))
    assert (folder / "predictions.jsonl").read_bytes() == (thoughtless / "predictions.jsonl").read_bytes()


@pytest.fixture(scope="module")
def encoders(world):
    """The plain encoder and one that opens every turn with an empty thought."""
    checkpoint = find_checkpoint(str(world / "base"))
    configs = [
        InferConfig(model=str(world / "base"), prompt="demo_selective", thought=thought) for thought in ("free", "empty")
    ]
    return tuple(make_encoder(config, checkpoint) for config in configs)


def is_true_beginning(encoders, answer: str) -> bool:
    plain, forced = encoders
    whole = plain.encode_chat("which ?", format_response("", answer), None).input_ids
    opened = forced.encode_chat("which ?", None, None).input_ids
    prompt = plain.encode_chat("which ?", None, None).input_ids
    assert len(opened) > len(prompt)
    return whole[: len(opened)] == opened


@pytest.mark.parametrize("answer", ["drum", "your choice", "<5", ">5", "5", "\nx", " x", "-", "\u0338x", "é", "猫", ">>"])
def test_tokens_of_the_opening_begin_every_response_without_a_thought(encoders, answer):
    assert is_true_beginning(encoders, answer)


@given(answer=st.text(min_size=1, max_size=8))
def test_tokens_of_the_opening_begin_a_response_with_any_answer(encoders, answer):
    assert is_true_beginning(encoders, answer)


def test_complete_answer_tag_changes_the_tokens(encoders):
    """Why the opening stops before it: this tokenizer joins its last character with some answers."""
    plain, _ = encoders
    closed = plain.token_ids(EMPTY_THOUGHT_OPENING + ">")
    assert plain.token_ids(format_response("", "drum"))[: len(closed)] == closed
    assert plain.token_ids(format_response("", "your choice"))[: len(closed)] != closed


def test_opening_is_planned_for_in_a_prompts_length(encoders, world):
    clip = world / "data" / "MMAU" / "test-mini-audios" / "clip000.wav"
    sample = AudioQASample("a", str(clip), "what ?", ("hiss", "drum"), "drum")
    plain, forced = encoders
    assert forced.length(sample) == len(forced.encode(sample).input_ids) == plain.length(sample) + 6
    assert (
        forced.encode(sample, "<answer>drum</answer>").input_ids == plain.encode(sample, "<answer>drum</answer>").input_ids
    )
    assert forced.length(sample, "x") == plain.length(sample, "x")
