"""Mixtures of Gaussians as targets: everything about them is known, and a sampler has to find the modes.

p(x) = sum_k w_k N(x; m_k, S_k). The mode of a point is the nearest mean; the share of mode k is then the mass of the
Voronoi cell of m_k, not w_k. In the plane a line x = c meets each cell in one interval of y, on which the mixture is a
difference of normal integrals; a trapezoid sum over c does the rest.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from driftback.distributions.mixture import Mixture
from driftback.distributions.shapes2d import two_gaussians as shape
from driftback.distributions.target import Problem, Truth, nearest


def mixture(law: Mixture, name: str, *, shares: Tensor | None = None, source: str = "") -> Problem:
    """The target of `law`, with means, deviations and modes; `shares` (k,) of the modes where they are known."""
    mean = law.weights @ law.means
    second = law.weights @ (law.covariances.diagonal(dim1=1, dim2=2) + law.means**2)
    truth = Truth(0.0, mean, (second - mean**2).sqrt(), nearest(law.means), shares)
    return Problem(law, name, truth, source=source)


def two_gaussians() -> Problem:
    """The shape `two-gaussians`: deviation 1/2 at (-2, 0) and (2, 0), each as likely; the shares follow by symmetry."""
    law = shape()
    return mixture(law, "two-gaussians", shares=law.weights, source="driftback.distributions.shapes2d")


def two_modes(dimension: int = 20) -> Problem:
    """Deviation 1/2 at -(1, ..., 1) and (1, ..., 1) with weights 0.3 and 0.7: will a sampler get the weights right?

    The means are 2 sqrt(d) apart, so each cell lacks Phi(-2 sqrt(d)) of its component, 2e-19 for d = 20.
    """
    means = torch.ones(dimension, dtype=torch.float64) * torch.tensor([[-1.0], [1.0]])
    weights = torch.tensor([0.3, 0.7], dtype=torch.float64)
    law = Mixture(weights, means, 0.25 * torch.eye(dimension, dtype=torch.float64).expand(2, -1, -1))
    lost = 0.5 * math.erfc(2 * math.sqrt(dimension) / math.sqrt(2))
    return mixture(law, f"two-modes-{dimension}", shares=weights + lost * (weights.flip(0) - weights), source="ours")


def gmm25() -> Problem:
    """25 Gaussians at {-10, -5, 0, 5, 10}^2 with *variance* 0.3, each as likely."""
    line = torch.arange(-10.0, 11.0, 5.0, dtype=torch.float64)
    law = Mixture(torch.ones(25), torch.cartesian_prod(line, line), 0.3 * torch.eye(2).double().expand(25, 2, 2))
    source = "Zhang and Chen 2022, arXiv 2111.15141; with variance 0.3 in Sendera et al. 2024, arXiv 2402.05098"
    return mixture(law, "gmm25", shares=cells(law), source=source)


def gmm40() -> Problem:
    """40 Gaussians at means uniform in [-40, 40]^2, torch's of seed 0, with *deviation* softplus(1) = 1.3133.

    This is what FAB's PyTorch code draws from; its 'log-variance' 1 goes through softplus into the Cholesky factor. The
    JAX versions have other means, and some have variance 1.
    """
    draws = torch.rand(40, 2, generator=torch.Generator().manual_seed(0))
    variance = math.log1p(math.e) ** 2
    means = ((draws - 0.5) * 2 * 40).double()
    law = Mixture(torch.ones(40), means, variance * torch.eye(2).double().expand(40, 2, 2))
    return mixture(law, "gmm40", shares=cells(law), source="Midgley et al. 2023, arXiv 2208.01893 (PyTorch, seed 0)")


def cells(law: Mixture, *, nodes: int = 2001) -> Tensor:
    """The mass (k,) of the points that are nearest to each mean, for round components in the plane, to about 1e-6.

    A boundary that is parallel to the y axis costs accuracy, in proportion to the density on it.
    """
    deviation = law.covariances[:, 0, 0].sqrt()
    a, b = law.means.T
    reach = 9 * float(deviation.max())
    # An odd offset keeps the lines off the boundaries of regular grids.
    c = torch.linspace(float(a.min()) - reach, float(a.max()) + reach + 0.001, nodes, dtype=torch.float64)[:, None]
    # On the line x = c cell k is where g_k - 2 b_k y is smallest, so each other mean bounds it on one side.
    g = (c - a) ** 2 + b**2
    rise = b - b[:, None]
    bound = (g[:, None, :] - g[:, :, None]) / (2 * rise)
    upper = torch.where(rise > 0, bound, math.inf).amin(2)
    lower = torch.where(rise < 0, bound, -math.inf).amax(2)
    beaten = ((rise == 0) & (g[:, None, :] < g[:, :, None])).any(2)
    ends = torch.stack([lower, torch.maximum(lower, upper)])[..., None]
    below = torch.special.ndtr((ends - b) / deviation)
    heights = law.weights * torch.exp(-(((c - a) / deviation) ** 2) / 2) / (deviation * math.sqrt(2 * math.pi))
    along = ((below[1] - below[0]) * heights[:, None]).sum(2).masked_fill(beaten, 0)
    return torch.trapezoid(along, c, dim=0)
