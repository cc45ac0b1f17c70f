"""Decode completions in room that is reserved at the start, so that a step can be captured in a CUDA graph.

The same layout as in `decoding.py`: a prompt's cache, then one column per lane and step. Here all columns are there from
the beginning, lanes stay until the last one has ended, and the CPU looks only now and then whether that is so: a step has
the same shapes and addresses every time, and waits for nothing. On a GPU the kernels of a step are launched as one; a lane
that computes on after its end costs nothing there, since reading the weights and not the lanes takes the time.
"""

from collections.abc import Iterable

import torch

from .cuda_graph import graphed
from .decoding import Prefilled
from .kv_cache import FixedCache
from .sampling import TokenChooser
from .thinker import OmniThinker

STEPS_BETWEEN_LOOKS = 8  # a look waits for the device; up to this many steps are computed in vain at the end
COLUMN_MULTIPLE = 64  # attention kernels copy a mask whose rows are not aligned


def choose_decoding(setting: str, device: torch.device, is_sharded: bool = False) -> str:
    """`plain` or `static`. `auto` is static on a GPU, plain on a CPU, where launching is cheap, and under ZeRO-3 without
    gathering, whose weights move at every step."""
    if setting != "auto":
        return setting
    return "static" if device.type == "cuda" and not is_sharded else "plain"


class StaticLanes:
    """The completions that are being decoded, all their state in tensors that stay."""

    def __init__(
        self,
        thinker: OmniThinker,
        prefilled: Prefilled,
        copies: int,
        chooser: TokenChooser,
        end_ids: list[int],
        max_new_tokens: int,
    ):
        mask, device = prefilled.attention_mask, prefilled.logits.device
        prompts, longest = mask.shape
        columns = longest + copies * (max_new_tokens - 1)  # the last token is chosen, but not computed
        columns = -(-columns // COLUMN_MULTIPLE) * COLUMN_MULTIPLE
        self.thinker, self.chooser, self.max_new_tokens = thinker, chooser, max_new_tokens
        self.ends = torch.tensor(end_ids, dtype=torch.long, device=device)
        self.columns = longest + torch.arange(copies, device=device)  # of each lane's next token
        self.cache = FixedCache(prefilled.cache, columns, self.columns)
        self.positions = mask.sum(dim=-1, keepdim=True).repeat(1, copies)
        self.seen = mask.new_zeros(prompts, copies, columns, dtype=torch.bool)
        self.seen[:, :, :longest] = mask.bool().unsqueeze(1)
        self.ids = torch.zeros_like(self.positions)  # (prompts, lanes)
        self.unfinished = torch.ones(prompts * copies, dtype=torch.bool, device=device)
        self.uniform = chooser.room_for_noise(prompts * copies, prefilled.logits.shape[-1])
        self.number = torch.zeros(1, dtype=torch.long, device=device)  # of the next token
        self.tokens = torch.zeros(max_new_tokens, prompts * copies, dtype=torch.long, device=device)
        self.log_probs = torch.zeros(self.tokens.shape, device=device)
        self.state = [self.columns, self.positions, self.seen, self.ids, self.unfinished]
        self.state += [self.number, self.tokens, self.log_probs, self.uniform]  # the cache is written anew from these
        self.draw()
        self.choose(prefilled.logits.repeat_interleave(copies, dim=0))

    def draw(self) -> None:
        """Draw what the next choice needs. Not a part of the step: a graph would repeat the same values."""
        self.chooser.draw(self.uniform, range(len(self.unfinished)))

    def choose(self, logits: torch.Tensor) -> None:
        """Choose the next token of every lane from logits (lanes of all prompts, vocabulary)."""
        ids, log_probs = self.chooser.pick(logits, self.uniform)
        self.tokens.index_copy_(0, self.number, ids.unsqueeze(0))
        self.log_probs.index_copy_(0, self.number, log_probs.unsqueeze(0))
        self.unfinished.logical_and_((ids.unsqueeze(-1) != self.ends).all(dim=-1))
        self.ids.copy_(ids.view_as(self.ids))
        self.number.add_(1)

    def step(self) -> None:
        """Compute the chosen tokens and choose the next ones; a lane attends to its own columns, and to no other's."""
        self.seen.scatter_(2, self.columns.view(1, -1, 1).expand(len(self.seen), -1, 1), True)
        logits = self.thinker.decode(self.ids, self.positions, self.seen, self.cache)
        self.positions.add_(1)
        self.columns.add_(len(self.columns))
        self.choose(logits.flatten(0, 1))

    def run(self) -> int:
        """Decode until all lanes have ended; returns how many tokens each has."""
        step = graphed(self, self.ids.device)
        for number in range(1, self.max_new_tokens):
            if number % STEPS_BETWEEN_LOOKS == 1 and not self.unfinished.any():
                return number
            self.draw()
            step()
        return self.max_new_tokens


@torch.no_grad()
def generate_static(
    thinker: OmniThinker,
    prompts: Iterable[tuple[torch.Tensor, torch.Tensor]],
    copies: int,
    chooser: TokenChooser,
    end_ids: list[int],
    max_new_tokens: int,
) -> tuple[list[list[int]], list[list[float]]]:
    """As `generate_completions`, whose tokens it repeats; only for weights that stay where they are."""
    prefilled = Prefilled.of(thinker, prompts)
    lanes = StaticLanes(thinker, prefilled, copies, chooser, end_ids, max_new_tokens)
    count = lanes.run()
    tokens = [_until_end(ids, end_ids) for ids in lanes.tokens[:count].T.tolist()]
    if not chooser.draws:
        return tokens, [[] for _ in tokens]
    of_lanes = zip(lanes.log_probs[:count].T.tolist(), tokens, strict=True)
    return tokens, [log_probs[: len(ids)] for log_probs, ids in of_lanes]


def _until_end(ids: list[int], end_ids: list[int]) -> list[int]:
    ends = (number for number, token in enumerate(ids, 1) if token in end_ids)
    return ids[: next(ends, len(ids))]
