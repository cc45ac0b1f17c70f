"""Key-value caches that are written in place; transformers' own copies all keys and values for every new token.

One grows, the other has a fixed size.
"""

import torch
from transformers.cache_utils import Cache, DynamicLayer


class GrowingLayer(DynamicLayer):
    """One layer's keys and values (batch, key heads, tokens, head size) in buffers with spare room for further tokens."""

    keys: torch.Tensor
    values: torch.Tensor
    buffers: list[torch.Tensor] | None = None  # `keys` and `values` are views of their filled part

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *_, **__) -> tuple[torch.Tensor, torch.Tensor]:
        """Add tokens; returns all keys and values."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        length = self.get_seq_length()
        total = length + key_states.shape[-2]
        if self.buffers is None or total > self.buffers[0].shape[-2]:
            buffers = [states.new_empty(*states.shape[:2], total + max(total // 4, 64), states.shape[-1])
                       for states in (key_states, value_states)]  # fmt: skip
            if length:
                for buffer, states in zip(buffers, (self.keys, self.values), strict=True):
                    buffer[:, :, :length] = states
            self.buffers = buffers
        for buffer, states in zip(self.buffers, (key_states, value_states), strict=True):
            buffer[:, :, length:total] = states
        self.keys, self.values = (buffer[:, :, :total] for buffer in self.buffers)
        return self.keys, self.values

    def take(self, parts: list["GrowingLayer"], tokens: int) -> None:
        """Take over the batches of other layers, each padded on the left to `tokens`; `parts` are emptied."""
        for name in ("keys", "values"):
            tensors = [getattr(part, name) for part in parts]
            joined = tensors[0].new_zeros(sum(map(len, tensors)), tensors[0].shape[1], tokens, tensors[0].shape[3])
            for target, states in zip(joined.split([len(states) for states in tensors]), tensors, strict=True):
                target[:, :, tokens - states.shape[2] :] = states
            setattr(self, name, joined)
        self.dtype, self.device, self.is_initialized = joined.dtype, joined.device, True
        for part in parts:
            part.keys = part.values = self.keys[:0]
            part.buffers = None

    def keep(self, rows: torch.Tensor, tokens: torch.Tensor) -> None:
        """Drop all but these rows of the batch and these tokens (indices)."""
        self.keys, self.values = (states[rows][:, :, tokens] for states in (self.keys, self.values))
        self.buffers = None


class GrowingCache(Cache):
    """The keys and values of all layers while completions are generated."""

    def __init__(self, layers: int):
        super().__init__(layers=[GrowingLayer() for _ in range(layers)])

    @classmethod
    def joined(cls, parts: list["GrowingCache"]) -> "GrowingCache":
        """The batches of several caches in one, padded on the left; the parts are emptied."""
        if len(parts) == 1:
            return parts[0]
        joined = cls(len(parts[0].layers))
        tokens = max(part.get_seq_length() for part in parts)
        for layer, layers in zip(joined.layers, zip(*(part.layers for part in parts), strict=True), strict=True):
            layer.take(list(layers), tokens)
        return joined

    def keep(self, rows: torch.Tensor, tokens: torch.Tensor) -> None:
        """As `GrowingLayer.keep`, in every layer."""
        for layer in self.layers:
            layer.keep(rows, tokens)


class FixedLayer(DynamicLayer):
    """One layer's keys and values in room that is reserved at the start; new tokens go to `columns`, a tensor (tokens,).

    Neither shapes nor addresses change from token to token, as a CUDA graph needs it.
    """

    keys: torch.Tensor
    values: torch.Tensor

    def __init__(self, prompts: GrowingLayer, tokens: int, columns: torch.Tensor):
        super().__init__()
        self.columns = columns
        self.keys, self.values = (_with_room(states, tokens) for states in (prompts.keys, prompts.values))
        self.dtype, self.device, self.is_initialized = self.keys.dtype, self.keys.device, True
        prompts.keys = prompts.values = self.keys[:0]  # layer by layer, so that both caches are never there as a whole
        prompts.buffers = None

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *_, **__) -> tuple[torch.Tensor, torch.Tensor]:
        """Write tokens; returns all keys and values, unused room included."""
        self.keys.index_copy_(2, self.columns, key_states)
        self.values.index_copy_(2, self.columns, value_states)
        return self.keys, self.values


class FixedCache(Cache):
    """The keys and values of prefilled prompts with room for a total of `tokens`; `prompts` is emptied."""

    def __init__(self, prompts: GrowingCache, tokens: int, columns: torch.Tensor):
        super().__init__(layers=[FixedLayer(layer, tokens, columns) for layer in prompts.layers])


def _with_room(states: torch.Tensor, tokens: int) -> torch.Tensor:
    # zeros: what is masked out is multiplied by 0, and what was in memory before may be NaN
    room = states.new_zeros(*states.shape[:2], tokens, states.shape[3])
    room[:, :, : states.shape[2]] = states
    return room
