"""The log of a sum over whole numbers d of exp(q_0 + q_1 d + q_2 d^2), as sums of Gaussians over levels are.

Its gradient is the mean of (1, d, d^2) under these weights, so that one pass finds both, and no table of numbers by
levels is kept for the way back.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

AT_ONCE = 1 << 20
"""About so many exponentials are held at a time."""


def log_sum(coefficients: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """log sum_j sum_d exp(q_j0 + q_j1 d + q_j2 d^2) over whole numbers low <= d <= high, (...,).

    `coefficients` (..., k, 3), with q_2 < 0; `low` and `high` (...,) hold whole numbers, low <= high.
    """
    return _LogSum.apply(coefficients, low, high)


class _LogSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, coefficients: Tensor, low: Tensor, high: Tensor) -> Tensor:
        low, high = low.unsqueeze(-1), high.unsqueeze(-1)
        constant, linear, square = coefficients.unbind(-1)
        # At the whole number next to each parabola's top: no exponential overflows, and the largest is no zero.
        top = torch.minimum(torch.maximum((-linear / (2 * square)).round(), low), high)
        most = (constant + top * (linear + top * square)).amax(-1, keepdim=True)
        lifted = torch.stack([constant - most, linear, square], -1)
        sums = torch.zeros_like(lifted)
        every = torch.arange(int(low.min()), int(high.max()) + 1, dtype=low.dtype, device=low.device)
        for d in every.split(max(1, AT_ONCE // max(1, constant.numel()))):
            powers = torch.stack([torch.ones_like(d), d, d * d])
            outside = ((d < low) | (d > high)).unsqueeze(-2)
            sums += (lifted @ powers).masked_fill_(outside, -torch.inf).exp_() @ powers.T
        total = sums[..., 0].sum(-1)
        ctx.save_for_backward(sums / total[..., None, None])
        return total.log() + most.squeeze(-1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (moments,) = ctx.saved_tensors
        return gradients[0][..., None, None] * moments, None, None
