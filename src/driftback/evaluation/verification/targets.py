"""The target about which everything is known, the way back to it followed to eleven digits, and its modes, counted.

The oracle is a mixture of two Gaussians in the plane. With noise its density has a formula, and its score is that
formula's gradient, taken here by automatic differentiation; the probability-flow ODE dy/dl = y - D in y = x / alpha and
l = log(sigma / alpha) is followed by scipy's DOP853 (Hairer, Norsett and Wanner 1993, section II.5). Neither uses the
code of the samplers and scores. Points x are counted by their responsibilities r_k, for which E r_k = w_k, E r_k (x -
m_k) = 0 and E r_k (x - m_k)^2 = w_k S_k hold exactly, however near the modes are to one another.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from driftback.distributions.mixture import Mixture
from driftback.evaluation.verification.check import Check, near
from driftback.processes.diffusion import Diffusion

TARGET = Mixture(
    torch.tensor([0.3, 0.7]),
    torch.tensor([[-1.5, 0.5], [1.0, -0.3]]),
    torch.tensor([[[0.09, 0.03], [0.03, 0.08]], [[0.25, 0.0], [0.0, 0.16]]]),
)
"""Two modes of unequal weight and width, one of them tilted."""


def true_score(target: Mixture, x: Tensor, alpha: float, sigma: float) -> Tensor:
    """grad log p of alpha x_0 + sigma eps at `x` (n, d), float64: the gradient of the density's own formula."""
    with torch.enable_grad():
        x = x.detach().double().requires_grad_(True)
        (slope,) = torch.autograd.grad(target.noised(alpha, sigma).log_prob(x).sum(), x)
    return slope


def ends(process: Diffusion, x: Tensor, high: float, low: float, target: Mixture = TARGET) -> Tensor:
    """Where the probability-flow ODE takes `x` (n, d) from the ratio `high` down to `low`: (n, d), to 1e-10."""
    shape = tuple(x.shape)

    def slope(clock: float, y: np.ndarray) -> np.ndarray:
        points, ratio = torch.from_numpy(y.reshape(shape)), math.exp(clock)
        return (-(ratio**2) * true_score(target, points, 1.0, ratio)).numpy().ravel()

    start, end = (float(process.alpha(process.time_of(ratio).clamp(0, 1))) for ratio in (high, low))
    span, first = (math.log(high), math.log(low)), (x / start).double().numpy().ravel()
    way = solve_ivp(slope, span, first, method="DOP853", rtol=1e-11, atol=1e-11)
    return end * torch.from_numpy(way.y[:, -1].reshape(shape))


def modes(x: Tensor, allowed: float, target: Mixture = TARGET) -> Iterator[Check]:
    """Weight, mean and standard deviation of each mode among `x` (n, d), with standard errors.

    `allowed` is the error that a solver may have: of a weight as it is, of the others in units of the deviation.
    """
    x, n = x.double(), len(x)
    shares = target.responsibilities(x)
    for k, (weight, mean, covariance) in enumerate(zip(target.weights, target.means, target.covariances, strict=True)):
        share, apart = shares[:, k], x - mean
        w = float(weight)
        yield near(f"mode {k + 1} weight", float(share.mean()), w, float(share.std()) / math.sqrt(n), allowed, n)
        for i, variance in enumerate(covariance.diagonal().tolist()):
            sd, part = math.sqrt(variance), share * apart[:, i]
            error = float(part.std()) / (w * math.sqrt(n))
            found = float(mean[i] + part.mean() / share.mean())
            yield near(f"mode {k + 1} mean {i + 1}", found, float(mean[i]), error, allowed * sd, n)
            found = math.sqrt(max(0.0, float((share * apart[:, i] ** 2).mean() / share.mean())))
            error = float((share * (apart[:, i] ** 2 - variance)).std()) / (2 * sd * w * math.sqrt(n))
            yield near(f"mode {k + 1} deviation {i + 1}", found, sd, error, allowed * sd, n)
