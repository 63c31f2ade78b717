"""Mixtures of Gaussians about which everything is known: exact denoiser, exact starts, exact ends of the way back.

dx/dsigma = (x - D(x; sigma)) / sigma with D(x; sigma) = E[x_0 | x_0 + sigma eps = x] (Karras et al. 2022, arXiv
2206.00364, equations 1 and 3). Several mixtures, one per seed, stand side by side in one batch; each has modes of
different widths, so that no single noise level is where everything happens.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

HIGH = 80.0
"""The noise at which every sampler starts."""
SPREAD = 0.5
"""Root mean square of a mixture's standard deviations along the coordinates: EDM's sigma_data."""
WIDTHS = (0.05, 0.3)


@dataclass(frozen=True)
class Problem:
    """`points` starting points for each of the mixtures with seeds 0 .. `seeds` - 1 in `dimension` dimensions.

    Tensors are float64; points are rows (seeds x points, dimension), the first seed's first.
    """

    dimension: int
    seeds: int
    points: int

    @cached_property
    def _drawn(self) -> tuple[Tensor, ...]:
        drawn = [_draw(self.dimension, seed, self.points) for seed in range(self.seeds)]
        return tuple(torch.from_numpy(np.stack(parts)) for parts in zip(*drawn, strict=True))

    @property
    def weights(self) -> Tensor:
        """(seeds, components)."""
        return self._drawn[0]

    @property
    def means(self) -> Tensor:
        """(seeds, components, dimension)."""
        return self._drawn[1]

    @property
    def axes(self) -> Tensor:
        """(seeds, components, dimension, dimension): the principal axes as columns."""
        return self._drawn[2]

    @property
    def widths(self) -> Tensor:
        """(seeds, components, dimension): standard deviations along the axes."""
        return self._drawn[3]

    @property
    def clean(self) -> Tensor:
        """Exact draws of the mixtures."""
        return self._drawn[4].flatten(0, 1)

    @property
    def start(self) -> Tensor:
        """Exact draws of the mixtures with noise of standard deviation 80 on top."""
        return self._drawn[5].flatten(0, 1)

    @cached_property
    def _flat(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """All components' axes side by side, their means along them, squared widths, and which column is whose."""
        axes = self.axes.permute(0, 2, 1, 3).flatten(2).contiguous()  # (seeds, d, components x d)
        centres = (self.means[:, :, None] @ self.axes).flatten(1)[:, None]
        blocks = torch.eye(self.weights.shape[1], dtype=torch.float64).repeat_interleave(self.dimension, 1)
        return axes, centres, self.widths.flatten(1)[:, None] ** 2, blocks

    def _joint(self, x: Tensor, sigma: float) -> tuple[Tensor, Tensor, Tensor]:
        """Responsibilities (s, n, k), residuals along all axes (s, n, k x d), and the variances there (s, 1, k x d)."""
        axes, centres, squares, blocks = self._flat
        residual = x.reshape(self.seeds, -1, self.dimension) @ axes - centres
        variance = squares + sigma**2
        scale = self.weights.log()[:, None] - variance.log() @ blocks.mT / 2
        return (scale - residual.square() @ (blocks / (2 * variance)).mT).softmax(2), residual, variance

    def responsibilities(self, x: Tensor) -> Tensor:
        """The probability of each component given points without noise: (seeds, points, components)."""
        return self._joint(x, 0.0)[0]

    def along_axes(self, x: Tensor) -> Tensor:
        """Distances from each component's mean along its axes: (seeds, points, components, dimension)."""
        return self._joint(x, 0.0)[1].unflatten(2, (-1, self.dimension))

    def slope(self, x: Tensor, sigma: float) -> Tensor:
        """(x - D(x; sigma)) / sigma, without the cancellation: minus sigma times the score."""
        share, residual, variance = self._joint(x, sigma)
        pull = share @ (self._flat[3] * (sigma / variance)) * residual
        return (pull @ self._flat[0].mT).reshape(x.shape)

    def denoised(self, x: Tensor, sigma: float) -> Tensor:
        """D(x; sigma), of the shape and dtype of `x`."""
        share, residual, variance = self._joint(x.double(), sigma)
        kept = share @ (self._flat[3] * (self._flat[2] / variance)) * residual
        return (share @ self.means + kept @ self._flat[0].mT).reshape(x.shape).to(x.dtype)

    def truth(self, tolerance: float = 1e-12, levels: tuple[float, ...] = ()) -> Tensor:
        """Where the probability-flow ODE takes `start`: at each of the decreasing `levels`, then at no noise.

        (levels + 1, points, dimension), by DOP853 on the clock u, sigma = sinh(u) / 20. On that clock the way is smooth
        to its end: sigma is about exponential in u far out and linear close by.
        """

        def field(u: float, x: np.ndarray) -> np.ndarray:
            slope = self.slope(torch.from_numpy(x).reshape(-1, self.dimension), math.sinh(u) / 20)
            return slope.numpy().ravel() * (math.cosh(u) / 20)

        x, u, found = self.start.numpy().ravel(), math.asinh(20 * HIGH), []
        for level in (*levels, 0.0):
            way = (u, math.asinh(20 * level))
            solved = solve_ivp(field, way, x, method="DOP853", t_eval=way[1:], rtol=tolerance, atol=tolerance)
            x, u = solved.y[:, -1].copy(), way[1]
            found.append(torch.from_numpy(x).reshape(-1, self.dimension))
        return torch.stack(found)

    def errors(self, x: Tensor, truth: Tensor) -> list[float]:
        """Root mean square of `x - truth` over points and coordinates, one number per seed."""
        square = (x.double() - truth).square().reshape(self.seeds, -1)
        return square.mean(1).sqrt().tolist()


class Denoises(Protocol):
    """Something with a denoiser: a mixture, or a learned model."""

    def denoised(self, x: Tensor, sigma: float) -> Tensor:
        """D(x; sigma)."""
        ...


class Counted:
    """A problem's denoiser that counts its calls: evaluations per point, since every call moves all points."""

    def __init__(self, problem: Denoises) -> None:
        self.problem, self.evaluations = problem, 0

    def __call__(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        """D(x; sigma) for one sigma, given as a number or as a tensor that repeats it."""
        self.evaluations += 1
        return self.problem.denoised(x, float(torch.as_tensor(sigma).flatten()[0]))


def _draw(dimension: int, seed: int, points: int) -> tuple[np.ndarray, ...]:
    """Weights, means, axes and widths of one mixture, then its clean and its noisy draws."""
    rng = np.random.default_rng([dimension, seed])
    components = 3 if dimension == 2 else 5
    weights = rng.permutation(np.arange(2.0, 2 + components))
    weights /= weights.sum()
    low, high = np.log(WIDTHS)
    typical = rng.permutation(np.linspace(low, high, components))
    widths = np.exp(np.clip(typical[:, None] + rng.uniform(-0.5, 0.5, (components, dimension)), low, high))
    axes = np.linalg.qr(rng.normal(size=(components, dimension, dimension)))[0]
    means = rng.normal(size=(components, dimension))
    means -= weights @ means
    between, within = (weights @ means**2).mean(), (weights @ widths**2).mean()
    means *= np.sqrt((SPREAD**2 - within) / between)
    draws = np.random.default_rng([dimension, seed, 1])
    which = draws.choice(components, size=points, p=weights)
    noise = draws.normal(size=(2, points, dimension))
    clean = means[which] + np.einsum("nde,ne->nd", axes[which], widths[which] * noise[0])
    return weights, means, axes, widths, clean, clean + HIGH * noise[1]
