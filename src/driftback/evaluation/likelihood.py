"""Log-likelihood by the probability-flow ODE, in nats per item of the encoded data.

With y = x / alpha, r = sigma / alpha = s tan(a) and v = s^2 + r^2 the ODE is dy/dlog r = y - D(x, t), so that
log p(y_0) = log N(y_1; m, v_1 I) + d/2 log(v_1 / v_0) + int (d cos^2 a - tr dD/dy) / (sin a cos a) da (Chen et al.
2018, arXiv 1806.07366; Song et al. 2021, arXiv 2011.13456, equation 39): for Gaussian data the integrand is 0, and the
angle a is a clock in which it is regular at both ends (`driftback.samplers.whitened`). The trace is exact, one backward
pass per coordinate, up to `EXACT_UP_TO` coordinates; beyond that it is Hutchinson's estimate, v^T (dD/dy) v averaged
over several Rademacher probes v (Grathwohl et al. 2019, arXiv 1810.01367), which is unbiased for log p and has a
standard error. The way starts at a small noise level, so the value is the density of the data blurred by it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from scipy import stats
from torch import Tensor

from driftback.arguments import real, whole
from driftback.errors import BadInput
from driftback.randomness import Rng, as_rng
from driftback.samplers.whitened import Slope, Travelled, Whitened, travelled
from driftback.scores.denoiser import Denoiser
from driftback.shapes import sum_event

EXACT_UP_TO = 16
MOST_PROBED = 1 << 17
"""Probes times coordinates: 8 probes up to 16,384 coordinates, and never under 2, which a standard error needs. The
error falls with the number of coordinates too, over which a probe averages."""
TOLERANCE = 1e-5
"""The error of a step in log p, for each 16 coordinates."""


MOST = 256, 64
"""So many steps of equal length bound the way of points, and of pictures: a network's roughness would ask for more."""


