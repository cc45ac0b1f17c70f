"""How tokens are drawn, and the log-probability of what was drawn: one distribution for the rollout and for the loss.

The published code samples with temperature 1.2 and top-k 50 and takes log-probabilities of neither. Here both sides call
`token_log_probs`, and the difference that is left is logged as `sampling/logp_difference`.
"""

import hashlib
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen; temperature 0 is greedy, top_k 0, top_p 1 and min_p 0 leave all tokens in."""

    max_new_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int = 0


def token_log_probs(
    logits: torch.Tensor, sampling: Sampling, suppressed: list[int], sampled: torch.Tensor | None = None
) -> torch.Tensor:
    """Log-probabilities (rows, vocabulary) of the distribution that tokens are drawn from; -inf where none is drawn.

    `suppressed` tokens are never drawn. `sampled` (rows,) names the tokens that were: with a policy that has moved on
    since, one may have left the top-k or the nucleus and would have probability 0; it is always counted in.
    """
    logits = logits.float() / sampling.temperature
    if suppressed:
        logits.index_fill_(-1, torch.tensor(suppressed, device=logits.device), -torch.inf)
    if not (sampling.top_k or sampling.top_p < 1.0 or sampling.min_p > 0.0):
        return logits.log_softmax(dim=-1)
    left_out = torch.zeros_like(logits, dtype=torch.bool)
    if sampling.top_k:
        smallest = logits.topk(min(sampling.top_k, logits.shape[-1]), dim=-1).values[:, -1:]  # (rows, 1)
        left_out |= logits < smallest
    probs = logits.masked_fill(left_out, -torch.inf).softmax(dim=-1)
    if sampling.top_p < 1.0:
        falling, order = probs.sort(dim=-1, descending=True)
        before = falling.cumsum(dim=-1) - falling  # the mass in front of each token: the first one always stays
        left_out |= torch.zeros_like(left_out).scatter(-1, order, before >= sampling.top_p)
    if sampling.min_p > 0.0:
        left_out |= probs < sampling.min_p * probs.amax(dim=-1, keepdim=True)
    if sampled is not None:
        left_out = left_out.scatter(-1, sampled.unsqueeze(-1), False)
    return logits.masked_fill(left_out, -torch.inf).log_softmax(dim=-1)


class SampledScores(torch.autograd.Function):
    """Log-probabilities (rows,) of sampled tokens, and the entropies (rows,) where each was drawn, from logits.

    `apply(logits, sampling, suppressed, sampled)` as `token_log_probs`. One (rows, vocabulary) tensor is kept for the
    backward, the probabilities, which become the gradient in place.
    """

    @staticmethod
    def forward(ctx, logits, sampling, suppressed, sampled):
        log_probs = token_log_probs(logits, sampling, suppressed, sampled)  # (rows, vocabulary)
        chosen = log_probs.gather(-1, sampled.unsqueeze(-1)).squeeze(-1)
        probs = log_probs.exp_()
        entropies = torch.special.entr(probs).sum(dim=-1)  # -p log p, 0 where p is
        ctx.save_for_backward(probs, sampled, entropies)  # as attributes they would outlive a checkpointed forward
        ctx.temperature, ctx.dtype = sampling.temperature, logits.dtype
        ctx.set_materialize_grads(False)
        return chosen, entropies

    @staticmethod
    def backward(ctx, of_chosen, of_entropies):
        probs, sampled, entropies = ctx.saved_tensors
        more = None
        if of_entropies is not None:  # an entropy bonus: d entropy / d logit = -p (log p + entropy)
            more = (torch.special.entr(probs) - probs * entropies.unsqueeze(-1)).mul_(of_entropies.unsqueeze(-1))
        if of_chosen is None:
            found = torch.zeros_like(probs)
        else:
            found = probs.mul_(-of_chosen.unsqueeze(-1))
            found = found.scatter_add_(-1, sampled.unsqueeze(-1), of_chosen.unsqueeze(-1))
        found = found if more is None else found.add_(more)
        return found.div_(ctx.temperature).to(ctx.dtype), None, None, None


def derive_seed(*parts: object) -> int:
    """A seed of 63 bits from numbers and texts; the same everywhere and at every start."""
    digest = hashlib.sha256("\0".join(map(str, parts)).encode("utf-8")).digest()
    return int.from_bytes(digest[:8], "big") >> 1


class TokenChooser:
    """Chooses every row's next token: the likeliest at temperature 0, else one that is drawn.

    A completion's tokens are drawn from a random stream of its own (`seeds`, one a completion), so that neither the other
    rows of a batch nor the number of processes changes what is drawn. Works by the Gumbel-max rule (Gumbel 1954): the
    largest of log-probabilities plus Gumbel noise is a draw from them.
    """

    def __init__(self, sampling: Sampling, suppressed: list[int], seeds: list[int], device: torch.device):
        self.sampling = sampling
        self.suppressed = suppressed
        self.draws = sampling.temperature > 0
        self.streams = [torch.Generator(device).manual_seed(seed) for seed in seeds] if self.draws else []

    def choose(self, logits: torch.Tensor, completions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Next token and its log-probability (rows,), 0 for a likeliest one, from logits (rows, vocabulary).

        `completions` (rows,) says which completion each row is.
        """
        if not self.draws:
            suppressed = torch.tensor(self.suppressed, device=logits.device)
            ids = logits.float().index_fill(-1, suppressed, -torch.inf).argmax(dim=-1)
            return ids, torch.zeros(len(ids), device=ids.device)
        log_probs = token_log_probs(logits, self.sampling, self.suppressed)  # (rows, vocabulary)
        # float64: an exponential waiting time is then fine-grained also where it is short, and on a CPU it is drawn sooner
        uniform = torch.stack(
            [
                torch.empty(logits.shape[-1], dtype=torch.float64, device=logits.device).uniform_(
                    generator=self.streams[own]
                )
                for own in completions.tolist()
            ]
        )
        waits = uniform.log_().neg_().to(torch.float32)  # exponential; minus its logarithm is Gumbel noise
        ids = (log_probs - waits.log()).argmax(dim=-1)
        return ids, log_probs.gather(-1, ids.unsqueeze(-1)).squeeze(-1)
