"""A frozen 4-bit base under an adapter (QLoRA, arXiv 2305.14314), through bitsandbytes.

The language model's linear layers are quantised; embeddings, head, norms and towers keep their precision. A checkpoint is
the adapter alone; merging adds it to the base's own weights, so the merged model differs from the trained one by the error
of the quantisation.
"""

from importlib.util import find_spec
from typing import TypeVar

import torch
from transformers import BitsAndBytesConfig

from ..errors import InputError

Model = TypeVar("Model", bound=torch.nn.Module)
NF4_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)  # of a weight: 4 bits, 8 for each block of 64, a float32 for 256 blocks
REPACKS_ON_CPU = "support_avx512bf16_for_cpu"  # of bitsandbytes' 4-bit layer
NOT_QUANTISED = ["lm_head", "audio_tower", "visual", "multi_modal_projector"]


def require_bitsandbytes() -> None:
    """Raise `InputError` where the package is missing."""
    if find_spec("bitsandbytes") is None:
        raise InputError(
            "quantization nf4 needs a package that is not installed: pip install -r requirements-qlora.txt --no-deps"
        )


def nf4_loading(dtype: torch.dtype, device: torch.device | str) -> dict:
    """Keyword arguments of `from_pretrained` that quantise shard by shard on the device and compute in `dtype`."""
    require_bitsandbytes()
    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
        llm_int8_skip_modules=NOT_QUANTISED,
    )
    return {"quantization_config": config, "device_map": {"": device}}


def keep_trainable(model: Model) -> Model:
    """Keep bitsandbytes from repacking weights on a CPU in a rollout: the repacked ones have no backward."""
    for module in model.modules():
        if hasattr(module, REPACKS_ON_CPU):
            setattr(module, REPACKS_ON_CPU, False)
    return model
