"""Settings of the model: which one, its prompt, and the length of its audio."""

from typing import Annotated, Literal

from pydantic import Field

from ..data.prompts import PromptSetting
from ..fields import Lines, MayChange, ModelSource, Settings, missing_package, rule

EngineName = Annotated[
    Literal["auto", "hf", "vllm"],
    Field(description="what generates completions; auto is vllm where it is installed and a GPU is used, else hf"),
]
DecodingName = Annotated[
    Literal["auto", "plain", "static"],
    Field(
        description="of engine hf: static decodes in memory reserved at the start, on a GPU as one CUDA graph a token, "
        "without the time to launch kernels; plain frees the memory of finished completions; auto: static on a GPU, else "
        "plain"
    ),
]
MemoryShare = Annotated[
    float, Field(gt=0, le=1, description="of engine vllm: the share of a GPU's memory for weights, keys and values")
]


class ModelConfig(Settings):
    """The model: which one, its prompt, and the length of its audio."""

    model: ModelSource = Field(description="a folder in a base's layout, or a Hub id")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="auto is bfloat16 where the device has it; float16 is for inference"
    )
    device: MayChange[Literal["auto", "cuda", "cpu"]] = Field(
        "auto", description="auto takes a GPU where there is one; a GPU that cannot be used is an error, which cpu avoids"
    )
    attn_implementation: Literal["sdpa", "flash_attention_2", "eager"] = Field(
        "sdpa", description="flash_attention_2 is faster on long clips and needs its package"
    )
    prompt: PromptSetting = Field(
        "auto",
        description="auto is the prompt that the checkpoint was trained with (of a released model: selective in training, "
        "direct in answering); else a name in prompts.py, a text with {question} and {choices}, or a file (.txt) with one",
    )
    system_prompt: str | None = Field(None, description="none: the checkpoint's training prompt; empty: no system turn")
    max_audio_seconds: float = Field(
        300.0, gt=0, description="longer clips are cropped at their end; a second takes 25 tokens"
    )
    check_audio: MayChange[bool] = Field(
        False,
        description="true decodes every clip before weights are loaded: finds those that are broken after their header",
    )
    allow_missing_audio: MayChange[bool] = Field(
        False,
        description="true continues without rows whose clip cannot be read: left out of training, counted as wrong",
    )

    @rule
    def _attention_fits(self) -> Lines:
        if self.attn_implementation == "flash_attention_2":
            package = ("flash_attn", "flash-attn --no-build-isolation")
            yield from missing_package("attn_implementation flash_attention_2", package)
            if self.dtype == "float32" or self.device == "cpu":
                yield "attn_implementation flash_attention_2 needs a GPU and dtype bfloat16 or float16; sdpa takes any"
