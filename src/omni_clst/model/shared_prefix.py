"""One row a group: the prompt once, then every completion of it, each of which sees the prompt and itself alone.

Position ids start anew behind the prompt for every completion, so that each token is where it would be in a row of its
own, and log-probabilities and gradients are those of G separate rows. The work grows with prompt + sum of completions
instead of G x (prompt + completion).
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch.nn.attention.flex_attention import BlockMask, create_block_mask

PROMPT, PADDING = 0, -1  # segments; a completion's is its place in the row, from 1 on


def positions_from_mask(attention_mask: torch.Tensor) -> torch.Tensor:
    """Position ids (batch, tokens) that count from 0 at each row's first token, whichever side is padded.

    Without pictures the three axes of the model's rotary positions are equal, so these plain ids are all it needs.
    """
    return (attention_mask.long().cumsum(dim=-1) - 1).clamp_min(0)


@dataclass
class SharedPrefix:
    """How groups lie in packed rows (groups, length), padded on the right.

    `prompt_mask` (groups, prompt tokens) and `completion_mask` (rows, completion tokens) say which tokens are there,
    `owner` (rows,) which group a completion belongs to; a group's completions stand next to each other.
    """

    prompt_mask: torch.Tensor
    completion_mask: torch.Tensor
    owner: torch.Tensor

    def __post_init__(self):
        self.drawn = self.completion_mask.bool()  # (rows, completion tokens)
        self._prompts = prompts = self.prompt_mask.bool().sum(dim=-1)  # (groups,)
        written = self.drawn.sum(dim=-1)  # (rows,)
        ends = prompts.scatter_add(0, self.owner, written)
        place = torch.arange(int(ends.max()), device=self.owner.device)
        self._in_prompt = place < prompts.unsqueeze(-1)  # (groups, length)
        self._in_completions = (place < ends.unsqueeze(-1)) & ~self._in_prompt
        # completions lie in the row's completion places in their own order, so masks pair them off
        first = torch.searchsorted(self.owner, self.owner)  # a group's first completion (rows,)
        own_place = torch.arange(len(self.owner), device=self.owner.device) - first
        token = torch.arange(self.drawn.shape[1], device=self.owner.device)  # (completion tokens,)
        self._segments = self._spread(place.new_full((), PADDING), place.new_full((), PROMPT),
                                      (own_place + 1).unsqueeze(-1).expand_as(self.drawn)[self.drawn])  # fmt: skip
        behind = prompts[self.owner].unsqueeze(-1) + token  # (rows, completion tokens)
        self.positions = self._spread(place.new_zeros(()), place, behind[self.drawn])  # (groups, length)

    def _spread(self, padding: torch.Tensor, in_prompt: torch.Tensor, in_completions: torch.Tensor) -> torch.Tensor:
        """Values (groups, length) from those of padding, of prompt places, and of the completions' tokens (tokens,)."""
        spread = torch.where(self._in_prompt, in_prompt, padding)
        return spread.masked_scatter(self._in_completions, in_completions)

    def pack(self, prompts: torch.Tensor, completions: torch.Tensor) -> torch.Tensor:
        """Packed rows (groups, length, hidden) of prompts (groups, prompt tokens, hidden) and tokens (tokens, hidden)."""
        packed = prompts.new_zeros(*self._in_prompt.shape, prompts.shape[-1])
        packed = packed.masked_scatter(self._in_prompt.unsqueeze(-1), prompts[self.prompt_mask.bool()])
        return packed.masked_scatter(self._in_completions.unsqueeze(-1), completions)

    @cached_property
    def predictors(self) -> torch.Tensor:
        """Of every completion token, where in the flattened rows the state lies that it was drawn from (tokens,)."""
        groups, length = self._in_prompt.shape
        places = torch.arange(groups * length, device=self.owner.device).view(groups, length)
        last_of_prompt = places[:, 0] + self._prompts - 1  # (groups,)
        own = places[self._in_completions]  # (tokens,)
        is_first = self.positions[self._in_completions] == self._prompts[own // length]
        return torch.where(is_first, last_of_prompt[own // length], own - 1)

    @property
    def allowed(self) -> torch.Tensor:
        """Who sees whom (groups, length, length)."""
        length = self._segments.shape[1]
        seen, seeing = self._segments.unsqueeze(1), self._segments.unsqueeze(2)  # (groups, 1, length), (groups, length, 1)
        earlier = torch.ones(length, length, dtype=torch.bool, device=seen.device).tril()
        return earlier & ((seen == PROMPT) | (seen == seeing))  # padding sees itself: no row is empty

    @property
    def block_mask(self) -> BlockMask:
        """Who sees whom, for flex attention, which leaves out blocks where nobody sees anybody."""
        segments, (groups, length) = self._segments, self._segments.shape

        def sees(group, head, seeing, seen):
            own = segments[group, seeing] == segments[group, seen]
            return (seen <= seeing) & (own | (segments[group, seen] == PROMPT))

        return create_block_mask(sees, groups, None, length, length, device=segments.device)
