"""A mixture of Gaussians in many dimensions: full covariances in a few principal directions, one variance in the rest.

p(x | c) = sum_k w_ck N(x; m + U a_k, U S_k U^T + v (I - U U^T)), with U (d, r) of orthonormal columns (Tipping and
Bishop 1999, 'Mixtures of probabilistic principal component analysers', Neural Computation 11, section 3, with one U for
all). What lies outside of U has one law for all components, so with noise, y = x + ratio eps, responsibilities and
posterior means need only r numbers: E[x | y] = m + U sum_k r_k(y) (a_k + S_k (S_k + ratio^2)^-1 (U'(y - m) - a_k)) +
v / (v + ratio^2) (I - U U')(y - m) (Bishop 2006, sections 2.3.3 and 9.2).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from driftback.distributions.gaussian import LOG_TWO_PI
from driftback.randomness import Rng, as_rng


@dataclass(frozen=True, eq=False)
class LowRankMixture:
    """`mean` (d,), `basis` U (d, r), `rest` v () > 0; per component `centres` a_k (k, r) and S_k by its axes (k, r, r),
    whose columns are eigenvectors, and `variances` (k, r) >= 0; `log_weights` (classes + 1, k), of which the last row
    is of no class. All in one floating-point type on one device.
    """

    mean: Tensor
    basis: Tensor
    rest: Tensor
    centres: Tensor
    axes: Tensor
    variances: Tensor
    log_weights: Tensor

    @property
    def event_shape(self) -> tuple[int, ...]:
        """(d,)."""
        return tuple(self.mean.shape)

    def denoised(self, y: Tensor, ratio: Tensor, row: Tensor) -> Tensor:
        """E[x | x + ratio eps = y, class] for `y` (n, d), `ratio` (n,) > 0 and the rows (n,) of the weights."""
        away, inside, noise = self._split(y, ratio)
        along = self._along(inside)
        width = self.variances + noise[:, None, None]
        share = self._log_joint(along, width, row).softmax(1)
        kept = share[:, :, None] * along * self.variances / width
        moved = share @ self.centres + kept.flatten(1) @ self.axes.mT.flatten(0, 1)
        outside = (away - inside @ self.basis.T) * (self.rest / (self.rest + noise))[:, None]
        return self.mean + moved @ self.basis.T + outside

    def log_prob(self, x: Tensor, row: Tensor, ratio: float | Tensor = 0.0) -> Tensor:
        """log p(x | class) of `x` (n, d), with noise of `ratio` () or (n,) >= 0 on it, in nats (n,)."""
        ratio = torch.as_tensor(ratio, dtype=x.dtype, device=x.device).expand(len(x))
        away, inside, noise = self._split(x, ratio)
        width = self.variances + noise[:, None, None]
        within = self._log_joint(self._along(inside), width, row).logsumexp(1)
        free = x.shape[1] - self.basis.shape[1]
        square = (away - inside @ self.basis.T).square().sum(1)
        wide = self.rest + noise
        return within - (free * wide.log() + square / wide + x.shape[1] * LOG_TWO_PI) / 2

    def shares(self, inside: Tensor, row: Tensor) -> Tensor:
        """The responsibilities (n, k) of the components for items in the directions, U'(x - m) (n, r)."""
        return self._log_joint(self._along(inside), self.variances[None], row).softmax(1)

    def sample(self, n: int, row: int = -1, *, rng: Rng | int | None = None) -> Tensor:
        """Draw `n` items (n, d) with the weights of one row; by default those of no class."""
        rng = as_rng(rng)
        dtype, device = self.mean.dtype, self.mean.device
        uniform = rng.child("component").uniform((n,), dtype=torch.float64)
        shares = self.log_weights[row].double().exp().cpu().cumsum(0)
        k = torch.searchsorted(shares / shares[-1], uniform, right=True).clamp(max=len(shares) - 1)
        k = k.to(self.mean.device)
        noise = (
            rng.child("inside").normal((n, self.basis.shape[1]), dtype=dtype, device=device) * self.variances[k].sqrt()
        )
        inside = self.centres[k] + (self.axes[k] @ noise[:, :, None])[:, :, 0]
        free = rng.child("outside").normal((n, len(self.mean)), dtype=dtype, device=device) * self.rest.sqrt()
        return self.mean + free + (inside - free @ self.basis) @ self.basis.T

    def _split(self, y: Tensor, ratio: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        away = y - self.mean
        return away, away @ self.basis, ratio.to(y.dtype).square()

    def _along(self, inside: Tensor) -> Tensor:
        """Each item in the axes of each component, from its centre: (n, k, r)."""
        k, r = self.centres.shape
        turned = inside @ self.axes.permute(1, 0, 2).reshape(r, k * r)
        return turned.unflatten(1, (k, r)) - (self.centres[:, None, :] @ self.axes)[:, 0, :]

    def _log_joint(self, along: Tensor, width: Tensor, row: Tensor) -> Tensor:
        """log w_ck N(inside; a_k, S_k + ratio^2) up to the factor of 2 pi: (n, k)."""
        return self.log_weights[row] - (width.log() + along.square() / width).sum(2) / 2
