"""`log_mel` against the stock feature extractor padded to 300 s, as Qwen2.5-Omni is released."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import WhisperFeatureExtractor

from omni_clst.data.audio import MIN_SAMPLES, audio_token_count, load_audio, mel_frame_count
from omni_clst.data.mel import log_mel
from omni_clst.errors import InputError

RELEASED = WhisperFeatureExtractor(feature_size=128, chunk_length=300, n_fft=400, hop_length=160)
# The same code on longer input: only the order of float32 sums may differ.
TOLERANCE = 1e-5


def noise(samples: int, seed: int = 0) -> np.ndarray:
    """Noise that is loudest in its last 5 ms, where the padding decides on the clip's dynamic range."""
    waveform = np.random.default_rng(seed).normal(0, 0.01, samples).astype(np.float32)
    waveform[-80:] *= 40
    return waveform


def stock(extractor, waveform: np.ndarray) -> np.ndarray:
    """The valid frames (mel_bins, frames) of one clip as the stock extractor makes them."""
    made = extractor(waveform, sampling_rate=16000, padding="max_length", return_attention_mask=True)
    return made["input_features"][0][:, : int(made["attention_mask"][0].sum())]


def check_against_stock(extractor, waveforms: list[np.ndarray]) -> None:
    features, mask = log_mel(extractor, waveforms)
    frames = [mel_frame_count(len(waveform)) for waveform in waveforms]
    assert features.dtype == np.float32
    assert mask.dtype == np.int64
    assert features.shape == (len(waveforms), extractor.feature_size, max(frames))
    assert mask.sum(axis=1).tolist() == frames
    for row, waveform in enumerate(waveforms):
        expected = stock(extractor, waveform)
        assert expected.shape[1] == frames[row]
        np.testing.assert_allclose(features[row, :, : frames[row]], expected, rtol=0, atol=TOLERANCE)


@settings(max_examples=6, deadline=None)
@given(st.integers(MIN_SAMPLES, 60_000), st.integers(0, 9))
def test_any_length_equals_the_stock_extractor_on_every_valid_frame(samples, seed):
    check_against_stock(RELEASED, [noise(samples, seed)])


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(MIN_SAMPLES, 40_000), min_size=1, max_size=5))
def test_batch_of_any_lengths_equals_the_stock_extractor(lengths):
    # 3 s instead of 300 s of padding: cheap, and the same code
    extractor = WhisperFeatureExtractor(feature_size=64, chunk_length=3)
    check_against_stock(extractor, [noise(samples, seed) for seed, samples in enumerate(lengths)])


@pytest.mark.parametrize("samples", [MIN_SAMPLES, 16000, 16001, 16159, 16119, 16120, 16121])
def test_lengths_around_a_frame_border_equal_the_stock_extractor(samples):
    check_against_stock(WhisperFeatureExtractor(feature_size=128, chunk_length=3), [noise(samples)])


def test_real_clips_equal_the_stock_extractor(real_data):
    clips = sorted((real_data / "mmau_mini_subset" / "test-mini-audios").iterdir())
    assert len(clips) == 38
    check_against_stock(RELEASED, [load_audio(clips[0])])
    # the others against 32 s of padding, longer than any of them: the same numbers in a tenth of the time
    extractor = WhisperFeatureExtractor(feature_size=128, chunk_length=32, n_fft=400, hop_length=160)
    for clip in clips:
        check_against_stock(extractor, [load_audio(clip)])


def test_a_clip_is_the_same_alone_and_in_a_batch():
    waveforms = [noise(samples, seed) for seed, samples in enumerate([16000, MIN_SAMPLES, 4799, 39999])]
    features, mask = log_mel(RELEASED, waveforms)
    for row, waveform in enumerate(waveforms):
        alone = log_mel(RELEASED, [waveform])[0][0]
        np.testing.assert_allclose(features[row, :, : int(mask[row].sum())], alone, rtol=0, atol=TOLERANCE)


def test_silence_equals_the_stock_extractor():
    check_against_stock(RELEASED, [np.zeros(8000, np.float32)])


def test_chunk_length_neither_pads_nor_cuts():
    short_chunks = WhisperFeatureExtractor(feature_size=128, chunk_length=1)
    np.testing.assert_array_equal(log_mel(short_chunks, [noise(40_000)])[0], log_mel(RELEASED, [noise(40_000)])[0])


def test_clip_too_short_for_a_token_is_refused():
    with pytest.raises(InputError, match="^clip 1: 320 samples are too short, one audio token takes 321$"):
        log_mel(RELEASED, [noise(400), noise(320)])


@pytest.mark.parametrize("samples", [321, 640, 641, 960, 961, 1601, 16000, 33623])
def test_token_count_equals_the_audio_tower(samples):
    import torch
    from transformers.models.qwen2_5_omni.configuration_qwen2_5_omni import Qwen2_5OmniAudioEncoderConfig
    from transformers.models.qwen2_5_omni.modeling_qwen2_5_omni import Qwen2_5OmniAudioEncoder

    size = {"d_model": 16, "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 16, "output_dim": 8}
    tower = Qwen2_5OmniAudioEncoder(Qwen2_5OmniAudioEncoderConfig(**size))
    features, mask = log_mel(RELEASED, [noise(samples)])
    frames = torch.tensor([int(mask.sum())])
    after_convolution, tokens = tower._get_feat_extract_output_lengths(frames)
    encoded = tower(torch.tensor(features[0]), feature_lens=frames, aftercnn_lens=after_convolution).last_hidden_state
    assert encoded.shape[0] == int(tokens) == audio_token_count(int(frames))
