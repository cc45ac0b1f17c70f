"""Sample tokens and compute their log-probabilities, under one distribution for the rollout and for the loss.

The published code samples with temperature 1.2 and top-k 50, but computes log-probabilities without either. Here both use
`token_log_probs`; the remaining difference is logged as `sampling/logp_difference`.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Sampling:
    """Sampling settings; temperature 0 is greedy; top_k 0, top_p 1 and min_p 0 exclude no token."""

    max_new_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int = 0


def token_log_probs(
    logits: torch.Tensor,
    sampling: Sampling,
    suppressed: list[int] | torch.Tensor,
    sampled: torch.Tensor | None = None,
) -> torch.Tensor:
    """Log-probabilities (rows, vocabulary) of the distribution that tokens are sampled from; -inf for excluded tokens.

    `suppressed` tokens are never sampled. `sampled` (rows,) are tokens that were sampled before: they are never excluded,
    since after an update of the policy one may have left the top-k or the nucleus and would have probability 0.
    """
    logits = logits.float() / sampling.temperature
    if len(suppressed):
        logits.index_fill_(-1, torch.as_tensor(suppressed, device=logits.device), -torch.inf)
    if not (sampling.top_k or sampling.top_p < 1.0 or sampling.min_p > 0.0):
        return logits.log_softmax(dim=-1)
    excluded = torch.zeros_like(logits, dtype=torch.bool)
    if sampling.top_k:
        smallest = logits.topk(min(sampling.top_k, logits.shape[-1]), dim=-1).values[:, -1:]  # (rows, 1)
        excluded |= logits < smallest
    probs = logits.masked_fill(excluded, -torch.inf).softmax(dim=-1)
    if sampling.top_p < 1.0:
        falling, order = probs.sort(dim=-1, descending=True)
        mass_before = falling.cumsum(dim=-1) - falling  # of more likely tokens: 0 for the first, which always stays
        excluded |= torch.zeros_like(excluded).scatter(-1, order, mass_before >= sampling.top_p)
    if sampling.min_p > 0.0:
        excluded |= probs < sampling.min_p * probs.amax(dim=-1, keepdim=True)
    if sampled is not None:
        excluded = excluded.scatter(-1, sampled.unsqueeze(-1), False)
    return logits.masked_fill(excluded, -torch.inf).log_softmax(dim=-1)


class SampledScores(torch.autograd.Function):
    """Log-probabilities (rows,) of sampled tokens, and the entropies (rows,) of their distributions, from logits.

    `apply(logits, sampling, suppressed, sampled)`, as in `token_log_probs`. Only one (rows, vocabulary) tensor is kept for
    the backward, the probabilities, which are turned into the gradient in place.
    """

    @staticmethod
    def forward(ctx, logits, sampling, suppressed, sampled):
        log_probs = token_log_probs(logits, sampling, suppressed, sampled)  # (rows, vocabulary)
        chosen = log_probs.gather(-1, sampled.unsqueeze(-1)).squeeze(-1)
        probs = log_probs.exp_()
        entropies = torch.special.entr(probs).sum(dim=-1)  # -p log p, 0 where p is
        ctx.save_for_backward(probs, sampled, entropies)  # as attributes of ctx they would outlive a checkpointed forward
        ctx.temperature, ctx.dtype = sampling.temperature, logits.dtype
        ctx.set_materialize_grads(False)
        return chosen, entropies

    @staticmethod
    def backward(ctx, of_chosen, of_entropies):
        probs, sampled, entropies = ctx.saved_tensors
        entropy_part = None
        if of_entropies is not None:  # an entropy bonus: d entropy / d logit = -p (log p + entropy)
            entropy_part = torch.special.entr(probs) - probs * entropies.unsqueeze(-1)
            entropy_part.mul_(of_entropies.unsqueeze(-1))
        if of_chosen is None:
            gradient = torch.zeros_like(probs)
        else:
            gradient = probs.mul_(-of_chosen.unsqueeze(-1))
            gradient = gradient.scatter_add_(-1, sampled.unsqueeze(-1), of_chosen.unsqueeze(-1))
        if entropy_part is not None:
            gradient = gradient.add_(entropy_part)
        return gradient.div_(ctx.temperature).to(ctx.dtype), None, None, None


def derive_seed(*parts: object) -> int:
    """A seed of 63 bits from numbers and texts; the same on every machine and in every process."""
    digest = hashlib.sha256("\0".join(map(str, parts)).encode("utf-8")).digest()
    return int.from_bytes(digest[:8], "big") >> 1


class TokenChooser:
    """Chooses the next token of every completion: the most likely at temperature 0, else a sampled one.

    Every completion has its own random generator (`seeds`, one per completion), so that neither the batch nor the number
    of processes changes its tokens. Samples by the Gumbel-max rule (Gumbel 1954): the argmax of log-probabilities plus
    Gumbel noise.
    """

    def __init__(self, sampling: Sampling, suppressed: list[int], seeds: list[int], device: torch.device):
        self.sampling = sampling
        self.suppressed = torch.tensor(suppressed, dtype=torch.long, device=device)
        self.draws = sampling.temperature > 0
        self.generators = [torch.Generator(device).manual_seed(seed) for seed in seeds] if self.draws else []

    def choose(self, logits: torch.Tensor, completions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Next tokens and their log-probabilities (rows,), 0 when greedy, from logits (rows, vocabulary).

        `completions` (rows,) are the numbers of the rows' completions.
        """
        uniform = self.room_for_noise(*logits.shape)
        if self.draws:
            self.draw(uniform, completions.tolist())
        return self.pick(logits, uniform)

    def room_for_noise(self, rows: int, vocabulary: int) -> torch.Tensor:
        """Room for the uniform values of one token of each row (rows, vocabulary); empty where nothing is drawn."""
        # float64: uniform values near 1 are then fine-grained too, and on a CPU they are generated faster
        shape = (rows, vocabulary) if self.draws else (0,)
        return torch.empty(shape, dtype=torch.float64, device=self.suppressed.device)

    def draw(self, uniform: torch.Tensor, completions: Sequence[int]) -> None:
        """Fill `uniform` (rows, vocabulary) from the generators of the rows' completions; nothing when greedy."""
        for row, completion in zip(uniform, completions, strict=False):
            row.uniform_(generator=self.generators[completion])

    def pick(self, logits: torch.Tensor, uniform: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """As `choose`, with values drawn before, which are used up; without waiting for the device."""
        if not self.draws:
            ids = logits.float().index_fill(-1, self.suppressed, -torch.inf).argmax(dim=-1)
            return ids, torch.zeros(len(ids), device=ids.device)
        log_probs = token_log_probs(logits, self.sampling, self.suppressed)  # (rows, vocabulary)
        waits = uniform.log_().neg_().to(torch.float32)  # exponential; minus its logarithm is Gumbel noise
        ids = (log_probs - waits.log()).argmax(dim=-1)
        return ids, log_probs.gather(-1, ids.unsqueeze(-1)).squeeze(-1)
