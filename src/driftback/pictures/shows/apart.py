"""How far a cloud in the plane is from another, for the eye: sliced Wasserstein-1 along lines that are evenly turned.

The mean over lines of int |F(u) - G(u)| du (Rabin et al. 2011; Bonneel et al. 2015). `driftback.evaluation.sliced`
judges, by random lines in any dimension, with intervals.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

LINES = 32
"""Directions, evenly turned."""


def apart(x: Tensor, y: Tensor) -> float:
    """The distance of `x` (n, 2) and `y` (m n, 2), whole m, in their units."""
    turn = math.pi * (torch.arange(LINES, dtype=torch.float64) + 0.5) / LINES
    lines = torch.stack([turn.cos(), turn.sin()])
    along, beside = ((points.double() @ lines).sort(0).values for points in (x, y))
    return float((along.repeat_interleave(len(y) // len(x), 0) - beside).abs().mean())
