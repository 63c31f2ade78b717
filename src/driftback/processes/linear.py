"""Linear SDEs, dx = (F(t) x + u(t)) dt + G(t) dW with matrices: the marginals of every mixture, exactly.

x_t = Phi x_0 + m + noise of covariance C with dPhi/dt = F Phi, dm/dt = F m + u and dC/dt = F C + C F^T + G G^T, from
Phi = I, m = 0, C = 0 (Särkkä and Solin 2019, 'Applied Stochastic Differential Equations', chapter 6). They
are integrated by the rule DOP853 (Hairer, Norsett and Wanner 1993, II.5), from t = 0 once and for all times.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy.integrate import OdeSolution, solve_ivp
from torch import Tensor

from driftback.distributions.gaussian import Gaussian
from driftback.distributions.mixture import Mixture
from driftback.errors import BadInput
from driftback.randomness import Rng, as_rng
from driftback.shapes import as_time

RELATIVE, ABSOLUTE, LONGEST = 1e-12, 1e-17, 1 / 64
"""The integrator's tolerances, and its longest step, which keeps what lies between its steps as exact as the steps."""

OfTime = Callable[[Tensor], Tensor | float]
Moments = tuple[Tensor, Tensor, Tensor]


def _times(matrix: Tensor, x: Tensor) -> Tensor:
    """`matrix`, (d, e) or (n, d, e), times the rows of `x` (n, e), summed in an order that does not depend on n."""
    out = x.new_zeros(len(x), matrix.shape[-2])
    for column, coefficient in zip(matrix.unbind(-1), x.T, strict=True):
        out = out + column * coefficient[:, None]
    return out


def _root(covariance: Tensor) -> Tensor:
    """The symmetric square root of positive semi-definite matrices (..., d, d)."""
    variances, axes = torch.linalg.eigh(covariance)
    return axes * variances.clamp(min=0).sqrt()[..., None, :] @ axes.mT


