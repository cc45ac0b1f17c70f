"""Settings of the model: which one, how it is prompted, how much audio it is given."""

from dataclasses import dataclass

from ..checks import missing_package, one_of, positive
from ..settings import model_field

LANGUAGE_MODEL_LINEAR = r"model\.layers\.\d+\.(self_attn|mlp)\.\w+_proj"


@dataclass(kw_only=True)
class ModelConfig:
    """Which model, how it is prompted, how much audio it gets."""

    model: str = model_field()  # a folder in the Omni layout or a Hub id
    dtype: str = "auto"  # auto (bfloat16 where the device has it) | float32 | bfloat16 | float16 (inference)
    attn_implementation: str = "sdpa"  # sdpa | flash_attention_2 (faster on long clips, needs its package) | eager
    prompt: str = "selective"  # a name in prompts.py, or a text with {question} and {choices}
    system_prompt: str = "You are a helpful assistant."  # empty: no system turn
    max_audio_seconds: float = 300.0  # longer clips are cropped at their end; 25 tokens a second
    check_audio: bool = False  # True decodes every clip before weights are loaded: sound that is broken behind its header
    allow_missing_audio: bool = False  # True goes on without rows whose clip cannot be read: left out, or counted as wrong

    attentions = ("sdpa", "flash_attention_2", "eager")


def problems_of_model(config: ModelConfig) -> list[str]:
    found = one_of("dtype", config.dtype, ("auto", "float32", "bfloat16", "float16"))
    found += one_of("device", config.device, ("auto", "cuda", "cpu"))
    found += one_of("attn_implementation", config.attn_implementation, config.attentions)
    if config.attn_implementation == "flash_attention_2":
        found += missing_package("attn_implementation flash_attention_2", ("flash_attn", "flash-attn --no-build-isolation"))
        if config.dtype == "float32" or config.device == "cpu":
            found.append("attn_implementation flash_attention_2 needs a GPU and dtype bfloat16 or float16; sdpa takes any")
    return found + positive(config, "max_audio_seconds")
