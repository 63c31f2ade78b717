"""How true the components of a drawn mixture are: their standard deviations along their axes, and their weights.

Draws belong to a component where its responsibility is above .99; the others are left out. Exact draws go through the
same sieve, so that what it does to a standard deviation cancels in the ratio. Components that overlap with others so
much that the sieve keeps less than half of their exact draws are not judged.
"""

from __future__ import annotations

import math
from statistics import fmean, stdev

import torch
from torch import Tensor

from workers.mixtures import Problem

SURE = 0.99


def moments(problem: Problem, x: Tensor) -> tuple[Tensor, Tensor]:
    """Sure draws of each component as a share of all (seeds, k), and standard deviations along axes (seeds, k, d)."""
    sure = (problem.responsibilities(x) > SURE).double()
    counts = sure.sum(1)
    along = problem.along_axes(x)
    means = torch.einsum("snk,snkd->skd", sure, along) / counts[..., None]
    squares = torch.einsum("snk,snkd->skd", sure, along**2) / counts[..., None]
    return counts / sure.shape[1], (squares - means**2).clamp(min=0).sqrt()


def compared(problem: Problem, x: Tensor, exact: tuple[Tensor, Tensor]) -> dict:
    """Ratios of the draws' standard deviations to those of `exact`, and how far their weights are off.

    'mean' with 'error', its standard error over the seeds; 'off', the root mean square of the components' ratios less
    1, each averaged over axes; 'worst' of all axes; 'worst component', averaged over axes.
    """
    weights, deviations = moments(problem, x)
    judged = exact[0] > problem.weights / 2
    # A component without a single sure draw has no width.
    ratio = (deviations / exact[1]).nan_to_num(nan=0.0)
    seeds = [float(row[kept].mean()) for row, kept in zip(ratio, judged, strict=True) if kept.any()]
    ratio = ratio[judged]
    return {
        "mean": fmean(seeds),
        "error": stdev(seeds) / math.sqrt(len(seeds)),
        "off": float((ratio.mean(1) - 1).square().mean().sqrt()),
        "worst": _furthest(ratio.flatten()),
        "worst component": _furthest(ratio.mean(1)),
        "weights": float((weights - exact[0])[judged].abs().max()),
    }


def _furthest(ratios: Tensor) -> float:
    return float(ratios[ratios.clamp(min=1e-12).log().abs().argmax()])