@dataclass(frozen=True)
class LinearSDE:
    """Points (n, d) under drift matrix `f`, () or (d, d), noise matrix `g`, () or (d, k), and shift `u`, (d,) or none.

    Each is a function of one time, a float64 tensor (), t in [0, 1]; a number stands for that multiple of the identity.
    `spread` only sets the simple distribution: the law of x_1 for data with mean 0 and covariance spread^2 I, where it
    is normal. Phi, m and C are right to about 1e-10 where F, G and u change over 1/64 or more of the way; what is much
    narrower may be stepped over. BadInput where they are not finite, or points are not (n, d).
    """

    d: int
    f: OfTime
    g: OfTime
    u: OfTime | None = None
    spread: float = 1.0

    def drift(self, x: Tensor, t: float | Tensor) -> Tensor:
        """F x + u at `x` (n, d) and times `t`, () or (n,): the shape of `x`."""
        t = as_time(t, self._flat(x))
        return _times(self._each(self._f, t).to(x.dtype), x) + self._each(self._u, t).to(x.dtype)

    def dispersion(self, x: Tensor, t: float | Tensor) -> Tensor:
        """G, the same for all points of a time: (n, d, k)."""
        g = self._each(self._g, as_time(t, self._flat(x))).to(x.dtype)
        return g.expand(len(x), *g.shape[-2:])

    def transition(self, s: float | Tensor, t: float | Tensor) -> Moments:
        """Phi (d, d), m (d,) and C (d, d), float64, of x_t = Phi x_s + m + noise, for 0 <= s <= t <= 1."""
        s, t = float(s), float(t)
        if not 0 <= s <= t <= 1:
            raise BadInput(f"there is no way forward from t = {s} to t = {t}; give 0 <= s <= t <= 1")
        state = self._from_data(t) if s == 0 else self._solve(s, t)(t) if s < t else self._start
        return self._parts(torch.from_numpy(state))

    def marginal(self, mixture: Mixture, t: float | Tensor) -> Mixture:
        """The exact law of x_t when x_0 is drawn from `mixture`, whose events are (d,)."""
        phi, shift, noise = self.transition(0.0, t)
        return Mixture(mixture.weights, mixture.means @ phi.T + shift, phi @ mixture.covariances @ phi.T + noise)

    def score_of(self, mixture: Mixture) -> Callable[[Tensor, Tensor], Tensor]:
        """grad log p_t as a function of points (n, d) and one time, for `ItoReverse`."""
        return lambda x, t: self.marginal(mixture, t).score(x)

    @property
    def simple(self) -> Gaussian:
        """The distribution to start the way back from (see the class)."""
        phi, shift, noise = self.transition(0.0, 1.0)
        return Gaussian(shift, self.spread**2 * phi @ phi.T + noise)

    def forward(self, x0: Tensor, t: float | Tensor, *, rng: Rng | int | None = None) -> Tensor:
        """Draw x_t given `x0` (n, d) at times `t`, () or (n,)."""
        t = as_time(t, self._flat(x0)).cpu()
        if not bool(((t >= 0) & (t <= 1)).all()):
            raise BadInput("there is no x_t outside t = 0 to 1; give times from there")
        states = torch.from_numpy(self._from_data(t.numpy())).movedim(0, -1)
        phi, shift, noise = (part.to(x0.device, x0.dtype) for part in self._rooted(self._parts(states)))
        z = as_rng(rng).normal(x0.shape, dtype=x0.dtype, device=x0.device)
        return _times(phi, x0) + shift + _times(noise, z)

    def bridge_moments(self, x0: Tensor, x_t: Tensor, t: float | Tensor, s: float | Tensor) -> tuple[Tensor, Tensor]:
        """Mean (n, d) and covariance, float64 (d, d) or (n, d, d), of x_s given x_0 and x_t, for 0 <= s < t <= 1."""
        ends = torch.broadcast_tensors(as_time(s, self._flat(x_t)).cpu(), as_time(t, x_t).cpu())
        pairs, place = torch.stack(ends, -1).reshape(-1, 2).unique(dim=0, return_inverse=True)
        found = [torch.stack(part) for part in zip(*(self._given_ends(*pair) for pair in pairs.tolist()), strict=True)]
        kept, gain, shift, covariance = (part[place] if ends[0].ndim else part[0] for part in found)
        kept, gain, shift = (part.to(x_t.device, x_t.dtype) for part in (kept, gain, shift))
        return _times(kept, x0) + _times(gain, x_t) + shift, covariance

    def bridge(
        self, x0: Tensor, x_t: Tensor, t: float | Tensor, s: float | Tensor, *, rng: Rng | int | None = None
    ) -> Tensor:
        """Draw x_s given x_0 and x_t, for 0 <= s < t <= 1."""
        mean, covariance = self.bridge_moments(x0, x_t, t, s)
        z = as_rng(rng).normal(x_t.shape, dtype=x_t.dtype, device=x_t.device)
        return mean + _times(_root(covariance).to(x_t.device, x_t.dtype), z)

    def _given_ends(self, s: float, t: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Kalman's update of x_s | x_0 by x_t: factors on x_0 and x_t, the shift, and Joseph's covariance."""
        before, after = self.transition(0.0, s), self.transition(s, t)
        total = after[0] @ before[2] @ after[0].T + after[2]
        gain = before[2] @ after[0].T @ torch.linalg.pinv(total, hermitian=True, rtol=1e-15)
        left = torch.eye(self.d, dtype=torch.float64) - gain @ after[0]
        covariance = left @ before[2] @ left.T + gain @ after[2] @ gain.T
        return left @ before[0], gain, left @ before[1] - gain @ after[1], covariance

    @cached_property
    def _from_data(self) -> OdeSolution:
        return self._solve(0.0, 1.0)

    @property
    def _start(self) -> np.ndarray:
        return np.concatenate([np.eye(self.d).ravel(), np.zeros(self.d + self.d**2)])

    def _solve(self, s: float, t: float) -> OdeSolution:
        def slope(now: float, state: np.ndarray) -> np.ndarray:
            time = torch.tensor(now, dtype=torch.float64)
            phi, shift, noise = self._parts(torch.from_numpy(state))
            f, g = self._f(time), self._g(time)
            parts = f @ phi, f @ shift + self._u(time), f @ noise + noise @ f.T + g @ g.T
            return torch.cat([part.flatten() for part in parts]).numpy()

        options = {"rtol": RELATIVE, "atol": ABSOLUTE, "max_step": min(LONGEST, t - s), "dense_output": True}
        way = solve_ivp(slope, (s, t), self._start, "DOP853", **options)
        if not way.success or not np.isfinite(way.y).all():
            raise BadInput(f"the SDE cannot be integrated from t = {s} to {t}; give F, G and u without poles there")
        return way.sol

    def _parts(self, state: Tensor) -> Moments:
        """Phi, m and C of a state (..., d^2 + d + d^2)."""
        square, d = (*state.shape[:-1], self.d, self.d), self.d
        noise = state[..., d * d + d :].reshape(square)
        return state[..., : d * d].reshape(square), state[..., d * d : d * d + d], (noise + noise.mT) / 2

    @staticmethod
    def _rooted(moments: Moments) -> Moments:
        return moments[0], moments[1], _root(moments[2])

    def _f(self, t: Tensor) -> Tensor:
        return self._matrix(self.f(t), t, square=True)

    def _g(self, t: Tensor) -> Tensor:
        return self._matrix(self.g(t), t)

    def _u(self, t: Tensor) -> Tensor:
        shift = torch.zeros(self.d, dtype=torch.float64)
        if self.u is not None:
            shift = torch.as_tensor(self.u(t)).double().cpu()
            if shift.shape not in ((), (self.d,)) or not bool(torch.isfinite(shift).all()):
                raise BadInput(f"u is {shift.tolist()} at t = {float(t)}; give {self.d} finite numbers")
        return shift.expand(self.d)

    def _matrix(self, value: Tensor | float, t: Tensor, square: bool = False) -> Tensor:
        matrix = torch.as_tensor(value).double().cpu()
        matrix = matrix * torch.eye(self.d, dtype=torch.float64) if matrix.ndim == 0 else matrix
        if matrix.ndim != 2 or len(matrix) != self.d or (square and matrix.shape[1] != self.d):
            raise BadInput(f"a matrix of this SDE is {tuple(matrix.shape)}; give a number or {self.d} rows")
        if not bool(torch.isfinite(matrix).all()):
            raise BadInput(f"a matrix of this SDE is not finite at t = {float(t)}; give F and G without poles")
        return matrix

    def _each(self, function: Callable[[Tensor], Tensor], t: Tensor) -> Tensor:
        """`function` at one time, or stacked at every one of (n,) times, on the device of `t`."""
        if t.ndim == 0:
            return function(t.cpu()).to(t.device)
        times, place = t.cpu().unique(return_inverse=True)
        return torch.stack([function(time) for time in times])[place].to(t.device)

    def _flat(self, x: Tensor) -> Tensor:
        if x.ndim != 2 or x.shape[1] != self.d:
            raise BadInput(f"points of a linear SDE are (n, {self.d}), these are {tuple(x.shape)}; flatten them first")
        return x
