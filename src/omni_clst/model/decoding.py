"""Decode completions token by token: one prefill per prompt, a cache shared by its completions, finished ones removed.

The completions of a prompt are decoded in parallel lanes, laid out as in a packed row of training (`shared_prefix.py`): the
cache contains the prompt once, then one token per lane for each step, and a lane attends to the prompt and to itself.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch.nn.functional import pad

from .kv_cache import GrowingCache
from .sampling import TokenChooser
from .thinker import OmniThinker

COMPACT_WHEN_IDLE = 0.25  # the share of finished lanes at which they are removed, which copies the cache


@dataclass(frozen=True)
class Prefilled:
    """Prompts that were computed: logits (prompts, vocabulary) after each, cache, mask (prompts, tokens), left-padded."""

    logits: torch.Tensor
    cache: GrowingCache
    attention_mask: torch.Tensor

    @classmethod
    def of(cls, thinker: OmniThinker, prompts: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> "Prefilled":
        """Prefill prompts part by part; a part is as in `generate_completions`."""
        parts = [(thinker.prefill(embeddings, mask), mask) for embeddings, mask in prompts]
        cache = GrowingCache.joined([cache for (_, cache), _ in parts])
        longest = cache.get_seq_length()
        attention_mask = torch.cat([pad(mask, (longest - mask.shape[1], 0)) for _, mask in parts])
        return cls(torch.cat([logits for (logits, _), _ in parts]), cache, attention_mask)


class Lanes:
    """The completions that are being decoded: prompts x lanes (one completion each), some of them finished."""

    def __init__(self, attention_mask: torch.Tensor, copies: int):
        prompts, device = len(attention_mask), attention_mask.device
        self.completion = torch.arange(prompts * copies, device=device).view(prompts, copies)
        self.unfinished = torch.ones_like(self.completion, dtype=torch.bool)
        self.positions = attention_mask.sum(dim=-1, keepdim=True).repeat(1, copies)  # of each lane's next token
        self.seen = attention_mask.bool().unsqueeze(1).repeat(1, copies, 1)  # (prompts, lanes, keys)

    def drop_idle(self, cache: GrowingCache, ids: torch.Tensor) -> torch.Tensor:
        """Remove finished prompts and lanes, once they are many, and the keys that no lane attends to any more.

        Returns the tokens `ids` (prompts, lanes) of the remaining lanes.
        """
        prompts = self.unfinished.any(dim=1).nonzero().squeeze(-1)
        lanes = int(self.unfinished.sum(dim=1).max())
        if not lanes or len(prompts) * lanes > (1 - COMPACT_WHEN_IDLE) * self.unfinished.numel():
            return ids
        order = self.unfinished[prompts].int().argsort(dim=1, descending=True, stable=True)
        kept = order[:, :lanes]  # the unfinished lanes come first
        self.completion, self.unfinished, self.positions, ids = (
            values[prompts].gather(1, kept) for values in (self.completion, self.unfinished, self.positions, ids)
        )
        seen = self.seen[prompts].gather(1, kept.unsqueeze(-1).expand(-1, -1, self.seen.shape[-1]))
        keys = seen.any(dim=1).any(dim=0).nonzero().squeeze(-1)
        self.seen = seen[:, :, keys]
        cache.keep(prompts, keys)
        return ids

    def step(self) -> None:
        """Extend the mask: each lane attends to the token that it generates now, and to no other lane's."""
        prompts, lanes = self.completion.shape
        diagonal = torch.eye(lanes, dtype=torch.bool, device=self.seen.device).expand(prompts, -1, -1)
        self.seen = torch.cat([self.seen, diagonal], dim=-1)


@torch.no_grad()
def generate_completions(
    thinker: OmniThinker,
    prompts: Iterable[tuple[torch.Tensor, torch.Tensor]],
    copies: int,
    chooser: TokenChooser,
    end_ids: list[int],
    max_new_tokens: int,
    anyone_generates: Callable[[bool], bool] = bool,
) -> tuple[list[list[int]], list[list[float]]]:
    """Generate `copies` completions of every prompt.

    `prompts` are prefilled part by part and decoded together; a part is embeddings (prompts, tokens, hidden) and an
    attention mask (prompts, tokens), padded on the left. Returns token ids, including the end token, and their
    log-probabilities (empty lists for greedy decoding); completions of one prompt are adjacent. `anyone_generates` maps
    "this process has unfinished completions" to "some process has": with sharded weights all processes have to take the
    same number of steps.
    """
    prefilled = Prefilled.of(thinker, prompts)
    cache, logits = prefilled.cache, prefilled.logits.unsqueeze(1).expand(-1, copies, -1)  # (prompts, lanes, vocabulary)
    lanes = Lanes(prefilled.attention_mask, copies)
    ends = torch.tensor(end_ids, device=logits.device)
    steps: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []  # (completions, their tokens, log-probabilities)
    for step in range(max_new_tokens):
        ids, log_probs = chooser.choose(logits.flatten(0, 1), lanes.completion.flatten())
        ids, log_probs = ids.view_as(lanes.completion), log_probs.view_as(lanes.completion)
        steps.append((lanes.completion[lanes.unfinished], ids[lanes.unfinished], log_probs[lanes.unfinished]))
        lanes.unfinished = lanes.unfinished & ~torch.isin(ids, ends)
        if step + 1 == max_new_tokens or not anyone_generates(bool(lanes.unfinished.any())):
            break
        ids = lanes.drop_idle(cache, ids)
        lanes.step()
        logits = thinker.decode(ids, lanes.positions, lanes.seen, cache)
        lanes.positions = lanes.positions + 1
    return _by_completion(steps, len(prefilled.logits) * copies, chooser.draws)


def _by_completion(steps: list[tuple], count: int, with_log_probs: bool) -> tuple[list[list[int]], list[list[float]]]:
    tokens: list[list[int]] = [[] for _ in range(count)]
    token_log_probs: list[list[float]] = [[] for _ in range(count)]
    for completions, ids, log_probs in steps:
        for completion, token, log_prob in zip(completions.tolist(), ids.tolist(), log_probs.tolist(), strict=True):
            tokens[completion].append(token)
            if with_log_probs:
                token_log_probs[completion].append(log_prob)
    return tokens, token_log_probs
