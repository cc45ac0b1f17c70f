"""What the project asks of a base."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from transformers.conversion_mapping import get_checkpoint_conversion_mapping, register_checkpoint_conversion_mapping

from ...data.clip_format import ClipFormat
from ..thinker import OmniThinker

Weights = Iterable[tuple[str, torch.Tensor]]


def no_options(feature_extractor, samples: int) -> dict[str, Any]:
    """vLLM makes the mel features of a clip as its copy of the released processor does."""
    return {}


def whole_clip(waveform: np.ndarray) -> np.ndarray:
    """vLLM is given the clip as it is."""
    return waveform


@dataclass(frozen=True)
class Family:
    """A base: its classes, its checkpoint's layout, how it takes clips, and which of its layers LoRA adapts.

    `model_type` is that of a released `config.json`; `thinker_type` that of one of the thinker alone, where the released
    checkpoint has more than a thinker. `whole` is transformers' class of all parts, which needs the files
    `whole_needs`. `architecture` is what the release's config names, which vLLM looks up.
    `released_weights` gives a thinker's weights the names and shapes of the released checkpoint, whose weights of other
    parts begin with `speech`. `shapes` are the released sizes by name, for plans without the Hub. `vllm_options` are
    what vLLM's processor needs for a prompt whose longest clip has so many samples, `vllm_clip` is the clip that it is
    given; `vllm_server` says whether a server takes this base's mel features.
    """

    name: str
    model_type: str
    config: type
    thinker_config: type
    processor: type
    thinker: type[OmniThinker]
    whole: type
    architecture: str
    clips: ClipFormat
    lora_targets: str
    released_weights: Callable[[Weights], Iterator[tuple[str, torch.Tensor]]]
    whole_config: Callable[[Any], Any]
    shapes: Mapping[str, dict] = field(default_factory=dict)
    speech: tuple[str, ...] = ()
    whole_needs: tuple[str, ...] = ()
    vllm_options: Callable[..., dict[str, Any]] = no_options
    vllm_clip: Callable[[np.ndarray], np.ndarray] = whole_clip
    vllm_reload: bool = True  # whether a running vLLM takes other weights
    vllm_server: bool = False

    @property
    def stock_thinker(self) -> type:
        """transformers' class of the thinker, which `thinker` adds the training forwards to."""
        return self.thinker.__bases__[1]

    @property
    def has_parts(self) -> bool:
        """Whether a released checkpoint has more than the thinker: a talker and what makes its speech audible."""
        return self.config is not self.thinker_config

    def thinker_of(self, config):
        """The thinker's part of a whole configuration."""
        return config.thinker_config if self.has_parts else config


def convert_as_released(thinker: type[OmniThinker]) -> None:
    """Make transformers convert a released checkpoint's weights for `thinker` as for its own class of the same type."""
    model_type = thinker.config_class.model_type
    register_checkpoint_conversion_mapping(thinker.__name__, get_checkpoint_conversion_mapping(model_type), overwrite=True)


def under_thinker(weights: Weights) -> Iterator[tuple[str, torch.Tensor]]:
    """The thinker's weights as released Omni checkpoints name them."""
    return ((f"thinker.{name}", tensor) for name, tensor in weights)


def without_dtype(config: dict) -> dict:
    """A configuration without the dtypes of its parts: a saved one has only that of the whole model."""
    kept = {key: value for key, value in config.items() if key not in ("dtype", "torch_dtype")}
    return {key: without_dtype(value) if isinstance(value, dict) else value for key, value in kept.items()}
