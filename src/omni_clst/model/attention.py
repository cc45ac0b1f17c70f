"""Attention of the language model under an explicit mask of which position attends to which, as packed rows need.

transformers looks up the attention function by name. `attend` replaces its SDPA, FlashAttention and flex attention and
computes the same, with one difference: for few queries and many keys under an explicit mask, as in decoding, it uses SDPA
and folds the query heads that share a key head into the query dimension, instead of copying the keys for each of them.
"""

import torch
from torch.nn.attention.flex_attention import BlockMask, flex_attention
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.flash_attention import get_target_dtype
from transformers.integrations.flex_attention import flex_attention_forward
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import flash_attention_mask, sdpa_mask
from transformers.modeling_flash_attention_utils import _flash_attention_forward

from ..errors import InputError

FOLDED_SDPA, FOLDED_FLASH, FOLDED_FLEX = "folded_sdpa", "folded_flash_attention_2", "folded_flex_attention"
FOLDED = {"sdpa": FOLDED_SDPA, "flash_attention_2": FOLDED_FLASH, "flex_attention": FOLDED_FLEX}


def explicit_mask(allowed: torch.Tensor, attn_implementation: str, dtype: torch.dtype) -> torch.Tensor:
    """The mask in the attention's format, boolean or 0 and minus infinity, from `allowed` (batch, queries, keys).

    Raises `InputError` for an attention that takes no explicit mask.
    """
    allowed = allowed.unsqueeze(1)  # for all heads
    if attn_implementation in ("sdpa", *FOLDED.values()):
        return allowed
    if attn_implementation == "eager":
        return torch.zeros_like(allowed, dtype=dtype).masked_fill(~allowed, torch.finfo(dtype).min)
    raise InputError(f"attn_implementation {attn_implementation!r} takes no explicit mask: use sdpa or eager")


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | BlockMask | None,
    scaling: float | None = None,
    **options,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Attention (batch, queries, heads, head size) of `query` (batch, heads, queries, head size) to the keys and values
    (batch, key heads, keys, head size)."""
    batch, heads, queries, size = query.shape
    key_heads, keys = key.shape[1:3]
    if isinstance(attention_mask, BlockMask):
        if query.device.type == "cpu":  # not compiled and without a backward: for tests
            output = flex_attention(query, key, value, block_mask=attention_mask, scale=scaling, enable_gqa=True)
            return output.transpose(1, 2), None
        return flex_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **options)
    has_explicit_mask = attention_mask is not None and attention_mask.dim() == 4
    if module.config._attn_implementation == FOLDED_FLASH and not has_explicit_mask:
        output = _flash_attention_forward(
            *(states.transpose(1, 2) for states in (query, key, value)),
            attention_mask,
            queries,
            is_causal=module.is_causal,
            softmax_scale=scaling,
            target_dtype=get_target_dtype(query, module),
            attn_implementation="flash_attention_2",  # transformers finds the package by this name alone
            **options,
        )
        return output, None
    if not has_explicit_mask or heads == key_heads or queries >= keys:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **options)
    folded = query.reshape(batch, key_heads, heads // key_heads * queries, size)  # a key head's query heads are neighbours
    mask = attention_mask.repeat(1, 1, heads // key_heads, 1)
    output = scaled_dot_product_attention(folded, key, value, attn_mask=mask, scale=scaling)
    return output.view(batch, heads, queries, size).transpose(1, 2), None


for _name, _mask in ((FOLDED_SDPA, sdpa_mask), (FOLDED_FLASH, flash_attention_mask), (FOLDED_FLEX, sdpa_mask)):
    AttentionInterface.register(_name, attend)
    AttentionMaskInterface.register(_name, _mask)
