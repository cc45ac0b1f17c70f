"""Model inputs: the stock processor's ids and features, labels on the assistant's turn, lengths from headers."""

import copy
import json
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import WhisperFeatureExtractor

from omni_clst.data.audio import MIN_SAMPLES, audio_token_count, load_audio, mel_frame_count
from omni_clst.data.encoder import IGNORED_LABEL, Example, OmniEncoder, collate, describe_clips
from omni_clst.data.prompts import make_prompt
from omni_clst.data.response import format_response
from omni_clst.data.samples import AudioQASample
from omni_clst.demo.pretrain import tokenizer_corpus
from omni_clst.demo.tiny import make_processor
from omni_clst.errors import InputError

SYSTEM = "You are a helpful assistant."


@pytest.fixture(scope="module")
def processor():
    made = make_processor(tokenizer_corpus())
    # 40 s instead of 300 s of padding: longer than any clip here, the same numbers in less time
    made.feature_extractor = WhisperFeatureExtractor(feature_size=128, chunk_length=40, n_fft=400, hop_length=160)
    return made


@pytest.fixture(scope="module")
def encoder(processor):
    return OmniEncoder(processor, make_prompt("selective", SYSTEM), 300.0)


def write_clip(path: Path, samples: int, rate: int = 16000, channels: int = 1, seed: int = 0, **how) -> Path:
    noise = np.random.default_rng(seed).normal(0, 0.1, (samples, channels))
    soundfile.write(path, noise, rate, **how)
    return path


def sample_of(clip: Path | str, **changes) -> AudioQASample:
    fields = {"id": "a", "question": "what sound comes first ?", "choices": ("hiss", "a drum"), "answer": "a drum"}
    return AudioQASample(audio_path=str(clip), **(fields | changes))


def conversation_of(sample: AudioQASample, text: str, response: str | None = None, system: str = SYSTEM) -> list[dict]:
    """The chat as the released model's documentation writes it."""
    parts = [{"type": "audio", "audio": sample.audio_path}, {"type": "text", "text": text}]
    turns = [{"role": "user", "content": parts}]
    if system:
        turns.insert(0, {"role": "system", "content": [{"type": "text", "text": system}]})
    if response is not None:
        turns.append({"role": "assistant", "content": [{"type": "text", "text": response}]})
    return turns


def stock_batch(processor, conversations: list, waveforms: list[np.ndarray], padding_side: str = "left") -> dict:
    """What the stock processor makes of conversations and clips."""
    texts = [
        processor.apply_chat_template(turns, add_generation_prompt=turns[-1]["role"] == "user", tokenize=False)
        for turns in conversations
    ]
    return processor(text=texts, audio=waveforms, padding=True, padding_side=padding_side, return_tensors="pt")


