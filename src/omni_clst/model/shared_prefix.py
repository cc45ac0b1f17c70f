"""Pack a group into one row: the prompt once, then all its completions, each attending to the prompt and to itself only.

The position ids of every completion start after the prompt, as they would in a row without the others, so that
log-probabilities and gradients equal those of G separate rows. The cost is that of prompt + sum of completions instead of
G x (prompt + completion) tokens.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch.nn.attention.flex_attention import BlockMask, create_block_mask

PROMPT, PADDING = 0, -1  # segment numbers; completions are numbered from 1 within their row


def positions_from_mask(attention_mask: torch.Tensor) -> torch.Tensor:
    """Position ids (batch, tokens) that count from 0 at each row's first token, whichever side is padded.

    Without pictures the three axes of the model's rotary positions are equal, so these plain ids are all it needs.
    """
    return (attention_mask.long().cumsum(dim=-1) - 1).clamp_min(0)


@dataclass
class SharedPrefix:
    """The layout of groups in packed rows (groups, length), padded on the right.

    `prompt_mask` (groups, prompt tokens) and `completion_mask` (completions, tokens) are 0 at padding, `group_of`
    (completions,) is the index of a completion's group; the completions of a group are adjacent.
    """

    prompt_mask: torch.Tensor
    completion_mask: torch.Tensor
    group_of: torch.Tensor

    def __post_init__(self):
        self.is_token = self.completion_mask.bool()  # (completions, tokens)
        self._prompts = prompts = self.prompt_mask.bool().sum(dim=-1)  # (groups,)
        lengths = self.is_token.sum(dim=-1)  # (completions,)
        ends = prompts.scatter_add(0, self.group_of, lengths)
        column = torch.arange(int(ends.max()), device=self.group_of.device)
        self._in_prompt = column < prompts.unsqueeze(-1)  # (groups, length)
        self._in_completions = (column < ends.unsqueeze(-1)) & ~self._in_prompt
        # the tokens of completions fill `_in_completions` in their order, so the two masks select the same tokens
        first = torch.searchsorted(self.group_of, self.group_of)  # the group's first completion (completions,)
        number = torch.arange(len(self.group_of), device=self.group_of.device) - first  # within the group
        token = torch.arange(self.is_token.shape[1], device=self.group_of.device)  # (tokens,)
        self._segments = self._spread(column.new_full((), PADDING), column.new_full((), PROMPT),
                                      (number + 1).unsqueeze(-1).expand_as(self.is_token)[self.is_token])  # fmt: skip
        after_prompt = prompts[self.group_of].unsqueeze(-1) + token  # (completions, tokens)
        self.positions = self._spread(column.new_zeros(()), column, after_prompt[self.is_token])  # (groups, length)

    def _spread(self, padding: torch.Tensor, in_prompt: torch.Tensor, in_completions: torch.Tensor) -> torch.Tensor:
        """Values (groups, length) from those of padding, of prompt columns, and of completion tokens (tokens,)."""
        spread = torch.where(self._in_prompt, in_prompt, padding)
        return spread.masked_scatter(self._in_completions, in_completions)

    def pack(self, prompts: torch.Tensor, completions: torch.Tensor) -> torch.Tensor:
        """Packed rows (groups, length, hidden) of prompts (groups, prompt tokens, hidden) and tokens (tokens, hidden)."""
        packed = prompts.new_zeros(*self._in_prompt.shape, prompts.shape[-1])
        packed = packed.masked_scatter(self._in_prompt.unsqueeze(-1), prompts[self.prompt_mask.bool()])
        return packed.masked_scatter(self._in_completions.unsqueeze(-1), completions)

    @cached_property
    def predictors(self) -> torch.Tensor:
        """For every completion token the index, in the flattened rows, of the state that predicts it (tokens,)."""
        groups, length = self._in_prompt.shape
        indices = torch.arange(groups * length, device=self.group_of.device).view(groups, length)
        last_of_prompt = indices[:, 0] + self._prompts - 1  # (groups,)
        tokens = indices[self._in_completions]  # (tokens,)
        is_first = self.positions[self._in_completions] == self._prompts[tokens // length]
        return torch.where(is_first, last_of_prompt[tokens // length], tokens - 1)

    @property
    def allowed(self) -> torch.Tensor:
        """Which position attends to which: (groups, queries, keys), both of the row's length."""
        length = self._segments.shape[1]
        keys, queries = self._segments.unsqueeze(1), self._segments.unsqueeze(2)  # (groups, 1, length), (groups, length, 1)
        causal = torch.ones(length, length, dtype=torch.bool, device=keys.device).tril()
        return causal & ((keys == PROMPT) | (keys == queries))  # padding attends to itself: no query is without keys

    @property
    def block_mask(self) -> BlockMask:
        """The same for flex attention, which skips blocks without any attended key."""
        segments, (groups, length) = self._segments, self._segments.shape

        def attends(group, head, query, key):
            same_segment = segments[group, query] == segments[group, key]
            return (key <= query) & (same_segment | (segments[group, key] == PROMPT))

        return create_block_mask(attends, groups, None, length, length, device=segments.device)
