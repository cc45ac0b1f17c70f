"""Shared by the benches: a random thinker of any size and a clock by phase."""

import sys
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY / "tests"), str(REPOSITORY / "src")]

from transformers import (  # noqa: E402
    Qwen2_5OmniProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
    WhisperFeatureExtractor,
)

from omni_clst.demo.pretrain import tokenizer_corpus  # noqa: E402
from omni_clst.demo.tiny import CHAT_TEMPLATE, make_thinker_config, train_tokenizer  # noqa: E402
from omni_clst.model.families.qwen2_5_omni import Qwen2_5OmniThinker  # noqa: E402

QUESTION = "What can be heard in this recording? " * 12  # about 100 tokens
SIZES = {  # text: hidden, layers, heads, key-value heads, vocabulary; audio: width, layers
    "1m": (128, 3, 4, 2, 700, 128, 2),
    "28 layers": (64, 28, 4, 2, 700, 64, 2),
    "79m": (512, 8, 8, 2, 32_000, 512, 8),
    "500m": (896, 24, 14, 2, 151_936, 1280, 32),
    "3b": (2048, 36, 16, 2, 151_936, 1280, 32),
    "7b": (3584, 28, 28, 4, 152_064, 1280, 32),
}
INTERMEDIATE = {"500m": 4864, "3b": 11_008, "7b": 18_944}  # of the feed-forward layers; 4 times the hidden size elsewhere


def make_processor() -> Qwen2_5OmniProcessor:
    """The released processor's parts, which pad a clip to 300 s, with a small tokenizer."""
    return Qwen2_5OmniProcessor(
        image_processor=Qwen2VLImageProcessor(),
        video_processor=Qwen2VLVideoProcessor(),
        feature_extractor=WhisperFeatureExtractor(feature_size=128, chunk_length=300),
        tokenizer=train_tokenizer(tokenizer_corpus()),
        chat_template=CHAT_TEMPLATE,
    )


def make_model(
    processor, size: str, vocabulary: int | None = None, dtype=torch.float32, device="cpu"
) -> Qwen2_5OmniThinker:
    """A thinker with random weights; the audio tower is frozen, as it is in training."""
    hidden, layers, heads, kv_heads, words, width, audio_layers = SIZES[size]
    config = make_thinker_config(processor, hidden, layers, audio_layers)
    text, audio = config.text_config, config.audio_config
    text.vocab_size = vocabulary or words
    text.intermediate_size = INTERMEDIATE.get(size, 4 * hidden)
    text.num_attention_heads, text.num_key_value_heads = heads, kv_heads
    half = hidden // heads // 2
    text.rope_parameters["mrope_section"] = [half - 2 * (3 * half // 8), 3 * half // 8, 3 * half // 8]
    audio.num_mel_bins, audio.d_model, audio.encoder_ffn_dim, audio.encoder_attention_heads = 128, width, 4 * width, 8
    audio.n_window, audio.output_dim = 100, hidden
    torch.manual_seed(0)
    usual = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):  # 7B would take minutes on a CPU, and twice the memory in float32
            model = Qwen2_5OmniThinker(config).to(dtype).eval()
    finally:
        torch.set_default_dtype(usual)
    model.audio_tower.requires_grad_(False)
    model.visual.requires_grad_(False)
    return model


def make_clip(seconds: float, seed: int = 0) -> np.ndarray:
    """A noisy clip, float32 (samples,) at 16 kHz."""
    return (0.1 * np.random.default_rng(seed).standard_normal(int(seconds * 16_000))).astype(np.float32)


class Phases(Counter):
    """Seconds by phase; a phase ends when the device has finished its work."""

    @contextmanager
    def of(self, name: str):
        start = self.now()
        yield
        self[name] += self.now() - start

    @staticmethod
    def now() -> float:
        """Seconds, after all pending work of the device."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter()


def describe_machine(device: str) -> str:
    """The processor or card of the measurement."""
    if device != "cpu":
        return torch.cuda.get_device_name()
    names = [
        line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    return f"{names[0] if names else 'CPU'}, {torch.get_num_threads()} threads"
