"""All the distributions on the way, recorded on a grid in one or two dimensions: the Fokker-Planck equation, solved.

dp/dt = -sum_i d(f_i p)/dx_i + 1/2 sum_i d^2(D_i p)/dx_i^2 with D_i = (G G^T)_ii (Risken 1989, 'The Fokker-Planck
Equation', section 4.7). The flux (f - D'/2) p - D/2 p' between two cells is exact for constant coefficients, so that
no mass is lost and no density turns negative (Scharfetter and Gummel 1969; Chang and Cooper 1970).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from scipy import sparse
from scipy.sparse.linalg import splu
from torch import Tensor

from driftback.distributions.protocols import Density
from driftback.errors import BadInput
from driftback.processes.nonlinear import ItoSDE, covariance_rate


def axis(low: float, high: float, cells: int) -> Tensor:
    """The centres of `cells` equal cells from `low` to `high`, float64 (cells,)."""
    if not low < high or cells < 4:
        raise BadInput(f"{cells} cells from {low} to {high} are no axis; give low < high and at least 4 cells")
    return low + (high - low) / cells * (torch.arange(cells, dtype=torch.float64) + 0.5)


@dataclass(frozen=True, eq=False)
class Recording:
    """The densities (T, m_1) or (T, m_1, m_2) at `times` (T,) on the cells whose centres are `axes`, all float64."""

    times: Tensor
    axes: tuple[Tensor, ...]
    densities: Tensor
    damped: int = 0
    """How many time steps fell back on the rule of first order to keep the density from turning negative."""
    upwinded: float = 0.0
    """The largest share of the mass that lay where drift crosses a cell faster than noise does, |f| h > D: there the
    error is of order one in the cells' size, and twice as many cells only halve it."""

    @property
    def volume(self) -> float:
        """Length or area of a cell."""
        return float(np.prod([float(a[1] - a[0]) for a in self.axes]))

    def mass(self) -> Tensor:
        """The total probability at each time, (T,): 1 up to rounding."""
        return self.densities.flatten(1).sum(1) * self.volume


def record(
    sde: ItoSDE,
    initial: Density,
    axes: Sequence[Tensor],
    times: Tensor,
    *,
    substeps: int = 4,
    lost: float = 1e-4,
) -> Recording:
    """Carry `initial` along `sde` over increasing `times` (T,), with `substeps` equal steps from each to the next.

    `axes` holds one or two results of `axis`. Of order two in the step, and in the cells' size where noise crosses them
    faster than drift does (see `Recording.upwinded`); a step in which the
    trapezoidal rule would turn a density negative is taken by two backward Euler steps instead (Rannacher 1984), so
    let `times` be close where the density changes fast. The walls are closed. BadInput where the box misses more than
    `lost` of the initial mass, where more than `lost` reaches the cells at its walls, or where G G^T is not diagonal.
    """
    grid = _Grid(sde, tuple(axes))
    if times.ndim != 1 or len(times) < 2 or not bool((times.diff() > 0).all()) or substeps < 1:
        raise BadInput("a recording needs two or more increasing times, and at least one step from each to the next")
    p = grid.of(initial, lost)
    densities, damped, upwinded, known = [p], 0, 0.0, _Solver.none()
    for t, s in pairwise(times.tolist()):
        half = (s - t) / substeps / 2
        for k in range(substeps):
            known = known.at(grid.rates(t + (2 * k + 1) * half), half)
            upwinded = max(upwinded, grid.upwinded(p))
            # With (I - h/2 L) y = p the trapezoidal rule ends at p + h L y = 2 y - p; backward Euler goes on from y.
            y = known.solve(p)
            end = 2 * y - p
            sound = bool((end >= 0).all())
            p, damped = (end if sound else known.solve(y)), damped + (not sound)
        grid.check_walls(p, s, lost)
        densities.append(p)
    shape = (len(times), *grid.shape)
    return Recording(times.double(), grid.axes, torch.from_numpy(np.stack(densities)).reshape(shape), damped, upwinded)


