"""The exact posterior of a mixture after a linear observation with Gaussian noise: a mixture again.

y = A x + s eps with x ~ sum_k w_k N(m_k, S_k): component k becomes N(m_k + K (y - A m_k), S_k - K A S_k) with the gain
K = S_k A^T (A S_k A^T + s^2 I)^-1, and its weight is multiplied by N(y; A m_k, A S_k A^T + s^2 I) (Bishop 2006,
section 2.3.3). The truth that every approximate posterior is measured against.
"""

from __future__ import annotations

import torch
from torch import Tensor

from driftback.distributions.gaussian import LOG_TWO_PI
from driftback.distributions.mixture import Mixture
from driftback.errors import BadInput


def observed(mixture: Mixture, matrix: Tensor, y: Tensor, noise: float) -> Mixture:
    """p(x | y) for `y` (m,) seen through `matrix` (m, d) with noise of standard deviation `noise` > 0.

    BadInput where shapes disagree or `noise` is not positive.
    """
    return Mixture(*_components(mixture, matrix, y, noise)[:3])


def evidence(mixture: Mixture, matrix: Tensor, y: Tensor, noise: float) -> float:
    """log p(y) in nats, for the same."""
    return float(_components(mixture, matrix, y, noise)[3].logsumexp(0))


def _components(mixture: Mixture, matrix: Tensor, y: Tensor, noise: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Weights, means and covariances of the posterior, and log w_k N(y; ...) (k,)."""
    d, a, seen = mixture.event_shape[0], matrix.double(), y.double()
    if a.ndim != 2 or a.shape[1] != d or seen.shape != (len(a),):
        raise BadInput(
            f"a matrix {tuple(a.shape)} and y {tuple(y.shape)} do not fit points (n, {d}); give (m, {d}), (m,)"
        )
    if not noise > 0:
        raise BadInput(f"the noise of an observation is {noise}; a posterior density needs it above 0")
    across = mixture.covariances @ a.T
    of_y = a @ across + noise**2 * torch.eye(len(a), dtype=torch.float64, device=a.device)
    factor = torch.linalg.cholesky(of_y)
    gain = torch.cholesky_solve(across.mT, factor).mT
    missed = seen - mixture.means @ a.T
    means = mixture.means + torch.einsum("kdm,km->kd", gain, missed)
    covariances = mixture.covariances - gain @ across.mT
    whitened = torch.linalg.solve_triangular(factor, missed[..., None], upper=False)[..., 0]
    log_density = -(whitened**2 + LOG_TWO_PI).sum(1) / 2 - factor.diagonal(dim1=1, dim2=2).log().sum(1)
    joint = mixture.weights.log() + log_density
    return joint.softmax(0), means, (covariances + covariances.mT) / 2, joint
