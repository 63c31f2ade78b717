"""A mixture of Gaussians, the distribution about which everything is known: draws, density, score, and noise on top.

p(x) = sum_k w_k N(x; m_k, S_k). With noise, y = alpha x + sigma eps has components N(alpha m_k, C_k), where C_k =
alpha^2 S_k + sigma^2 I; with its responsibilities r_k(y) the score is sum_k r_k C_k^-1 (alpha m_k - y), and the mean of
x given y is sum_k r_k (m_k + alpha S_k C_k^-1 (y - alpha m_k)) (Bishop 2006, sections 2.3.3 and 9.2). Each S_k is
diagonalised once; then every alpha and sigma costs two rotations.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from driftback.distributions.gaussian import LOG_TWO_PI, correlated
from driftback.errors import BadInput
from driftback.randomness import Rng, as_rng


@dataclass(frozen=True, eq=False)
class Mixture:
    """Weights (k,), means (k, d), covariances (k, d, d), kept in float64 with weights that sum to 1, on one device.

    Covariances may be singular, even zero: then draws and `noised` with sigma > 0 work, density and score do not.
    BadInput if shapes disagree, a weight is negative, or a covariance is not symmetric and positive semi-definite.
    """

    weights: Tensor
    means: Tensor
    covariances: Tensor

    def __post_init__(self) -> None:
        k, d = self.means.shape if self.means.ndim == 2 else (-1, -1)
        if self.weights.shape != (k,) or self.covariances.shape != (k, d, d):
            shapes = ", ".join(str(tuple(p.shape)) for p in (self.weights, self.means, self.covariances))
            raise BadInput(f"a mixture's weights, means and covariances are {shapes}; give (k,), (k, d) and (k, d, d)")
        if self.weights.min() < 0 or self.weights.sum() <= 0:
            raise BadInput("a mixture's weights are negative or all zero; give k weights >= 0")
        object.__setattr__(self, "weights", self.weights.double() / self.weights.double().sum())
        object.__setattr__(self, "means", self.means.double())
        object.__setattr__(self, "covariances", self.covariances.double())
        variances = torch.linalg.eigvalsh(self.covariances)
        symmetric = torch.allclose(self.covariances, self.covariances.mT, rtol=1e-6, atol=1e-12)
        if not symmetric or bool((variances < -1e-9 * (1 + variances.abs().amax())).any()):
            raise BadInput("a mixture's covariance is not symmetric and positive semi-definite; correct it")

    @cached_property
    def _axes(self) -> tuple[Tensor, Tensor]:
        variances, axes = torch.linalg.eigh(self.covariances)
        return variances.clamp(min=0), axes

    @property
    def event_shape(self) -> tuple[int, ...]:
        """(d,)."""
        return tuple(self.means.shape[1:])

    def sample(self, n: int, *, rng: Rng | int | None = None) -> Tensor:
        """Draw `n` items, (n, d) float64."""
        rng = as_rng(rng)
        component = self.components(n, rng=rng)
        noise = rng.child("noise").normal((n, *self.event_shape), dtype=torch.float64, device=self.means.device)
        out = self.means[component]
        for k, (variances, axes) in enumerate(zip(*self._axes, strict=True)):
            rows = component == k
            out[rows] += correlated(noise[rows], axes * variances.sqrt())
        return out

    def components(self, n: int, *, rng: Rng | int | None = None) -> Tensor:
        """The components (n,) that `sample` draws its items from under the same key."""
        share = as_rng(rng).child("component").uniform((n,), dtype=torch.float64, device=self.weights.device)
        # Rounding may leave the last step of the staircase below a draw, or give a weight of zero a sliver.
        return torch.searchsorted(self.weights.cumsum(0)[:-1].contiguous(), share, right=True)

    def log_prob(self, x: Tensor) -> Tensor:
        """The log-density in nats at `x` (n, d), as (n,) float64."""
        return self._joint(x, 1.0, 0.0)[0].logsumexp(1)

    def responsibilities(self, x: Tensor) -> Tensor:
        """The probability of each component given `x` (n, d), as (n, k) float64."""
        return self._joint(x, 1.0, 0.0)[0].softmax(1)

    def score(self, x: Tensor) -> Tensor:
        """The gradient of the log-density at `x` (n, d), of its shape and dtype."""
        joint, residual, variance = self._joint(x, 1.0, 0.0)
        pull = self._rotated_back(-residual / variance)
        return torch.einsum("nk,nkd->nd", joint.softmax(1), pull).to(x.dtype)

    def noised(self, alpha: float | Tensor, sigma: float | Tensor) -> Mixture:
        """The mixture of alpha x + sigma eps with eps ~ N(0, I), for numbers `alpha` and `sigma`."""
        identity = torch.eye(*self.event_shape, dtype=torch.float64, device=self.means.device)
        return Mixture(self.weights, alpha * self.means, alpha**2 * self.covariances + sigma**2 * identity)

    def denoised(
        self, y: Tensor, alpha: float | Tensor, sigma: float | Tensor, *, weights: Tensor | None = None
    ) -> Tensor:
        """E[x | alpha x + sigma eps = y] for `y` (n, d), of its shape and dtype; `alpha`, `sigma` > 0 are () or (n,).

        `weights`, (k,) or (n, k), replace the mixture's own, item by item; they need not sum to 1.
        """
        alpha = torch.as_tensor(alpha, dtype=torch.float64, device=y.device).reshape(-1, 1, 1)
        joint, residual, variance = self._joint(y, alpha, sigma, weights)
        own = self._axes[0].to(y.device)
        means = self.means.to(y.device) + self._rotated_back(alpha * own * residual / variance)
        return torch.einsum("nk,nkd->nd", joint.softmax(1), means).to(y.dtype)

    def _joint(
        self, y: Tensor, alpha: float | Tensor, sigma: float | Tensor, weights: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """log w_k N(y; alpha m_k, C_k) as (n, k), y - alpha m_k along the axes of S_k, and C_k's variances there."""
        alpha = torch.as_tensor(alpha, dtype=torch.float64, device=y.device).reshape(-1, 1, 1)
        sigma = torch.as_tensor(sigma, dtype=torch.float64, device=y.device).reshape(-1, 1, 1)
        own, axes = (part.to(y.device) for part in self._axes)
        residual = torch.einsum("nkd,kde->nke", y.double()[:, None] - alpha * self.means.to(y.device), axes)
        variance = alpha**2 * own + sigma**2
        log_density = -(residual**2 / variance + variance.log() + LOG_TWO_PI).sum(2) / 2
        weights = self.weights if weights is None else weights
        return weights.to(y.device).log() + log_density, residual, variance

    def _rotated_back(self, along_axes: Tensor) -> Tensor:
        return torch.einsum("nke,kde->nkd", along_axes, self._axes[1].to(along_axes.device))
