"""A sampler against the oracles: its order if it has no noise, the law that it ends in, and what a way must not do.

Deterministic samplers are measured on the probability-flow ODE point by point, all of them on the law: started exactly
at p_t they have to end at the data, mode by mode, within 4.5 standard errors and what a solver of order 1 may err at
128 steps. Whether there is noise is found by giving two seeds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from driftback.errors import BadInput, DriftbackError
from driftback.evaluation.verification.check import Check, Verification, judged, shown, verification
from driftback.evaluation.verification.order import TOLERANCES, convergence, standard
from driftback.evaluation.verification.targets import TARGET, modes
from driftback.evaluation.verification.weak import weak
from driftback.processes.diffusion import Diffusion
from driftback.processes.schedules import Straight
from driftback.randomness import Rng, as_rng
from driftback.samplers.frame import Sampler, last
from driftback.samplers.grids import log_snr
from driftback.scores.denoiser import Denoiser
from driftback.scores.exact import ExactDenoiser

Make = Callable[[Denoiser], Sampler]

ORDER_ROOM = 0.5
"""An order that is observed may be so much lower than the order that is claimed."""
LAW_STEPS, LAW_ITEMS = 128, 4000
ALLOWED = 0.04
"""What a solver may err at 128 steps, see `targets.modes`."""
REFUSED = "singular ends refused in a line"
FEWEST, FEW = (2, 3, 4, 6, 8), (12, 16)
"""Explicit rules of published repute overshoot in fewer than 10 steps; from 12 on none may."""
REACH = 2.0
"""With few steps the points may reach so many times as far, in the root mean square, as the target does."""


def verify_sampler(
    make: Make, claimed: int | None = None, *, subject: str = "sampler", rng: Rng | int | None = 0
) -> Verification:
    """Check `make(denoiser)`, whose claimed order is `claimed`: on the ODE, or in law where it has noise.

    BadInput where it does not yield one frame per time, with points of the same shape and kind, all of them finite.
    """
    rng = as_rng(rng)
    noisy = _look(make)
    checks = [*(weak(make, claimed) if noisy else _order(make, claimed))]
    checks += _law(make, rng.child("law"))
    checks += _few(make, rng.child("few"))
    singular = list(_singular(make, rng.child("singular")))
    # Rules in t, which know no singular end, do not land in one step either.
    exact = singular[0].name != REFUSED
    checks += [_landed(make, exact), _batch(make), _seed(make), *([] if noisy else [_float32(make)])]
    checks += singular
    return verification(subject, "sampler", checks)


def _start(n: int, steps: int, rng: Rng, process: Diffusion | None = None) -> tuple[Tensor, Tensor]:
    """Points of the exact law at the first of `steps` + 1 times, and the times, which end at the data."""
    process = process or standard().process
    times = log_snr(process, steps, low=0.01, high=20.0)
    return process.marginal(TARGET, float(times[0])).sample(n, rng=rng), times


def _look(make: Make) -> bool:
    """Whether there is noise; refuses what is no sampler before anything is measured."""
    x, times = _start(6, 8, Rng(0))
    frames = list(make(standard())(x, times, rng=0))
    if len(frames) != len(times):
        raise BadInput(f"it yielded {len(frames)} frames for {len(times)} times; yield one for each, the first being x")
    for frame, t in zip(frames, times.tolist(), strict=True):
        if frame.x.shape != x.shape or frame.x.dtype != x.dtype:
            got = f"{tuple(frame.x.shape)} {frame.x.dtype}"
            raise BadInput(f"points of {tuple(x.shape)} {x.dtype} came back as {got}; keep shape and dtype")
        if frame.t != t:
            raise BadInput(f"a frame says t = {frame.t} where the grid has {t}; yield Frame(t, x) in the grid's order")
        if not bool(torch.isfinite(frame.x).all()):
            raise BadInput(f"points are not finite at t = {t:.4g} with 8 steps on the standard target; look there")
    if not torch.equal(frames[0].x, x):
        raise BadInput("the first frame does not hold the points that were given; yield them before the first step")
    return not torch.equal(frames[-1].x, last(make(standard())(x, times, rng=1)).x)


def _order(make: Make, claimed: int | None) -> Iterator[Check]:
    found = convergence(make)
    order, error, grids = found.order()
    if claimed is None:
        yield shown("observed order", order, error=error, n=grids)
    else:
        yield judged("observed order", order, claimed - ORDER_ROOM, expected=claimed, error=error, n=grids)
    yield judged(f"error at {found.steps[-1]} steps", found.errors[-1], high=0.02, expected=0.0, n=found.steps[-1])
    for tolerance in TOLERANCES:
        yield shown(f"evaluations to {tolerance:g}", found.evaluations_to(tolerance))


def _law(make: Make, rng: Rng) -> Iterator[Check]:
    x, times = _start(LAW_ITEMS, LAW_STEPS, rng.child("start"))
    return modes(last(make(standard())(x, times, rng=rng)).x, ALLOWED)


def _few(make: Make, rng: Rng) -> Iterator[Check]:
    size = math.sqrt(float((TARGET.weights @ (TARGET.means**2 + TARGET.covariances.diagonal(0, 1, 2))).mean()))

    def reach(few: tuple[int, ...]) -> float:
        found = []
        for steps in few:
            x, times = _start(500, steps, rng.child("start"))
            found.append(float(last(make(standard())(x, times, rng=rng)).x.square().mean().sqrt()) / size)
        return max(found, key=lambda one: one if math.isfinite(one) else math.inf)

    yield shown(f"reach with {FEWEST[0]} to {FEWEST[-1]} steps", reach(FEWEST), expected=1.0, n=500)
    yield judged(f"reach with {FEW[0]} to {FEW[-1]} steps", reach(FEW), high=REACH, expected=1.0, n=500)


@dataclass(frozen=True)
class _Point(Denoiser):
    """All data are one point."""

    process: Diffusion
    place: Tensor

    def denoised(self, x: Tensor, t: float | Tensor) -> Tensor:
        return self.place.to(x).expand(x.shape)


def _landed(make: Make, exact: bool) -> Check:
    """With all data at one point there is one right end, wherever the last step begins; here at a ratio of 0.3."""
    process, place = standard().process, torch.tensor([0.7, -0.4], dtype=torch.float64)
    times = log_snr(process, 16, low=0.3, high=20.0)
    alpha, sigma = float(process.alpha(times[0])), float(process.sigma(times[0]))
    x = alpha * place + sigma * Rng(0).child("landing").normal((100, 2), dtype=torch.float64)
    off = (last(make(_Point(process, place))(x, times, rng=0)).x - place).square().mean().sqrt() / 0.3
    name = "distance from a point that all data are, in noises before the last step"
    return judged(name, float(off), high=0.5, expected=0.0, n=100) if exact else shown(name, float(off), n=100)


def _batch(make: Make) -> Check:
    x, times = _start(80, 8, Rng(0))
    whole = last(make(standard())(x, times, rng=5)).x
    parts = [last(make(standard())(part, times, rng=Rng(5).item(i))).x for i, part in ((0, x[:3]), (70, x[70:]))]
    off = max(float((part - rows).abs().max()) for part, rows in zip(parts, (whole[:3], whole[70:]), strict=True))
    return judged("difference in another batch", off, high=1e-9, expected=0.0, n=13)


def _seed(make: Make) -> Check:
    x, times = _start(20, 8, Rng(0))
    one, again = (last(make(standard())(x, times, rng=5)).x for _ in range(2))
    return judged("difference at the same seed", float((one - again).abs().max()), high=0.0, expected=0.0, n=20)


def _float32(make: Make) -> Check:
    x, times = _start(200, 32, Rng(0))
    wide, narrow = (last(make(standard())(points, times, rng=5)).x for points in (x, x.float()))
    off = (narrow.double() - wide).square().mean().sqrt()
    return judged("float32 against float64", float(off), high=1e-3, expected=0.0, n=200)


def _singular(make: Make, rng: Rng) -> Iterator[Check]:
    """From pure noise (alpha = 0) to none (sigma = 0) along straight lines, unless it says that it does not do that."""
    oracle = ExactDenoiser(Diffusion(Straight(), TARGET.event_shape), TARGET)
    x = rng.child("start").normal((2000, 2), dtype=torch.float64)
    times = torch.linspace(1, 0, 101, dtype=torch.float64)
    try:
        end = last(make(oracle)(x, times, rng=rng)).x
    except DriftbackError:
        yield shown(REFUSED, 1.0)
        return
    yield judged("finite at singular ends", float(torch.isfinite(end).double().mean()), low=1.0, expected=1.0, n=2000)
    for check in modes(end, 2 * ALLOWED):
        if check.name.endswith(("weight", "deviation 1")):
            yield judged(
                f"{check.name} from singular ends",
                check.value if check.value is not None else math.nan,
                check.low,
                check.high,
                expected=check.expected,
                error=check.standard_error,
                n=check.n,
            )
