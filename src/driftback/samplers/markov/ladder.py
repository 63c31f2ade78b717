"""Where the rungs of an annealed path lie: as far apart as weighted particles can bear, or as many as can be paid for.

One step from b to b' multiplies weights by v = e^((b' - b) u) and keeps the share (sum W v)^2 / sum W v^2 of what the
particles are worth (the conditional effective size over n; Zhou, Johansen and Aston 2016, arXiv 1303.3123).
To second order -log of it is the variance of log v, so sqrt(-log) adds up to a length of the path; rungs at equal
lengths have the smallest error for their number (Syed et al. 2024, arXiv 2408.12057).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from driftback.errors import BadInput

HALVINGS = 60
"""Bisections of a step; more than a float64 has digits."""


def checked(betas: Tensor) -> list[float]:
    """The inverse temperatures `betas` (rungs + 1,) as numbers. BadInput where they do not rise from 0 to 1."""
    rungs = betas.double().tolist()
    if len(rungs) < 2 or rungs[0] != 0 or rungs[-1] != 1 or rungs != sorted(set(rungs)):
        raise BadInput("these inverse temperatures do not rise from 0 to 1; give a rising row that begins and ends so")
    return rungs


def kept(rise: float, gain: Tensor, log_weights: Tensor) -> float:
    """The share that is kept when b rises by `rise`, for u in `gain` (n,) and weights so far in `log_weights` (n,)."""
    log_shares = log_weights.log_softmax(0)
    once, twice = (log_shares + rise * gain).logsumexp(0), (log_shares + 2 * rise * gain).logsumexp(0)
    # Where no particle has weight left this is NaN, and said to be nothing.
    return min(1.0, float((2 * once - twice).exp().nan_to_num(nan=0.0)))


def length(share: float) -> float:
    """The length of a step that keeps `share`."""
    return math.sqrt(max(0.0, -math.log(max(share, 1e-300))))


def next_rung(beta: float, gain: Tensor, log_weights: Tensor, share: float) -> float:
    """The inverse temperature above `beta` at which `share` is kept, by bisection; 1 where more is kept there."""
    if kept(1 - beta, gain, log_weights) >= share:
        return 1.0
    low, high = 0.0, 1 - beta
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if kept(middle, gain, log_weights) >= share else (low, middle)
    # At least one digit further, or a target with hard walls would never be reached.
    return min(1.0, max(beta + high, math.nextafter(beta, 1.0)))


def equal_lengths(betas: Sequence[float], lengths: Sequence[float], rungs: int) -> Tensor:
    """`rungs` + 1 inverse temperatures from 0 to 1 at equal lengths, (rungs + 1,) float64.

    `betas` from 0 to 1 were seen before, with the `lengths` of the steps between them. One without a rise led past a
    hard wall, which no rungs divide: it falls to the first rung after it.
    """
    seen = torch.tensor(betas, dtype=torch.float64)
    # A step of no length at all still has its place.
    steps = torch.tensor([0.0, *(max(step, 1e-9) for step in lengths)], dtype=torch.float64)
    steps[1:][seen.diff() <= 0] = 0.0
    ends = steps.cumsum(0)
    wanted = torch.linspace(0, float(ends[-1]), rungs + 1, dtype=torch.float64)
    after = torch.searchsorted(ends, wanted).clamp(1, len(seen) - 1)
    part = (wanted - ends[after - 1]) / (ends[after] - ends[after - 1])
    out = seen[after - 1] + part * (seen[after] - seen[after - 1])
    out[0], out[-1] = 0.0, 1.0
    return out
