"""The weak order of a sampler with noise, without drawing: on a Gaussian the law that it ends in is worked out.

For a Gaussian target D is affine in x, so a sampler that combines x, D and its normal numbers linearly ends in x = m +
A x_T + sum_j B_j z_j. Handing it one number z_j at a time, each in an item of its own, reads off m, A and the B_j; the
end's mean is m and its covariance A C_T A^T + sum_j B_j B_j^T, exactly. Their distance to the true ones falls like
steps^-p for weak order p (Kloeden and Platen 1992, section 14.1), with no chance in it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from driftback.distributions.mixture import Mixture
from driftback.evaluation.verification.check import Check, judged, shown
from driftback.evaluation.verification.order import Convergence, grid, standard
from driftback.randomness import Key, Rng
from driftback.samplers.frame import Sampler, last
from driftback.scores.denoiser import Denoiser
from driftback.scores.exact import ExactDenoiser

STEPS = (15, 30, 60, 120, 240)
ROOM = 0.5
"""An order that is observed may be so much lower than the order that is claimed."""
ALLOWED = 0.05
"""What the mean and the covariance may be off with most steps: a solver of order 1 is .03 off."""
NORMAL = Mixture(torch.ones(1), torch.tensor([[0.7, -0.4]]), torch.tensor([[[0.3, 0.1], [0.1, 0.6]]]))
"""The target: its axes are not the coordinates', and none of its numbers is special."""


class NotLinear(Exception):
    """The end is no linear function of the normal numbers, or not of these alone."""


@dataclass(frozen=True)
class Impulses(Rng):
    """A key whose normal numbers are all 0, but for one in each item: item `skip` + j has number j of the way.

    `seen` tells which names were asked for, in order; the last item has all of them, twice.
    """

    skip: int = 0
    seen: dict[tuple[int, ...], int] = field(default_factory=dict, compare=False)

    def child(self, *names: Key) -> Impulses:
        return Impulses(self.seed, super().child(*names).names, self.first, self.skip, self.seen)

    def normal(
        self, shape: Sequence[int], *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
    ) -> Tensor:
        d = math.prod(shape[1:])
        place = self.skip + d * self.seen.setdefault(self.names, len(self.seen))
        out = torch.zeros(shape[0], d, dtype=dtype, device=device)
        out[place : place + d] = torch.eye(d, dtype=dtype, device=device)[: max(0, shape[0] - place)]
        out[-1] = 2
        return out.reshape(tuple(shape))

    def uniform(
        self, shape: Sequence[int], *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
    ) -> Tensor:
        raise NotLinear

    def generator(self) -> np.random.Generator:
        raise NotLinear

    def torch_generator(self, device: torch.device | str = "cpu") -> torch.Generator:
        raise NotLinear

    def item(self, first: int) -> Rng:
        raise NotLinear


def law(make: Callable[[Denoiser], Sampler], times: Tensor) -> tuple[Tensor, Tensor, int]:
    """Mean (2,) and covariance (2, 2) of the end of `times`, started exactly, and the evaluations per item.

    NotLinear where the sampler is not linear in its noise on a Gaussian.
    """
    denoiser = ExactDenoiser(standard().process, NORMAL)
    start = denoiser.process.marginal(NORMAL, float(times[0]))
    mean, root = start.means[0], torch.linalg.cholesky(start.covariances[0])

    def end(items: int) -> tuple[Tensor, int, int]:
        """The ends of the base item, the start's impulses, the noise's, and the one that has all of them twice."""
        x = mean.repeat(items, 1)
        x[1:3] += root.T
        x[-1] += 2 * root.sum(1)
        key = Impulses(0, skip=3)
        frame = last(make(denoiser)(x, times, rng=key))
        return frame.x, len(key.seen), frame.evaluations

    _, numbers, _ = end(5)
    x, _, evaluations = end(4 + 2 * numbers)
    apart = x[1:-1] - x[0]
    if not bool(torch.isfinite(x).all()) or not torch.allclose(x[0] + 2 * apart.sum(0), x[-1], rtol=1e-7, atol=1e-7):
        raise NotLinear
    return x[0], apart.T @ apart, evaluations


def weak(make: Callable[[Denoiser], Sampler], claimed: int | None) -> Iterator[Check]:
    """The weak order, judged where one is `claimed`, and how far the law is off with most steps.

    A sampler that is not linear in its noise has no law that can be worked out; it fails only where it claims an order.
    """
    errors, evaluations = [], []
    process = standard().process
    for steps in STEPS:
        times = grid(steps)
        try:
            mean, covariance, spent = law(make, times)
        except NotLinear:
            if claimed is None:
                yield shown("weak order: not linear in its noise", None)
            else:
                yield judged("weak order: linear in its noise", 0.0, 1.0, expected=1.0)
            return
        true = process.marginal(NORMAL, float(times[-1]))
        off = torch.cat([mean - true.means[0], (covariance - true.covariances[0]).flatten()])
        errors.append(float(off.norm()))
        evaluations.append(spent)
    found = Convergence(STEPS, tuple(errors), tuple(evaluations))
    order, error, grids = found.order()
    if claimed is None:
        yield shown("weak order", order, error=error, n=grids)
    else:
        yield judged("weak order", order, claimed - ROOM, expected=claimed, error=error, n=grids)
    # Whatever the order, what is wrong in law stays where it is as the steps get shorter.
    left = errors[-1] / errors[-2] if errors[-1] > 1e-6 else 0.0
    yield judged(f"error left from {STEPS[-2]} to {STEPS[-1]} steps", left, high=0.75, expected=0.5, n=STEPS[-1])
    name = f"error of mean and covariance at {STEPS[-1]} steps"
    yield judged(name, errors[-1], high=ALLOWED, expected=0.0, n=STEPS[-1])
