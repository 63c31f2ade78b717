"""The weak order of a sampler with noise: how fast the mean of a function of its points settles as steps are halved.

d(N) = E f(x_N) - E f(x_2N) falls like N^-p for weak order p (Talay and Tubaro 1990; Kloeden and Platen 1992, section
14.1). f is a handful of moments; both runs start at the same points, and follow one Brownian path where the sampler
keeps to the key's, so that their differences are far less noisy than the means are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import pairwise

import torch
from torch import Tensor

from driftback.evaluation.verification.check import Check, judged, shown
from driftback.evaluation.verification.order import standard
from driftback.evaluation.verification.targets import TARGET
from driftback.randomness import Rng
from driftback.samplers.frame import Sampler, last
from driftback.samplers.grids import log_snr
from driftback.scores.denoiser import Denoiser

ITEMS, STEPS = 4000, (16, 32, 64)
ROOM = 0.4


def weak(make: Callable[[Denoiser], Sampler], claimed: int | None, rng: Rng) -> Iterator[Check]:
    """What is left to change at each doubling of the steps, and the weak order, judged where one is `claimed`."""
    process = standard().process
    first = float(log_snr(process, 1, low=0.01, high=20.0)[0])
    x = process.marginal(TARGET, first).sample(ITEMS, rng=rng.child("start"))
    values = [_moments(last(make(standard())(x, log_snr(process, n, low=0.01, high=20.0), rng=rng)).x) for n in STEPS]
    changes = [b - a for a, b in pairwise(values)]
    sizes = [float(change.mean(0).norm()) for change in changes]
    errors = [float(change.std(0).norm()) / math.sqrt(ITEMS) for change in changes]
    for steps, size, error in zip(STEPS, sizes, errors, strict=False):
        yield shown(f"weak change from {steps} to {2 * steps} steps", size, expected=0.0, error=error, n=ITEMS)
    order = math.log2(sizes[0] / sizes[1]) if min(sizes) > 0 else math.nan
    error = math.hypot(*(e / s for e, s in zip(errors, sizes, strict=True))) / math.log(2) if min(sizes) > 0 else 0.0
    if claimed is None:
        yield shown("weak order", order, error=error, n=ITEMS)
    else:
        yield judged("weak order", order, claimed - ROOM - 2 * error, expected=claimed, error=error, n=ITEMS)


def _moments(x: Tensor) -> Tensor:
    """First and second moments, and the share of the first mode: (n, 5)."""
    return torch.cat([x, (x - TARGET.weights @ TARGET.means) ** 2, TARGET.responsibilities(x)[:, :1]], 1)