def probes_for(d: int) -> int:
    """How many probes an estimate for `d` coordinates takes."""
    return max(2, min(8, MOST_PROBED // d))


@dataclass(frozen=True)
class LogLikelihood:
    """`nats` (n,) float64 per item of the encoded data, and the standard error of the method's own randomness."""

    nats: Tensor
    error: Tensor
    method: str
    evaluations: int
    """Evaluations of the denoiser per item, on average where they take steps of their own."""
    discretisation: Tensor | None = None
    """How far the steps' errors move each value, (n,) nats, where it was looked at: what half the tolerance changed."""
    freedom: int | None = None
    """The degrees of freedom of `error`: one less than the draws that it was made from; None where it has many."""
    terms: dict[str, Tensor] | None = None
    """The parts of a bound, (n,) nats each, under their names."""
    products: int = 0
    """Products of vectors with the denoiser's Jacobian per item, a backward pass each, that its divergence took."""

    @property
    def mean(self) -> float:
        """The mean over the items."""
        return float(self.nats.mean())

    def interval(self, level: float = 0.95) -> tuple[Tensor, Tensor]:
        """Where each item's value lies with probability `level`, by Student's t: two of (n,). BadInput for a level that
        is not between 0 and 1.
        """
        if not 0 < real(level, "level") < 1:
            raise BadInput(f"a level of {level:g} is no probability: give .95 for 95 %")
        reach = stats.norm.ppf((1 + level) / 2) if self.freedom is None else stats.t.ppf((1 + level) / 2, self.freedom)
        return self.nats - float(reach) * self.error, self.nats + float(reach) * self.error

    @property
    def standard_error(self) -> float | None:
        """The standard error of the mean, over items and the method's randomness together; of one item that of the
        method, None where that has none.
        """
        if len(self.nats) > 1:
            return float(self.nats.std() / math.sqrt(len(self.nats)))
        return float(self.error[0]) if float(self.error[0]) > 0 else None


def averaged(found: Sequence[LogLikelihood]) -> LogLikelihood:
    """The mean of two or more values of the same items, each with randomness of its own, of all of which it has the
    error: from how far they are apart.
    """
    nats, apart = torch.stack([one.nats for one in found]), [one.discretisation for one in found]
    moved = [one for one in apart if one is not None]
    return LogLikelihood(
        nats.mean(0),
        nats.std(0) / math.sqrt(len(found)),
        found[0].method,
        sum(one.evaluations for one in found),
        torch.stack(moved).mean(0) if moved else None,
        len(found) - 1,
        {name: torch.stack([one.terms[name] for one in found if one.terms]).mean(0) for name in found[0].terms or {}}
        or None,
        sum(one.products for one in found),
    )


def ode_log_likelihood(
    denoiser: Denoiser,
    x0: Tensor,
    *,
    spread: float = 1.0,
    low: float = 1e-3,
    tolerance: float = TOLERANCE,
    most: int | None = None,
    probes: int | None = None,
    check: bool = False,
    rng: Rng | int | None = None,
) -> LogLikelihood:
    """log p(x0) for `x0` (n, *event), by adaptive steps whose error in log p is about `tolerance` each.

    `low` is the noise level to start from in units of `spread`, the standard deviation of the data; the far end is
    compared with N(m, (spread^2 + r^2) I), m = D(0) there being the data's mean: left out, it would cost m z / r
    nats. No step is shorter than 1 / `most` of the way in log r (default: `MOST`). `probes` >= 2 is the number of
    Hutchinson's probes, more than `EXACT_UP_TO` coordinates (default: `probes_for`). With `check` the way is gone
    again at half the tolerance, the value is that one's, and the difference is told. BadInput for a `spread` or
    `tolerance` that is not above 0, a `low` that is not between 0 and the far end, fewer than 1 for `most`, and
    than 2 probes.
    """
    d = math.prod(x0.shape[1:])
    exact = d <= EXACT_UP_TO
    probes = probes_for(d) if probes is None else whole(probes, "probes", 2)
    for name, value in (("spread", spread), ("tolerance", tolerance), ("low", low)):
        if not real(value, name) > 0:
            raise BadInput(f"{name} must be above 0, not {value}")
    if low >= (far := math.tan(Whitened(denoiser, spread).ends(0.0)[1])):
        raise BadInput(f"low must be under the noise at the far end, {far:.3g} deviations of the data, not {low}")
    vectors = _basis(x0) if exact else _rademacher(x0, probes, as_rng(rng))
    most = MOST[x0.ndim > 2] if most is None else whole(most, "most", 1)
    rider = _Rider(Whitened(denoiser, spread), vectors, exact)
    found = _gone(rider, x0, low, tolerance, most)
    if check:
        finer = _gone(rider, x0, low, tolerance / 2, 2 * most)
        apart = (finer.nats - found.nats).abs()
        spent, products = found.evaluations + finer.evaluations, found.products + finer.products
        found = replace(finer, discretisation=apart, evaluations=spent, products=products)
    return found


@dataclass(frozen=True)
class _Rider:
    """dw/da with the divergence beside it: one column where it is exact, else one for each probe."""

    flow: Whitened
    vectors: Tensor
    exact: bool

    def slope(self, w: Tensor, clock: Tensor) -> tuple[Tensor, Tensor]:
        y, t = self.flow.seen(w, clock)
        with torch.enable_grad():
            y = y.detach().requires_grad_(True)
            denoised = self.flow.denoised(y, t)
            products = _products(denoised, y, self.vectors)
        traces = torch.stack([sum_event(p * v).double() for p, v in zip(products, self.vectors, strict=True)], 1)
        traces = traces.sum(1, keepdim=True) if self.exact else traces
        d = math.prod(w.shape[1:])
        gained = (d * clock.cos() ** 2)[:, None] - traces
        return self.flow.slope_of(w, denoised.detach(), clock), gained / (clock.sin() * clock.cos())[:, None]

    def part(self, rows: Tensor) -> Slope:
        """The slope of the items `rows` alone."""
        flow = Whitened(self.flow.denoiser.of(rows), self.flow.spread)
        return _Rider(flow, self.vectors[:, rows], self.exact).slope


def _products(denoised: Tensor, y: Tensor, vectors: Tensor) -> list[Tensor]:
    """J^T v for each of `vectors` (k, n, *event): at once for points, for pictures one by one, which saves memory."""
    if y.ndim == 2:
        return list(torch.autograd.grad(denoised, y, vectors, is_grads_batched=True)[0])
    return [torch.autograd.grad(denoised, y, v, retain_graph=True)[0] for v in vectors]


def _gone(rider: _Rider, x0: Tensor, low: float, tolerance: float, most: int) -> LogLikelihood:
    flow, d, k = rider.flow, math.prod(x0.shape[1:]), len(rider.vectors)
    start, end = flow.ends(low)
    near, far = ((flow.spread / math.cos(clock)) ** 2 for clock in (start, end))
    way: Travelled = travelled(
        rider.slope,
        x0 / math.sqrt(near),
        start,
        end,
        tolerance=tolerance * max(1.0, d / 16),
        shortest=flow.shortest(low, most),
        widths=1 if rider.exact else k,
        even=torch.cos,
        part=rider.part,
    )
    with torch.no_grad():
        t = flow.denoiser.process.time_of(torch.tensor(flow.spread * math.tan(end), dtype=torch.float64))
        centre = flow.denoiser.denoised(torch.zeros_like(x0), t) / math.sqrt(far)
    outside = -sum_event((way.w - centre).double() ** 2) / 2 - d / 2 * math.log(2 * math.pi * near)
    nats = outside + way.q.mean(1)
    error = torch.zeros_like(nats) if rider.exact else way.q.std(1) / math.sqrt(k)
    name = "exact divergence" if rider.exact else f"Hutchinson, {k} probes"
    freedom = None if rider.exact else k - 1
    return LogLikelihood(
        nats, error, f"probability-flow ODE, {name}", way.evaluations, freedom=freedom, products=way.evaluations * k
    )


def _basis(x0: Tensor) -> Tensor:
    eye = torch.eye(math.prod(x0.shape[1:]), dtype=x0.dtype, device=x0.device)
    return torch.stack([e.reshape(1, *x0.shape[1:]).expand_as(x0) for e in eye])


def _rademacher(x0: Tensor, probes: int, rng: Rng) -> Tensor:
    signs = (rng.child("probe", k).uniform(x0.shape, device=x0.device) < 0.5 for k in range(probes))
    return torch.stack([1 - 2 * sign.to(x0.dtype) for sign in signs])
