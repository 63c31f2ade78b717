"""Muon: the steps of a layer's matrix are made orthogonal, so that rare directions learn as fast as common ones.

The gradient's running mean M, a matrix (out, in x kernel), has singular values of very unequal size; the step is the
nearest orthogonal matrix, U V^T of M = U S V^T, found by five rounds of a polynomial,

    X <- a X + b (X X^T) X + c (X X^T)^2 X,   X = M / |M| at first

(Jordan et al. 2024, kellerjordan.github.io/posts/muon), and scaled to the usual size of AdamW's,
.2 sqrt(max(rows, columns)) (Liu et al. 2025, arXiv 2502.16982, equation 4). The first and the last layer, those that
turn what is told into scales and shifts, embeddings, offsets and scales take AdamW's steps (Loshchilov and Hutter 2019,
arXiv 1711.05101).
"""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

import torch
from torch import Tensor, nn

MOMENTUM = 0.95
POLYNOMIAL = (3.4445, -4.7750, 2.0315)
"""a, b and c, chosen by Jordan for the steepest slope at 0: singular values end between 0.7 and 1.2, not at 1."""
ROUNDS = 5
OUTER = ("enter", "leave", "film")
"""Layers of these names keep AdamW: what comes in and what goes out has a basis of its own, and so have scales."""
NARROW = 16
"""And so do layers with fewer channels on one side, which have few directions."""


def hidden_matrices(network: nn.Module) -> list[nn.Parameter]:
    """The weights of the linear and convolutional layers of `network` but for `OUTER` and `NARROW` ones."""
    layers = [m for name, m in network.named_modules() if name.rpartition(".")[2] not in OUTER]
    weights = [m.weight for m in layers if isinstance(m, nn.Linear | nn.Conv2d)]
    return [p for p in weights if isinstance(p, nn.Parameter) and p.requires_grad and min(p.shape[:2]) >= NARROW]


def orthogonal(m: Tensor) -> Tensor:
    """About U V^T of matrices m = U S V^T, (n, a, b): all singular values that are not tiny become about 1."""
    wide = m if m.shape[-2] <= m.shape[-1] else m.mT
    x = wide / (torch.linalg.matrix_norm(wide, keepdim=True) + 1e-7)
    a, b, c = POLYNOMIAL
    for _ in range(ROUNDS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x if m.shape[-2] <= m.shape[-1] else x.mT


class Muon(torch.optim.AdamW):
    """AdamW, but for groups of parameters that say `orthogonal`."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """One step, from the gradients that are there."""
        groups = self.param_groups
        for group in groups:
            if group.get("orthogonal"):
                self._orthogonal_step(group)
        self.param_groups = [group for group in groups if not group.get("orthogonal")]
        try:
            return super().step(closure)
        finally:
            self.param_groups = groups

    def _orthogonal_step(self, group: dict[str, Any]) -> None:
        alike: dict[tuple[int, int], list[tuple[Tensor, Tensor]]] = defaultdict(list)
        for p in group["params"]:
            if p.grad is not None:
                alike[p.shape[0], p[0].numel()].append((p, p.grad))
        for (rows, columns), same in alike.items():
            means = []
            for p, gradient in same:
                state = self.state[p]
                if not state:
                    # AdamW asks every state for its step when one is loaded.
                    state["step"], state["mean"] = torch.zeros(()), torch.zeros_like(p)
                state["step"] += 1
                state["mean"].lerp_(gradient, 1 - MOMENTUM)
                means.append(gradient.lerp(state["mean"], MOMENTUM).reshape(rows, columns))
            rate = group["lr"] * 0.2 * math.sqrt(max(rows, columns))
            for (p, _), step in zip(same, orthogonal(torch.stack(means)), strict=True):
                p.mul_(1 - group["lr"] * group["weight_decay"]).add_(step.reshape(p.shape), alpha=-rate)
