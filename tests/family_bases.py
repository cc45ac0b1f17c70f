"""A tiny base of every family with its encoder, its stock model, and an adapter, for tests of all of them."""

import numpy as np
import pytest
import torch
from tiny_families import TINY, make_tiny
from tiny_world import write_train_file

from omni_clst.data.encoder import OmniEncoder, collate
from omni_clst.data.layouts import read_samples
from omni_clst.data.prompts import make_prompt
from omni_clst.data.samples import AudioQASample
from omni_clst.model.checkpoints import find_checkpoint, load_family, load_processor
from omni_clst.model.lora import add_lora, make_lora

SYSTEM = "You are a helpful assistant."
TOLERANCE = 1e-5  # of mel features and log-probabilities: the order of float32 sums


def noise(samples: int) -> np.ndarray:
    return np.random.default_rng(samples).normal(0, 0.1, samples).astype(np.float32)


def question(**more) -> AudioQASample:
    return AudioQASample("q", "", "which sound comes first ?", ("hiss", "drum"), "drum", **more)


@pytest.fixture(scope="module", params=TINY)
def base(request, tmp_path_factory):
    """The name and the folder of a tiny base."""
    return request.param, make_tiny(request.param, tmp_path_factory.mktemp("bases") / "base")


@pytest.fixture(scope="module")
def checkpoint(base):
    return find_checkpoint(str(base[1]))


@pytest.fixture(scope="module")
def encoder(checkpoint):
    clips = load_family(checkpoint).clips
    return OmniEncoder(load_processor(checkpoint), make_prompt("demo_selective", SYSTEM), 30.0, clips=clips)


@pytest.fixture(scope="module")
def stock(base):
    return TINY[base[0]].stock.from_pretrained(base[1], dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """Questions about clips of five lengths."""
    return read_samples(str(write_train_file(tmp_path_factory.mktemp("clips"), 5)), None)


def with_adapter(model, targets: str | None = None):
    """The model with a random adapter, trained as it were."""
    torch.manual_seed(0)
    adapted = add_lora(model, str(model.name_or_path), make_lora(model, 4, 8.0, targets), float32=True)
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            parameter.data = 0.1 * torch.randn_like(parameter)
    return adapted


def logits_of(model, encoder) -> torch.Tensor:
    batch = collate([encoder.encode_waveform(question(), noise(16_001))], 0, "left")
    with torch.no_grad():
        return model(**batch).logits
