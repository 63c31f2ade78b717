"""A Gaussian as badly conditioned as one likes, along the axes or turned: how a sampler bears unequal scales.

x ~ N(0, Q diag(v) Q^T) with variances v geometric from 1 to the condition number kappa. The leapfrog's step is bound by
the smallest deviation and its path by the largest, so an unadapted HMC pays about sqrt(kappa) (Neal 2011, 'MCMC using
Hamiltonian dynamics', arXiv 1206.1901); Gibbs sampling is immediate along the axes and slow when turned.
"""

from __future__ import annotations

import torch
from torch import Tensor

from driftback.distributions.gaussian import Gaussian
from driftback.distributions.target import Problem, Truth
from driftback.errors import BadInput
from driftback.randomness import Rng


def gaussian(dimension: int, condition: float, *, rotated: bool = False) -> Problem:
    """N(0, Q diag(v) Q^T), v geometric from 1 to `condition`; Q is a fixed random rotation, or the identity.

    Its target has exact draws, score and conditionals. BadInput unless dimension >= 1 and condition >= 1.
    """
    if dimension < 1 or not condition >= 1:
        raise BadInput(f"a Gaussian has dimension {dimension} and condition number {condition}; give two numbers >= 1")
    variances = torch.logspace(0, 1, dimension, base=condition, dtype=torch.float64)
    covariance = variances.diag()
    if rotated:
        axes = rotation(dimension)
        covariance = (axes * variances) @ axes.T
        covariance = (covariance + covariance.T) / 2
    return Problem(
        Gaussian(torch.zeros(dimension, dtype=torch.float64), covariance),
        "gaussian-rotated" if rotated else "gaussian",
        Truth(0.0, torch.zeros(dimension, dtype=torch.float64), covariance.diagonal().sqrt()),
        source="Neal 2011, arXiv 1206.1901; dimension, condition number and rotation are ours",
    )


def rotation(dimension: int) -> Tensor:
    """A rotation (d, d), uniform on O(d) but always the same: Q of the QR of normal numbers, R's diagonal positive."""
    noise = Rng(0).child("rotation").generator().standard_normal((dimension, dimension))
    q, r = torch.linalg.qr(torch.from_numpy(noise))
    return q * r.diagonal().sign()
