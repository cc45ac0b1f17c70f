"""Whether the engine that generates agrees with the policy that learns: figures to watch, and a limit that ends a run."""

from collections.abc import Callable

import torch

from ..errors import InputError

GENERATORS = {  # what generates, and what to go on with where it disagrees, besides another precision
    "vllm": ("vLLM", "engine hf, or with "),
    "static": ("static decoding", "decoding plain, or with "),
    "plain": ("plain decoding", ""),
}


def agreement_sums(drawn: torch.Tensor, scored: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Sums (7,) over the tokens in `mask`, to be added up over processes; `agreement` makes figures of them.

    `drawn` and `scored` (rows, tokens) are log-probabilities of the same tokens by the engine and by the policy.
    """
    kept = mask.bool()
    x, y = drawn[kept].double().exp(), scored[kept].double().exp()
    difference = (scored - drawn)[kept].double().abs().sum()
    count = torch.tensor(float(len(x)), device=x.device, dtype=torch.float64)
    return torch.stack([count, difference, x.sum(), y.sum(), (x * x).sum(), (y * y).sum(), (x * y).sum()])


def agreement(sums: torch.Tensor) -> dict[str, float]:
    """Mean difference of the log-probabilities and Pearson correlation of the probabilities; 1 where nothing varies."""
    count, difference, x, y, xx, yy, xy = sums.tolist()
    spread = ((count * xx - x * x) * (count * yy - y * y)) ** 0.5 if count else 0.0
    correlation = (count * xy - x * y) / spread if spread > 1e-9 else 1.0
    return {
        "sampling/logp_difference_mean": difference / max(count, 1.0),
        "sampling/probability_correlation": correlation,
    }


def require_agreement(figures: dict[str, float], limit: float, step: int, generator: str) -> None:
    """Raise `InputError` where the mean difference is over the limit, or no number; `generator` is one of `GENERATORS`."""
    difference = figures["sampling/logp_difference_mean"]
    if not difference <= limit:
        name, other = GENERATORS[generator]
        raise InputError(
            f"step {step}: log-probabilities of {name} and of the policy differ by {difference:.3g} on average, over "
            f"max_logp_drift {limit:g}; the checkpoints before it are whole: go on with {other}dtype float32 "
            "to see whether the precision is the cause"
        )


def clipped_share(
    ratio: torch.Tensor,
    mask: torch.Tensor,
    low: float | None,
    high: float | None,
    mean: Callable[[torch.Tensor, torch.Tensor], float],
) -> float:
    """The share of importance ratios that TRL masked (they are 0) or truncated; (rows, tokens) or (rows, 1).

    `mean(values, weights)` averages over all processes.
    """
    is_clipped = ratio == 0
    for bound in (low, high):
        if bound is not None:
            is_clipped |= ratio == bound
    weights = mask if ratio.shape == mask.shape else torch.ones_like(ratio)
    return mean(is_clipped.float(), weights.float())
