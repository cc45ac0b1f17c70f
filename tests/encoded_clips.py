"""A processor, its encoder, and samples about clips of noise, for tests of model inputs."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from transformers import WhisperFeatureExtractor

from omni_clst.data.encoder import OmniEncoder
from omni_clst.data.prompts import make_prompt
from omni_clst.data.samples import AudioQASample
from omni_clst.demo.pretrain import tokenizer_corpus
from omni_clst.demo.tiny import make_processor

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
