"""Token by token: one prefill a prompt, its cache copied for every completion, and finished rows leave the batch."""

from collections.abc import Callable

import torch

from .modeling import OmniThinker
from .sampling import TokenChooser

LEAVE_FROM = 0.25  # the share of finished rows from which on they are taken out: it copies the cache


@torch.no_grad()
def write_completions(
    thinker: OmniThinker,
    embeddings: torch.Tensor,
    attention_mask: torch.Tensor,
    copies: int,
    chooser: TokenChooser,
    end_ids: list[int],
    max_new_tokens: int,
    anyone_writes: Callable[[bool], bool] = bool,
) -> tuple[list[list[int]], list[list[float]]]:
    """Write `copies` completions behind every prompt.

    `embeddings` (prompts, tokens, hidden) and `attention_mask` (prompts, tokens) are padded on the left. Returns token
    ids, the end token included, and their log-probabilities (empty lists where the chooser draws nothing), a prompt's
    completions next to each other. `anyone_writes` is asked before each further token whether to go on; where weights
    are in pieces, all processes have to take the same number of steps.
    """
    logits, cache = thinker.prefill(embeddings, attention_mask)
    cache.batch_repeat_interleave(copies)
    logits = logits.repeat_interleave(copies, dim=0)
    mask = attention_mask.repeat_interleave(copies, dim=0)
    rows = torch.arange(len(logits), device=logits.device)  # which completion a row of the batch is
    ends = torch.tensor(end_ids, device=logits.device)
    writing = torch.ones(len(rows), dtype=torch.bool, device=logits.device)
    steps: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []  # (completions, their token, its log-probability)
    for step in range(max_new_tokens):
        ids, log_probs = chooser.choose(logits, rows)
        steps.append((rows[writing], ids[writing], log_probs[writing]))
        writing = writing & ~torch.isin(ids, ends)
        still = int(writing.sum())
        if step + 1 == max_new_tokens or not anyone_writes(still > 0):
            break
        if still and still <= (1 - LEAVE_FROM) * len(rows):
            kept = writing.nonzero().squeeze(-1)
            cache.batch_select_indices(kept)
            rows, ids, mask, writing = rows[kept], ids[kept], mask[kept], writing[kept]
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
        logits = thinker.decode(ids, mask, cache)
    return _by_completion(steps, len(embeddings) * copies, chooser.draws)


def _by_completion(steps: list[tuple], count: int, with_log_probs: bool) -> tuple[list[list[int]], list[list[float]]]:
    tokens: list[list[int]] = [[] for _ in range(count)]
    drawn: list[list[float]] = [[] for _ in range(count)]
    for rows, ids, log_probs in steps:
        for row, token, log_prob in zip(rows.tolist(), ids.tolist(), log_probs.tolist(), strict=True):
            tokens[row].append(token)
            if with_log_probs:
                drawn[row].append(log_prob)
    return tokens, drawn
