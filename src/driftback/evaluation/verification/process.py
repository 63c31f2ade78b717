"""A process against itself: what it says of its marginals, its drift, its bridge and its clock has to agree.

x_t = alpha x_0 + sigma eps and dx = f x dt + g dW are the same law where f = alpha' / alpha and g^2 = (sigma^2)' - 2 f
sigma^2; draws along the SDE, draws of `forward` and draws of `bridge` from a later point are then draws of one law. How
much the end still knows of the data is KL(p_1 || simple).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from driftback.distributions.gaussian import Gaussian
from driftback.errors import BadInput
from driftback.evaluation.verification.check import Check, Verification, judged, near, shown, verification
from driftback.evaluation.verification.ito import Score, ito
from driftback.evaluation.verification.targets import TARGET
from driftback.processes.diffusion import Diffusion
from driftback.processes.nonlinear import ItoSDE
from driftback.processes.protocols import Process
from driftback.processes.schedules import Schedule
from driftback.processes.sde import SDE
from driftback.processes.terminal import mismatch_by_quadrature, mismatch_of_gaussian
from driftback.randomness import Rng, as_rng
from driftback.samplers.frame import last
from driftback.samplers.stochastic_heun import StochasticHeun

ITEMS, STEPS, MANY = 4000, 100, 40_000
PLACE = (0.8, -1.2)
"""The point x_0 that all draws begin at."""
MARGINALS, BRIDGES = (0.2, 0.5, 0.9), ((0.9, 0.3), (0.6, 0.5), (0.3, 0.02))
FORGOTTEN = 0.05
"""Nats that the end of the way may still know of the target: a start that knows nothing costs the samples as much."""
KEPT = 0.01
"""Of a deviation: what StochasticHeun may err at 100 steps."""


def verify_process(
    subject_of: object, *, score: Score | None = None, subject: str = "process", rng: Rng | int | None = 0
) -> Verification:
    """Check a `Schedule`, or what has `drift` and `diffusion` or `dispersion`, or `forward` and `bridge`, on (n, 2).

    A schedule is checked with the `Diffusion` made of it. Where `alpha` and `sigma` are stated, all is held against
    them; otherwise against draws of `forward`. With `dispersion`, `score(x, t)` is grad log p of x_t given x_0 =
    `PLACE`, and its reversal is checked too. BadInput for what has none of these.
    """
    rng = as_rng(rng)
    checks: list[Check] = []
    process: Any = subject_of
    if isinstance(subject_of, Schedule) and not isinstance(subject_of, SDE | Process):
        checks += _schedule(subject_of)
        process = Diffusion(subject_of, TARGET.event_shape)
    if isinstance(process, ItoSDE) and not isinstance(process, SDE):
        checks += [*ito(process, _place()[0], score, rng), *_mismatch(process, rng.child("end"))]
        return verification(subject, "process", checks)
    if not isinstance(process, SDE | Process):
        raise BadInput(
            "a process has alpha, sigma and time_of, or drift and diffusion, or forward and bridge; add them"
        )
    moments = _moments(process, rng.child("forward"))
    if isinstance(process, SDE):
        checks += _coefficients(process)
        checks += _simulated(process, moments, rng.child("path"))
    if isinstance(process, Process):
        if hasattr(process, "alpha"):
            checks += _law("forward draws", lambda t: process.forward(_place(), t, rng=rng.child("draws")), moments)
        checks += _bridged(process, moments, rng.child("bridge"))
    checks += _mismatch(process, rng.child("end"))
    return verification(subject, "process", checks)


def _mismatch(process: Any, rng: Rng) -> Iterator[Check]:
    """KL(p_1 || simple): of a diffusion exactly, and judged; else between normal laws with the moments of draws."""
    if isinstance(process, Diffusion):
        left = mismatch_by_quadrature(process.marginal(TARGET, 1.0), process.simple)
        yield judged("terminal mismatch in nats", left.nats, high=FORGOTTEN, expected=0.0)
    elif isinstance(process, Process):
        data = TARGET.sample(MANY, rng=rng.child("data"))
        end, start = process.forward(data, 1.0, rng=rng), process.simple.sample(MANY, rng=rng.child("simple"))
        laws = [Gaussian(x.double().mean(0), x.double().T.cov()) for x in (end, start)]
        left = mismatch_of_gaussian(*laws)
        yield shown("terminal mismatch in nats, by moments", left.nats, expected=0.0, n=MANY)


Moments = Callable[[float], tuple[Tensor, float, float, float]]
"""Of x_t given x_0: mean (2,), its standard error, deviation, and the standard error of that."""


def _place() -> Tensor:
    return torch.tensor(PLACE, dtype=torch.float64).expand(ITEMS, 2)


def _moments(process: Any, rng: Rng) -> Moments:
    if hasattr(process, "alpha") and hasattr(process, "sigma"):
        at = torch.tensor(PLACE, dtype=torch.float64)
        return lambda t: (float(process.alpha(_time(t))) * at, 0.0, float(process.sigma(_time(t))), 0.0)
    if not isinstance(process, Process):
        raise BadInput("nothing states the law of x_t: add alpha(t) and sigma(t), or forward(x0, t)")

    def drawn(t: float) -> tuple[Tensor, float, float, float]:
        x = process.forward(_place(), t, rng=rng)
        sd = float(x.std(0).square().mean().sqrt())
        return x.mean(0), sd / math.sqrt(ITEMS), sd, sd / math.sqrt(4 * ITEMS)

    return drawn


def _time(t: float) -> Tensor:
    return torch.tensor(t, dtype=torch.float64)


def _schedule(schedule: Schedule) -> Iterator[Check]:
    t = torch.linspace(0, 1, 401, dtype=torch.float64)
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    good = torch.isfinite(alpha) & torch.isfinite(sigma) & (alpha >= 0) & (sigma >= 0)
    yield judged("finite and not negative", float(good.double().mean()), low=1.0, expected=1.0, n=len(t))
    ratio = sigma / alpha
    rising = (ratio[1:] > ratio[:-1]).double().mean()
    yield judged("ratio rises", float(rising), low=1.0, expected=1.0, n=len(t) - 1)
    inside = t[1:-1]
    off = (schedule.time_of(ratio[1:-1]) - inside).abs().max()
    yield judged("time_of undoes the ratio", float(off), high=1e-8, expected=0.0, n=len(inside))
    yield shown("alpha at t = 0", float(alpha[0]), expected=1.0)
    yield shown("sigma at t = 0", float(sigma[0]), expected=0.0)
    yield shown("alpha at t = 1", float(alpha[-1]))


def _coefficients(process: Any) -> Iterator[Check]:
    """Drift and diffusion against central differences of alpha and sigma, where both are stated."""
    if not (hasattr(process, "alpha") and hasattr(process, "sigma")):
        return
    t, h = torch.linspace(0.02, 0.98, 97, dtype=torch.float64), 1e-5

    def slope(of: Callable[[Tensor], Tensor]) -> Tensor:
        return (of(t + h) - of(t - h)) / (2 * h)

    rate = slope(lambda u: process.alpha(u).log())
    x = torch.tensor(PLACE, dtype=torch.float64)
    drift = torch.stack([process.drift(x[None], u)[0] for u in t])
    size = rate.abs().max() * x.norm()
    off = (drift - rate[:, None] * x).norm(dim=1).max() / size.clamp(min=1e-3)
    yield judged("drift against alpha", float(off), high=1e-4, expected=0.0, n=len(t))
    g2 = slope(lambda u: process.sigma(u) ** 2) - 2 * rate * process.sigma(t) ** 2
    ours = torch.stack([torch.as_tensor(process.diffusion(u)).double().reshape(()) for u in t]) ** 2
    off = ((ours - g2).abs() / g2.abs().max()).max()
    yield judged("diffusion against sigma", float(off), high=1e-4, expected=0.0, n=len(t))


def _law(what: str, draw: Callable[[float], Tensor], moments: Moments) -> Iterator[Check]:
    for t in MARGINALS:
        yield from _compared(f"{what} at t = {t:g}", draw(t), moments(t))


def _compared(
    what: str, x: Tensor, stated: tuple[Tensor, float, float, float], allowed: float = 0.0
) -> Iterator[Check]:
    mean, mean_error, deviation, deviation_error = stated
    n, found = len(x), x.double()
    error = math.hypot(deviation / math.sqrt(n), mean_error)
    for i in range(len(mean)):
        value, expected = float(found[:, i].mean()), float(mean[i])
        yield near(f"mean {i + 1} of {what}", value, expected, error, allowed * deviation, n)
    apart = (found - mean) / max(deviation, 1e-300)
    error = math.hypot(deviation / math.sqrt(2 * n), deviation_error)
    for i in range(len(mean)):
        sd = float((found[:, i] - mean[i]).square().mean().sqrt())
        yield near(f"deviation {i + 1} of {what}", sd, deviation, error, allowed * deviation, n)
    # Of two independent normal numbers the mean product is 0 with variance 1, the fourth moment 3 with variance 96.
    size = allowed + 4 * deviation_error / max(deviation, 1e-300)
    product = float(apart.prod(1).mean()) if len(mean) == 2 else 0.0
    yield near(f"product of {what}, in deviations", product, 0.0, 1 / math.sqrt(n), size, n)
    fourth = float((apart**4).mean())
    yield near(f"fourth moment of {what}, in deviations", fourth, 3.0, math.sqrt(96 / (n * len(mean))), 12 * size, n)


def _simulated(process: Any, moments: Moments, rng: Rng) -> Iterator[Check]:
    """Along the SDE from the law at t = 0, in steps that are finer near the start."""
    mean, _, deviation, _ = moments(0.0)
    start = mean + deviation * rng.child("start").normal((ITEMS, 2), dtype=torch.float64)
    for t in MARGINALS:
        times = t * torch.linspace(0, 1, STEPS + 1, dtype=torch.float64) ** 2
        x = last(StochasticHeun(process)(start, times, rng=rng)).x
        yield from _compared(f"simulated points at t = {t:g}", x, moments(t), KEPT)


def _bridged(process: Process, moments: Moments, rng: Rng) -> Iterator[Check]:
    for k, (t, s) in enumerate(BRIDGES):
        later = process.forward(_place(), t, rng=rng.child("later", k))
        x = process.bridge(_place(), later, t, s, rng=rng.child("bridge", k))
        yield from _compared(f"bridge from t = {t:g} to {s:g}", x, moments(s))
        if hasattr(process, "alpha") and hasattr(process, "sigma"):
            # Cov(x_s, x_t | x_0) = alpha_t / alpha_s sigma_s^2: the memory of the path, which no marginal shows.
            (_, _, sd_s, _), (_, _, sd_t, _) = moments(s), moments(t)
            expected = float(process.alpha(_time(t))) / float(process.alpha(_time(s))) * sd_s / sd_t
            pair = (x - x.mean(0)).double(), (later - later.mean(0)).double()
            found = float((pair[0] * pair[1]).sum() / (pair[0].norm() * pair[1].norm()))
            error = (1 - expected**2) / math.sqrt(2 * ITEMS)
            name = f"correlation of the bridge's ends from t = {t:g} to {s:g}"
            yield near(name, found, expected, error, 0.0, 2 * ITEMS)