def check_against_stock(encoder: OmniEncoder, samples: list[AudioQASample], padding_side: str) -> None:
    conversations = [conversation_of(sample, encoder.prompt.user_text(sample)) for sample in samples]
    stock = stock_batch(encoder.processor, conversations, [load_audio(s.audio_path) for s in samples], padding_side)
    examples = [encoder.encode(sample) for sample in samples]
    ours = collate(examples, encoder.tokenizer.pad_token_id, padding_side)
    assert ours["input_ids"].tolist() == stock["input_ids"].tolist()
    assert ours["attention_mask"].tolist() == stock["attention_mask"].tolist()
    frames = ours["feature_attention_mask"].sum(dim=1)
    assert frames.tolist() == stock["feature_attention_mask"].sum(dim=1).tolist()
    placeholders = (ours["input_ids"] == encoder.tokenizer.convert_tokens_to_ids("<|AUDIO|>")).sum(dim=1)
    for index, count in enumerate(frames.tolist()):
        assert placeholders[index] == audio_token_count(count)
        expected = stock["input_features"][index, :, :count]
        torch.testing.assert_close(ours["input_features"][index, :, :count], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("padding_side", ["left", "right"])
def test_inputs_equal_the_stock_processor(encoder, tmp_path, padding_side):
    lengths = [MIN_SAMPLES, 16000, 33623, 640]
    samples = [
        sample_of(write_clip(tmp_path / f"{length}.wav", length, seed=length), question="what ?" * (index + 1))
        for index, length in enumerate(lengths)
    ]
    check_against_stock(encoder, samples, padding_side)


@pytest.mark.parametrize("padding_side", ["left", "right"])
def test_several_clips_a_question_equal_the_stock_processor(encoder, tmp_path, padding_side):
    """One audio part per clip in front of the text, as the stock chat template writes them; features in that order."""
    lengths = [[16000], [640, 33623, MIN_SAMPLES], [20000, 5000]]
    samples = []
    for number, of_sample in enumerate(lengths):
        first, *more = (str(write_clip(tmp_path / f"{number}-{n}.wav", n, seed=n)) for n in of_sample)
        samples.append(sample_of(first, more_clips=tuple(more), question="what ?" * (number + 1)))
    conversations = []
    for sample in samples:
        parts = [{"type": "audio", "audio": clip} for clip in sample.clips]
        turns = conversation_of(sample, encoder.prompt.user_text(sample))
        turns[-1]["content"] = [*parts, {"type": "text", "text": encoder.prompt.user_text(sample)}]
        conversations.append(turns)
    waveforms = [load_audio(clip) for sample in samples for clip in sample.clips]
    stock = stock_batch(encoder.processor, conversations, waveforms, padding_side)
    examples = [pickle.loads(pickle.dumps(encoder.encode(sample))) for sample in samples]  # as a data worker sends them
    ours = collate(examples, encoder.tokenizer.pad_token_id, padding_side)
    assert ours["input_ids"].tolist() == stock["input_ids"].tolist()
    frames = ours["feature_attention_mask"].sum(dim=1).tolist()
    assert frames == stock["feature_attention_mask"].sum(dim=1).tolist()
    assert frames == [mel_frame_count(length) for of_sample in lengths for length in of_sample]
    for index, count in enumerate(frames):
        expected = stock["input_features"][index, :, :count]
        torch.testing.assert_close(ours["input_features"][index, :, :count], expected, rtol=0, atol=1e-5)
    assert [encoder.length(sample) for sample in samples] == [len(example.input_ids) for example in examples]
    assert [len(example.waveforms) for example in examples] == [0, 0, 0]


def test_prompt_that_the_model_has_no_positions_for_is_an_error(processor, tmp_path):
    """The audio tokens of all clips count; nothing is cut."""
    clips = [str(write_clip(tmp_path / f"{number}.wav", 32000, seed=number)) for number in range(3)]
    sample = sample_of(clips[0], more_clips=tuple(clips[1:]))
    whole = OmniEncoder(processor, make_prompt("demo_direct", ""), 300.0).length(sample)
    assert OmniEncoder(processor, make_prompt("demo_direct", ""), 300.0, max_tokens=whole).length(sample) == whole
    with pytest.raises(InputError) as caught:
        OmniEncoder(processor, make_prompt("demo_direct", ""), 300.0, max_tokens=whole - 1).length(sample)
    assert str(caught.value) == (
        f"sample 'a': a prompt of {whole} tokens, 150 of them audio, is longer than the {whole - 1} that the model has "
        "positions for: lower max_audio_seconds"
    )


def test_inputs_of_real_clips_equal_the_stock_processor(encoder, real_data):
    subset = real_data / "mmau_mini_subset"
    rows = json.loads((subset / "mmau-test-mini.json").read_text(encoding="utf-8"))
    samples = [
        AudioQASample(
            id=row["id"],
            audio_path=str(subset / "test-mini-audios" / Path(row["audio_id"]).name),
            question=row["question"],
            choices=tuple(row["choices"]),
            answer=row["answer"],
        )
        for row in rows
    ]
    assert len(samples) == 38
    for start in range(0, len(samples), 8):
        check_against_stock(encoder, samples[start : start + 8], "left")


def test_labels_are_only_on_the_assistants_turn_and_its_end(encoder, tmp_path):
    sample = sample_of(write_clip(tmp_path / "a.wav", 16000))
    for response in (format_response("hiss drum 1", "a drum"), format_response("", "a drum")):
        example = encoder.encode(sample, response)
        prompt_ids = encoder.encode(sample).input_ids
        labelled = [label for label in example.labels if label != IGNORED_LABEL]
        assert encoder.tokenizer.decode(labelled) == response + "<|im_end|>"
        assert example.labels == [IGNORED_LABEL] * len(prompt_ids) + labelled
        assert example.input_ids == prompt_ids + labelled


def test_trained_turn_equals_the_stock_processor(encoder, tmp_path):
    """The template ends a turn with a newline behind its end token, which is never learnt: generation stops before it."""
    sample = sample_of(write_clip(tmp_path / "a.wav", 20000))
    for response in (format_response("hiss drum 1", "a drum"), format_response("", "a drum")):
        turns = conversation_of(sample, encoder.prompt.user_text(sample), response)
        stock = stock_batch(encoder.processor, [turns], [load_audio(sample.audio_path)])["input_ids"][0].tolist()
        newline = encoder.token_ids("\n")
        assert encoder.encode(sample, response).input_ids + newline == stock


def test_prompt_alone_has_no_labels(encoder, tmp_path):
    assert encoder.encode(sample_of(write_clip(tmp_path / "a.wav", 4000))).labels is None


def test_user_text_is_the_template_with_question_and_choices(processor):
    encoder = OmniEncoder(processor, make_prompt("demo_selective", SYSTEM), 300.0)
    assert encoder.prompt_text(sample_of("a.wav"), 2) == (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        "<|im_start|>user\n<|audio_bos|><|AUDIO|><|AUDIO|><|audio_eos|>"
        "what sound comes first ?\n- hiss\n- a drum\nthink if needed :<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_empty_system_prompt_is_no_turn(processor):
    encoder = OmniEncoder(processor, make_prompt("demo_selective", ""), 300.0)
    assert encoder.prompt_text(sample_of("a.wav"), 1).startswith("<|im_start|>user\n<|audio_bos|>")


def test_braces_in_a_question_are_text(encoder):
    assert "which {choices} ?\n- hiss" in encoder.prompt_text(sample_of("a.wav", question="which {choices} ?"), 1)
    text = encoder.prompt_text(sample_of("a.wav", question="q ?", choices=("{question}", "{x}")), 1)
    assert "q ?\n- {question}\n- {x}\n" in text


def test_prompt_of_a_sample_is_kept_verbatim(encoder, tmp_path):
    own = "\n  Listen :\twhich ?  A. hiss\nB. drum "
    clip = write_clip(tmp_path / "a.wav", 16000)
    sample = sample_of(clip, prompt=own, choices=())
    assert f"<|audio_eos|>{own}<|im_end|>" in encoder.prompt_text(sample, 1)
    stock = stock_batch(encoder.processor, [conversation_of(sample, own)], [load_audio(clip)])
    assert encoder.encode(sample).input_ids == stock["input_ids"][0].tolist()


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


EXACT_FORMATS = [
    ({"subtype": "PCM_16"}, "wav"),
    ({"subtype": "PCM_32"}, "wav"),
    ({"subtype": "FLOAT"}, "wav"),
    ({"channels": 2}, "wav"),
    ({"channels": 6}, "wav"),
    ({}, "flac"),
    ({"format": "OGG", "subtype": "VORBIS"}, "ogg"),
    ({"format": "W64"}, "w64"),
]


@pytest.mark.parametrize(("how", "suffix"), EXACT_FORMATS, ids=[f"{suffix} {how}" for how, suffix in EXACT_FORMATS])
def test_length_is_known_from_the_header(processor, tmp_path, how, suffix):
    encoder = OmniEncoder(processor, make_prompt("demo_selective", ""), 0.7)
    response = format_response("hiss", "a drum")
    for rate in (8000, 16000, 22050, 44100, 48000):
        for seconds in (0.03, 0.6999, 0.71):
            clip = write_clip(tmp_path / f"{rate}-{seconds}.{suffix}", int(rate * seconds), rate, **how)
            sample = sample_of(clip)
            assert encoder.length(sample) == len(encoder.encode(sample).input_ids)
            assert encoder.length(sample, response) == len(encoder.encode(sample, response).input_ids)


@settings(max_examples=40, deadline=None)
@given(frames=st.integers(1500, 60_000), rate=st.sampled_from([8000, 11025, 16000, 32000, 44100, 48000]))
def test_length_is_known_for_any_length_and_rate(processor, tmp_path_factory, frames, rate):
    encoder = OmniEncoder(processor, make_prompt("demo_direct", ""), 1.0)
    sample = sample_of(write_clip(tmp_path_factory.getbasetemp() / "any.wav", frames, rate))
    assert encoder.length(sample, "x") == len(encoder.encode(sample, "x").input_ids)


def test_length_of_real_clips_is_known_but_for_mp3(encoder, real_data):
    for clip in sorted((real_data / "mmau_mini_subset" / "test-mini-audios").iterdir()):
        sample = sample_of(clip)
        difference = abs(encoder.length(sample) - len(encoder.encode(sample).input_ids))
        assert difference <= (2 if soundfile.info(clip).format == "MP3" else 0), clip


def test_long_clip_is_cropped_at_its_end(processor, tmp_path):
    encoder = OmniEncoder(processor, make_prompt("demo_direct", ""), 1.0)
    long, short = write_clip(tmp_path / "long.wav", 40000), write_clip(tmp_path / "short.wav", 16000)
    assert encoder.encode(sample_of(long)).input_features.shape == (128, 100)
    assert encoder.encode(sample_of(long)).input_ids == encoder.encode(sample_of(short)).input_ids
    np.testing.assert_array_equal(encoder.load(sample_of(long)), load_audio(long)[:16000])


def test_other_waveform_can_replace_a_clip(encoder, tmp_path):
    sample = sample_of(write_clip(tmp_path / "a.wav", 16000))
    silence = encoder.encode_waveform(sample, np.zeros(16000, np.float32))
    assert silence.input_ids == encoder.encode(sample).input_ids
    assert silence.input_features.unique().numel() == 1


def test_chat_without_audio_has_no_placeholder_and_no_features(encoder):
    example = encoder.encode_chat("hello ?", "drum", None)
    assert example.input_features is None
    text = encoder.tokenizer.decode(example.input_ids)
    assert text == f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\nhello ?<|im_end|>\n<|im_start|>assistant\n" \
                   "drum<|im_end|>"  # fmt: skip


def example_of(ids: list[int], labels: list[int] | None, frames: int | None) -> Example:
    features = None if frames is None else torch.full((2, frames), float(frames))
    return Example(ids, labels, features, frames=() if frames is None else (frames,))


COLLATED = {
    "right": ([[1, 2, 3], [4, 0, 0]], [[1, 1, 1], [1, 0, 0]], [[-100, 2, 3], [4, -100, -100]]),
    "left": ([[1, 2, 3], [0, 0, 4]], [[1, 1, 1], [0, 0, 1]], [[-100, 2, 3], [-100, -100, 4]]),
}


@pytest.mark.parametrize("side", COLLATED)
def test_collate_pads_tokens_on_the_side_asked_for_and_frames_at_their_end(side):
    batch = collate([example_of([1, 2, 3], [-100, 2, 3], 2), example_of([4], [4], 3)], 0, side)
    ids, mask, labels = COLLATED[side]
    assert batch["input_ids"].tolist() == ids
    assert batch["attention_mask"].tolist() == mask
    assert batch["labels"].tolist() == labels
    assert batch["input_features"].tolist() == [[[2.0, 2.0, 0.0]] * 2, [[3.0, 3.0, 3.0]] * 2]
    assert batch["feature_attention_mask"].tolist() == [[1, 1, 0], [1, 1, 1]]


def test_collate_leaves_out_what_no_example_has():
    assert set(collate([example_of([1], None, None)], 0, "left")) == {"input_ids", "attention_mask"}
    mixed = collate([example_of([1], [1], None), example_of([2], [2], 3)], 0, "left")
    assert mixed["input_features"].shape == (1, 2, 3)  # clips in batch order, rows without one have none


def test_encoder_can_be_sent_to_a_data_worker(encoder, tmp_path):
    sample = sample_of(write_clip(tmp_path / "a.wav", 4000))
    sent = pickle.loads(pickle.dumps(encoder))
    assert sent.encode(sample).input_ids == encoder.encode(sample).input_ids


def test_cropped_and_truncated_clips_are_counted(tmp_path):
    short, long, cut = (tmp_path / f"{name}.wav" for name in ("short", "long", "cut"))
    for path, seconds in ((short, 1), (long, 3), (cut, 1)):
        soundfile.write(path, np.full(16000 * seconds, 0.1), 16000)
    cut.write_bytes(cut.read_bytes()[:-8000])
    samples = [AudioQASample(path.stem, str(path), "q", ("a", "b"), "a") for path in (short, long, cut, long)]
    assert describe_clips(samples, 2.0) == "; 1 clips cropped at 2 s, 1 clips truncated"
    assert describe_clips(samples[:1], 2.0) == ""
