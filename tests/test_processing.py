"""Model inputs: the stock processor's ids and features, labels on the assistant's turn."""

import json
import pickle
from pathlib import Path

import encoded_clips
import numpy as np
import pytest
import soundfile
import torch
from encoded_clips import SYSTEM, sample_of, write_clip

from omni_clst.data.audio import MIN_SAMPLES, audio_token_count, load_audio, mel_frame_count
from omni_clst.data.encoder import IGNORED_LABEL, OmniEncoder, collate, describe_clips
from omni_clst.data.prompts import make_prompt
from omni_clst.data.response import format_response
from omni_clst.data.samples import AudioQASample

processor, encoder = encoded_clips.processor, encoded_clips.encoder  # fixtures


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
