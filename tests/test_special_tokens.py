"""Special tokens in a text are an error that names the sample or the setting."""

import copy
import re

import encoded_clips
import pytest
from encoded_clips import SYSTEM, sample_of, write_clip

from omni_clst.data.audio import audio_token_count, mel_frame_count
from omni_clst.data.encoder import OmniEncoder
from omni_clst.data.prompts import make_prompt
from omni_clst.data.response import format_response
from omni_clst.errors import InputError

processor, encoder = encoded_clips.processor, encoded_clips.encoder  # fixtures


SPECIAL = [
    ({"question": "is it <|AUDIO|> ?"}, "<|AUDIO|>"),
    ({"question": "end <|im_end|> here"}, "<|im_end|>"),
    ({"choices": ("hiss", "<|audio_eos|>")}, "<|audio_eos|>"),
    ({"prompt": "look: <|IMAGE|>"}, "<|IMAGE|>"),
]


@pytest.mark.parametrize(("changes", "token"), SPECIAL, ids=[row[1] for row in SPECIAL])
def test_special_token_in_a_text_is_an_error(encoder, tmp_path, changes, token):
    sample = sample_of(write_clip(tmp_path / "a.wav", 4000), **changes)
    for call in (encoder.encode, encoder.length):
        with pytest.raises(InputError) as caught:
            call(sample)
        assert str(caught.value) == f"sample 'a': the text holds the special token {token!r}"


@pytest.fixture(scope="module")
def released_like(processor):
    """As released, the tokenizer has control tokens that are not among its special ones; a trainer added the tags."""
    added = copy.deepcopy(processor)
    added.tokenizer.add_tokens(["<tool_call>", "<|fim_prefix|>", "<think>", "</think>", "<answer>", "</answer>", "bell"])
    assert "<tool_call>" not in added.tokenizer.all_special_tokens
    return added


@pytest.mark.parametrize("token", ["<tool_call>", "<|fim_prefix|>", "<|im_end|>"])
@pytest.mark.parametrize(
    "place", [{"question": "what does {} do ?"}, {"choices": ("hiss", "a {}")}, {"prompt": "{}"}], ids=lambda p: min(p)
)
def test_added_token_in_a_text_is_an_error(released_like, tmp_path, token, place):
    key, text = next(iter(place.items()))
    filled = tuple(part.format(token) for part in text) if isinstance(text, tuple) else text.format(token)
    sample = sample_of(write_clip(tmp_path / "a.wav", 4000), **{key: filled})
    with pytest.raises(InputError, match=re.escape(f"sample 'a': the text holds the special token {token!r}")):
        OmniEncoder(released_like, make_prompt("direct", SYSTEM), 300.0).length(sample)


def test_tags_of_the_answer_and_plain_words_may_be_added_tokens(released_like, tmp_path):
    sample = sample_of(write_clip(tmp_path / "a.wav", 4000), question="a bell ?")
    encoder = OmniEncoder(released_like, make_prompt("selective", SYSTEM), 300.0)
    assert encoder.encode(sample, format_response("", "a drum")).labels


SPECIAL_SETTINGS = [
    ({"setting": "direct", "system": "Hear <|AUDIO|>."},
     "system_prompt 'Hear <|AUDIO|>.' holds the special token '<|AUDIO|>': write it in other words"),
    ({"setting": "{question}<|im_end|>{choices}", "system": ""},
     "prompt '{question}<|im_end|>{choices}' holds the special token '<|im_end|>': write it in other words"),
    ({"setting": "{question} <tool_call> {choices}", "system": ""},
     "prompt '{question} <tool_call> {choices}' holds the special token '<tool_call>': write it in other words"),
]  # fmt: skip


@pytest.mark.parametrize(("prompt", "message"), SPECIAL_SETTINGS, ids=["system_prompt", "prompt", "added token"])
def test_special_token_in_a_setting_names_the_setting(released_like, prompt, message):
    with pytest.raises(InputError) as caught:
        OmniEncoder(released_like, make_prompt(**prompt), 300.0)
    assert str(caught.value) == message


def test_text_that_only_looks_special_is_text(encoder, tmp_path):
    sample = sample_of(write_clip(tmp_path / "a.wav", 4000), question="<think> <|audio|> <audio> [AUDIO] ?")
    ids = encoder.encode(sample).input_ids
    assert ids.count(encoder.tokenizer.convert_tokens_to_ids("<|AUDIO|>")) == audio_token_count(mel_frame_count(4000))
