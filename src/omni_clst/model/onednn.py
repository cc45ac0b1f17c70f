"""Compute the linear layers of a CPU run with oneDNN.

On a CPU torch multiplies float32 matrices with MKL, which is slow on AMD's processors and for few rows. oneDNN, which is
part of every torch build for x86, is faster in both cases (`bench/grpo_step.py` measures both).
"""

import torch
from torch.nn.functional import linear


def _multiply(rows: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """rows (..., k) x weight (n, k) transposed, plus bias (n,)."""
    return torch.ops.mkldnn._linear_pointwise(rows, weight, bias, "none", [], "")


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, rows, weight, bias):
        ctx.save_for_backward(rows, weight)
        return _multiply(rows, weight, bias)

    @staticmethod
    def backward(ctx, gradient):
        rows, weight = ctx.saved_tensors
        needs_rows, needs_weight, needs_bias = ctx.needs_input_grad
        flat = gradient.flatten(0, -2)
        return (
            _multiply(gradient, weight.t()) if needs_rows else None,
            _multiply(flat.t(), rows.flatten(0, -2).t()) if needs_weight else None,
            flat.sum(dim=0) if needs_bias else None,
        )


class OneDNNLinear(torch.nn.Linear):
    """`torch.nn.Linear` that multiplies with oneDNN where that is faster: float32 on a CPU."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        plain = (
            input.device.type != "cpu"
            or input.dtype != torch.float32
            or self.weight.dtype != torch.float32
            or not input.numel()
            or torch.is_autocast_enabled("cpu")
            or hasattr(self.weight, "ds_id")  # ZeRO-3 replaces linear, in order to free gathered weights
        )
        return linear(input, self.weight, self.bias) if plain else _Linear.apply(input, self.weight, self.bias)


def use_onednn(model: torch.nn.Module) -> None:
    """Make the model's linear layers multiply with oneDNN where this build of torch has it."""
    if not torch.backends.mkldnn.is_available():
        return
    for module in model.modules():
        if type(module) is torch.nn.Linear:
            module.__class__ = OneDNNLinear
