"""Lengths in tokens are known from audio headers, and what has no positions is an error."""

import encoded_clips
import pytest
import soundfile
from encoded_clips import sample_of, write_clip
from hypothesis import given, settings
from hypothesis import strategies as st

from omni_clst.data.encoder import OmniEncoder
from omni_clst.data.prompts import make_prompt
from omni_clst.data.response import format_response
from omni_clst.errors import InputError

processor, encoder = encoded_clips.processor, encoded_clips.encoder  # fixtures


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
