"""How the language model attends where a mask says freely who sees whom, as packed completions need.

transformers hands every attention to a function by name. `attend` stands in for its SDPA: the same, but when few queries
meet many keys, as in decoding, the query heads that share keys are put in one row instead of copying the keys for each.
"""

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from .errors import InputError

FOLDED_SDPA = "folded_sdpa"


def free_mask(allowed: torch.Tensor, attn_implementation: str, dtype: torch.dtype) -> torch.Tensor:
    """The mask that an attention takes, from who sees whom (batch, queries, keys): true or false, or 0 and minus infinity.

    Raises `InputError` for an attention that takes no mask of one's own.
    """
    allowed = allowed.unsqueeze(1)  # for all heads
    if attn_implementation in (FOLDED_SDPA, "sdpa"):
        return allowed
    if attn_implementation == "eager":
        return torch.zeros_like(allowed, dtype=dtype).masked_fill(~allowed, torch.finfo(dtype).min)
    raise InputError(f"attn_implementation {attn_implementation!r} takes no mask of one's own: sdpa or eager")


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **how,
) -> tuple[torch.Tensor, None]:
    """Attention (batch, queries, heads, head size) of `query` (batch, heads, queries, head size) to the keys and values
    (batch, key heads, keys, head size)."""
    batch, heads, queries, size = query.shape
    key_heads, keys = key.shape[1:3]
    if attention_mask is None or heads == key_heads or queries >= keys:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **how)
    folded = query.reshape(batch, key_heads, heads // key_heads * queries, size)  # a key head's query heads are neighbours
    mask = attention_mask.repeat(1, 1, heads // key_heads, 1)
    output = scaled_dot_product_attention(folded, key, value, attn_mask=mask, scale=scaling)
    return output.view(batch, heads, queries, size).transpose(1, 2), None


AttentionInterface.register(FOLDED_SDPA, attend)
AttentionMaskInterface.register(FOLDED_SDPA, sdpa_mask)
