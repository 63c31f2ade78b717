"""The way back from a recording of all the distributions: the score of the density that was solved for on a grid.

log p is interpolated by cubic splines in x and in t, so grad log p is smooth, and Tweedie's formula makes a denoiser of
it: E[x_0 | x_t] = (x_t + sigma^2 grad log p_t) / alpha (Efron 2011, 'Tweedie's formula and selection bias'). Nothing is
learned: with the densities recorded on the way forward, the way back is known.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy.interpolate import NdBSpline, make_interp_spline
from torch import Tensor

from driftback.errors import BadInput
from driftback.processes.diffusion import Diffusion
from driftback.processes.fokker_planck import Recording
from driftback.scores.denoiser import Denoiser, expand_time
from driftback.shapes import as_time, per_item

SMALLEST = 1e-300
"""Densities below this, where floating point ends, count as this."""


@dataclass(frozen=True, eq=False)
class GridDensity:
    """log p_t and its gradient from `recording`, for its times and points of one or two numbers; not differentiable.

    Outside the outermost centres log p goes on in a straight line. BadInput for times that were not recorded.
    """

    recording: Recording

    def log_prob(self, x: Tensor, t: float | Tensor) -> Tensor:
        """log p_t in nats at `x` (n, *event), as (n,) float64; `t` is () or (n,)."""
        places, beyond = self._places(x, t)
        inside = torch.from_numpy(self._spline(places))
        return inside.to(x.device) + (beyond * self._gradient(places).to(x.device)).sum(1)

    def score(self, x: Tensor, t: float | Tensor) -> Tensor:
        """grad log p_t at `x` (n, *event), in its shape and dtype; `t` is () or (n,)."""
        return self._gradient(self._places(x, t)[0]).to(x.device, x.dtype).reshape(x.shape)

    @cached_property
    def _spline(self) -> NdBSpline:
        axes = [a.numpy() for a in (self.recording.times, *self.recording.axes)]
        values, knots = np.log(np.maximum(self.recording.densities.numpy(), SMALLEST)), []
        orders = [min(3, len(a) - 1) for a in axes]
        for i, (a, k) in enumerate(zip(axes, orders, strict=True)):
            line = make_interp_spline(a, values, k=k, axis=i)
            values = np.moveaxis(line.c, 0, i)
            knots.append(line.t)
        return NdBSpline(tuple(knots), np.ascontiguousarray(values), tuple(orders))

    def _gradient(self, places: np.ndarray) -> Tensor:
        units = np.eye(places.shape[1], dtype=int)[1:]
        return torch.from_numpy(np.stack([self._spline(places, nu=tuple(unit.tolist())) for unit in units], 1))

    def _places(self, x: Tensor, t: float | Tensor) -> tuple[np.ndarray, Tensor]:
        """Time and nearest point of the grid's box for each item, (n, 1 + d), and how far beyond the point lies."""
        times, axes = self.recording.times, self.recording.axes
        t, flat = expand_time(t, x).cpu(), x.detach().double().flatten(1)
        if flat.shape[1] != len(axes):
            raise BadInput(f"points of {flat.shape[1]} numbers have no place on a grid of {len(axes)} axes; give such")
        if len(t) and not bool((t.min() >= times[0] - 1e-12) & (t.max() <= times[-1] + 1e-12)):
            ends = f"{float(times[0]):g} to {float(times[-1]):g}"
            raise BadInput(f"the density was recorded from t = {ends}, not at {float(t.min()):g}; record it there too")
        low, high = (torch.stack([a[i] for a in axes]).to(x.device) for i in (0, -1))
        nearest = flat.clamp(low, high)
        places = torch.cat([t.clamp(times[0], times[-1])[:, None], nearest.cpu()], 1)
        return places.numpy(), flat - nearest


@dataclass(frozen=True, eq=False)
class GridDenoiser(Denoiser):
    """E[x_0 | x_t] of a recorded `density` under the `process` that it was recorded of; alpha(t) must not be 0."""

    process: Diffusion
    density: GridDensity

    def denoised(self, x: Tensor, t: float | Tensor) -> Tensor:
        """E[x_0 | x_t = x] for `x` (n, *event) at recorded times `t`, () or (n,): the shape of `x`."""
        t = as_time(t, x)
        alpha, sigma = self.process.alpha(t), self.process.sigma(t)
        if not bool((alpha > 0).all()):
            raise BadInput("nothing of the data is left where alpha is 0; start the way back a little earlier")
        return (x + per_item(sigma**2, x) * self.density.score(x, t)) / per_item(alpha, x)