@dataclass(frozen=True)
class _Solver:
    """The factors of I - half L, kept as long as neither L nor the step changes."""

    rates: sparse.csc_matrix
    half: float
    solve: Callable[[np.ndarray], np.ndarray]

    @staticmethod
    def none() -> _Solver:
        return _Solver(sparse.csc_matrix((1, 1)), 0.0, lambda p: p)

    def at(self, rates: sparse.csc_matrix, half: float) -> _Solver:
        same = abs(half - self.half) <= 1e-12 * half and rates.shape == self.rates.shape
        if same and np.array_equal(rates.data, self.rates.data):
            return self
        # Without pivots the factors of this M-matrix have its signs, so a positive density stays so to the last bit.
        matrix = sparse.identity(rates.shape[0], format="csc") - half * rates
        factors = splu(matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
        return _Solver(rates, half, factors.solve)


def _weight(z: np.ndarray) -> np.ndarray:
    """z / (e^z - 1), Bernoulli's function."""
    z = np.where(np.abs(z) < 1e-8, 1e-8, z)
    return np.where(z > 600, 0.0, z / np.expm1(np.minimum(z, 600)))


class _Grid:
    """The cells of a box, and the rates at which probability moves between neighbours."""

    def __init__(self, sde: ItoSDE, axes: tuple[Tensor, ...]) -> None:
        if len(axes) not in (1, 2):
            raise BadInput(f"a grid of {len(axes)} dimensions cannot be recorded; give one axis or two")
        self.sde, self.axes, self.shape = sde, axes, tuple(len(a) for a in axes)
        self.widths = [float(a[1] - a[0]) for a in axes]
        self.numbers = np.arange(int(np.prod(self.shape))).reshape(self.shape)
        self.centres = self._points(axes)
        between = [(a[1:] + a[:-1]) / 2 for a in axes]
        self.fast: list[np.ndarray] = []
        """Along each axis, whether drift crosses faster than noise at each face; as of the last `rates`."""
        self.faces = [self._points([*axes[:i], between[i], *axes[i + 1 :]]) for i in range(len(axes))]

    @staticmethod
    def _points(axes: Sequence[Tensor]) -> Tensor:
        return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(axes))

    def of(self, initial: Density, lost: float) -> np.ndarray:
        p = initial.log_prob(self.centres).double().exp().numpy()
        mass = float(p.sum() * np.prod(self.widths))
        if not abs(mass - 1) <= lost:
            raise BadInput(f"the box holds {mass:.6g} of the initial density instead of 1; widen it, or use more cells")
        self.check_walls(p / mass, 0.0, lost)
        return p / mass

    def check_walls(self, p: np.ndarray, t: float, lost: float) -> None:
        p = p.reshape(self.shape)
        wall = max(float(side.sum()) for i in range(p.ndim) for side in (p.take(0, i), p.take(-1, i)))
        if not wall * np.prod(self.widths) <= lost:
            raise BadInput(f"{wall * np.prod(self.widths):.2g} of the mass is at a wall at t = {t:g}; widen the box")

    def rates(self, t: float) -> sparse.csc_matrix:
        """L of dp/dt = L p at time `t`, its columns summing to 0."""
        time, size = torch.tensor(t, dtype=torch.float64), self.numbers.size
        spread = self._variances(time)
        rows, columns, values, self.fast = [], [], [], []
        for i, (points, h) in enumerate(zip(self.faces, self.widths, strict=True)):
            d = spread[:, i].reshape(self.shape)
            low, high = np.moveaxis(d, i, 0)[:-1], np.moveaxis(d, i, 0)[1:]
            left, right = np.moveaxis(self.numbers, i, 0)[:-1].ravel(), np.moveaxis(self.numbers, i, 0)[1:].ravel()
            drift = self.sde.drift(points, time)[:, i]
            self._check_finite(drift, time)
            drift_on_faces = drift.numpy().reshape([n - (j == i) for j, n in enumerate(self.shape)])
            speed = (np.moveaxis(drift_on_faces, i, 0) - (high - low) / h / 2).ravel()
            a = np.maximum(((low + high) / 4).ravel(), 1e-12 * np.abs(speed) * h + 1e-300)
            self.fast.append((np.abs(speed) * h > 2 * a).reshape(low.shape))
            up, down = a / h**2 * _weight(-speed * h / a), a / h**2 * _weight(speed * h / a)
            rows += [right, left, left, right]
            columns += [left, left, right, right]
            values += [up, -up, down, -down]
        entries = np.concatenate(values)
        return sparse.csc_matrix((entries, (np.concatenate(rows), np.concatenate(columns))), shape=(size, size))

    def upwinded(self, p: np.ndarray) -> float:
        """The largest share, over the axes, of the mass of `p` beside faces where drift is faster than noise."""
        p = p.reshape(self.shape)
        shares = []
        for i, fast in enumerate(self.fast):
            rows = np.moveaxis(p, i, 0)
            beside = rows[:-1] + rows[1:]
            shares.append(float((beside * fast).sum() / max(float(beside.sum()), 1e-300)))
        return max(shares)

    def _variances(self, t: Tensor) -> np.ndarray:
        a = covariance_rate(self.sde, self.centres, t)
        self._check_finite(a, t)
        diagonal = a.diagonal(dim1=1, dim2=2)
        if bool((a - torch.diag_embed(diagonal)).abs().amax() > 1e-12 * diagonal.abs().amax()):
            raise BadInput("G G^T of this SDE is not diagonal; turn its coordinates until each has noise of its own")
        return diagonal.numpy()

    @staticmethod
    def _check_finite(values: Tensor, t: Tensor) -> None:
        if not bool(torch.isfinite(values).all()):
            raise BadInput(f"the SDE is not finite on the grid at t = {float(t):g}; record it where it is")
