"""The shapes of the released thinkers, so that a run can be planned without the Hub.

Source: `config.json` of huggingface.co/Qwen/Qwen2.5-Omni-3B and -7B, `thinker_config`; what is not listed is the default of
transformers. Weights are counted from them in `training/plan.py`.
"""

from pathlib import Path

from transformers import Qwen2_5OmniThinkerConfig

from ..errors import InputError
from .checkpoints import find_checkpoint, load_model_config

_TEXT = {
    "3B": {
        "hidden_size": 2048, "intermediate_size": 11008, "num_hidden_layers": 36, "num_attention_heads": 16,
        "num_key_value_heads": 2, "vocab_size": 151936,
    },
    "7B": {
        "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28,
        "num_key_value_heads": 4, "vocab_size": 152064,
    },
}  # fmt: skip
_AUDIO = {"d_model": 1280, "encoder_layers": 32, "encoder_attention_heads": 20, "encoder_ffn_dim": 5120}
_VISION = {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16}
RELEASED = tuple(_TEXT)


def thinker_config_of(model: str):
    """The thinker's configuration of 3B or 7B, also given as a Hub id; else of a folder. Raises `InputError`."""
    name = model.removeprefix("Qwen/Qwen2.5-Omni-").upper()
    if name not in _TEXT:
        if not Path(model).is_dir():
            raise InputError(f"model {model!r} is neither a folder nor one of {', '.join(RELEASED)}")
        return load_model_config(find_checkpoint(model).full_model).thinker_config
    width = _TEXT[name]["hidden_size"]
    return Qwen2_5OmniThinkerConfig(
        text_config=dict(_TEXT[name]),
        audio_config={**_AUDIO, "output_dim": width},
        vision_config={**_VISION, "out_hidden_size": width},
    )
