"""Averages of the weights of any length, chosen after the training: two are tracked, and others are made of snapshots.

The average of length sigma_rel weighs the weights of time t by p(t) = (g + 1) t^g / T^(g + 1) on [0, T], whose standard
deviation is sigma_rel T = T sqrt((g + 1) / (g + 3)) / (g + 2). It is tracked by average <- b average + (1 - b) weights
with b = (1 - 1/k)^(g + 1) at step k, exactly, for weights that stay as they are within a step. A p that was not tracked
is the least-squares combination of those of the snapshots, by their inner products
(g + 1) (h + 1) (T / S)^h / ((g + h + 1) S) for T <= S (Karras et al. 2024, arXiv 2312.02696, section 3 and appendix
C). The combination's factors are made to sum to 1, so that weights that have come to rest stay where they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from driftback.errors import BadInput

TRACKED = (0.05, 0.1)
"""The lengths that are tracked, as in the paper."""
SHORTEST, LONGEST = 0.02, 0.25
"""The lengths that may be asked for: g = 0, the plain mean, would be .289."""
WORST = 0.12
"""A combination may miss so much of the norm of what is asked for."""


def length_of(exponent: float) -> float:
    """sigma_rel of the exponent g >= 0."""
    return float(np.sqrt((exponent + 1) / (exponent + 3)) / (exponent + 2))


def exponent_of(length: float) -> float:
    """The exponent g of sigma_rel: the positive root of (g + 2)^2 (g + 3) = (g + 1) / sigma_rel^2.

    BadInput outside [`SHORTEST`, `LONGEST`].
    """
    if not SHORTEST <= length <= LONGEST:
        raise BadInput(
            f"an average of the length {length:g} cannot be made; give {SHORTEST:g} to {LONGEST:g}, the standard "
            "deviation of its weights in shares of the training"
        )
    inverse = length**-2
    roots = np.roots([1.0, 7.0, 16.0 - inverse, 12.0 - inverse])
    return float(roots.real.max())


def decay_of(exponent: float, step: int) -> float:
    """b at the step with number `step` >= 1; 0 at the first."""
    return (1 - 1 / step) ** (exponent + 1)


@dataclass(frozen=True)
class Profile:
    """The average of exponent `exponent` at the end of step `step`."""

    exponent: float
    step: int

    def inner(self, other: Profile) -> float:
        """The integral of the product of two profiles over time."""
        early, late = sorted((self, other), key=lambda one: one.step)
        g, h = early.exponent, late.exponent
        return (g + 1) * (h + 1) * (early.step / late.step) ** h / ((g + h + 1) * late.step)


def combination(kept: Sequence[Profile], wanted: Profile) -> tuple[np.ndarray, float]:
    """The factors, float64 (n,), that make `wanted` of `kept`, and the share of its norm that they miss."""
    gram = np.array([[a.inner(b) for b in kept] for a in kept])
    target = np.array([a.inner(wanted) for a in kept])
    # Scaled to profiles of norm 1, the matrix bears the numbers of its smallest eigenvalues longer.
    norm = np.sqrt(np.diag(gram))
    factors = np.linalg.lstsq(gram / np.outer(norm, norm), target / norm, rcond=1e-13)[0] / norm
    factors = factors / factors.sum()
    whole = wanted.inner(wanted)
    missed = max(0.0, whole - 2 * factors @ target + factors @ gram @ factors)
    return factors, float(np.sqrt(missed / whole))


class PowerAverages:
    """The averages of `TRACKED` lengths of a network's weights."""

    def __init__(self, network: nn.Module) -> None:
        self.exponents = tuple(map(exponent_of, TRACKED))
        self.names = tuple(name for name, _ in network.named_parameters())
        self.values = [[p.detach().clone() for p in network.parameters()] for _ in self.exponents]

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Take in the weights after the step with number `step` >= 1."""
        now: list[Tensor] = list(network.parameters())
        for exponent, values in zip(self.exponents, self.values, strict=True):
            torch._foreach_lerp_(values, now, 1 - decay_of(exponent, step))

    def tensors(self) -> dict[str, Tensor]:
        """The averages by "length/name"."""
        return {
            f"{length:g}/{name}": value
            for length, values in zip(TRACKED, self.values, strict=True)
            for name, value in zip(self.names, values, strict=True)
        }

    @torch.no_grad()
    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Back to what `tensors` gave; KeyError or RuntimeError where they belong to another network."""
        for name, value in self.tensors().items():
            value.copy_(tensors[name])
