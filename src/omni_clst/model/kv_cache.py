"""Keys and values that grow in place: transformers' own cache copies all that is there for every further token."""

import torch
from transformers.cache_utils import Cache, DynamicLayer


class RoomyLayer(DynamicLayer):
    """One layer's keys and values (batch, key heads, tokens, head size), with room behind them for further tokens."""

    rooms: list[torch.Tensor] | None = None  # what `keys` and `values` are the written part of

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *_, **__) -> tuple[torch.Tensor, torch.Tensor]:
        """Add tokens; returns all keys and values."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        written = self.get_seq_length()
        total = written + key_states.shape[-2]
        if self.rooms is None or total > self.rooms[0].shape[-2]:
            rooms = [states.new_empty(*states.shape[:2], total + max(total // 4, 64), states.shape[-1])
                     for states in (key_states, value_states)]  # fmt: skip
            if written:
                for room, held in zip(rooms, (self.keys, self.values), strict=True):
                    room[:, :, :written] = held
            self.rooms = rooms
        for room, states in zip(self.rooms, (key_states, value_states), strict=True):
            room[:, :, written:total] = states
        self.keys, self.values = (room[:, :, :total] for room in self.rooms)
        return self.keys, self.values

    def take(self, parts: list["RoomyLayer"], tokens: int) -> None:
        """Hold the rows of other layers, each padded on the left to `tokens`; they are left empty."""
        for name in ("keys", "values"):
            held = [getattr(part, name) for part in parts]
            rows = held[0].new_zeros(sum(map(len, held)), held[0].shape[1], tokens, held[0].shape[3])
            for own, states in zip(rows.split([len(states) for states in held]), held, strict=True):
                own[:, :, tokens - states.shape[2] :] = states
            setattr(self, name, rows)
        self.dtype, self.device, self.is_initialized = rows.dtype, rows.device, True
        for part in parts:
            part.keys = part.values = part.rooms = None

    def keep(self, rows: torch.Tensor, tokens: torch.Tensor) -> None:
        """Leave out all but these rows of the batch and these tokens (indices)."""
        self.keys, self.values = (held[rows][:, :, tokens] for held in (self.keys, self.values))
        self.rooms = None


class RoomyCache(Cache):
    """The layers' keys and values while completions are written."""

    def __init__(self, layers: int):
        super().__init__(layers=[RoomyLayer() for _ in range(layers)])

    @classmethod
    def joined(cls, parts: list["RoomyCache"]) -> "RoomyCache":
        """The rows of several caches one after the other, padded on the left; the parts are used up."""
        if len(parts) == 1:
            return parts[0]
        whole = cls(len(parts[0].layers))
        tokens = max(part.get_seq_length() for part in parts)
        for layer, own in zip(whole.layers, zip(*(part.layers for part in parts), strict=True), strict=True):
            layer.take(list(own), tokens)
        return whole

    def keep(self, rows: torch.Tensor, tokens: torch.Tensor) -> None:
        """As `RoomyLayer.keep`, in every layer."""
        for layer in self.layers:
            layer.keep(rows, tokens)
