"""A variational bound on log P(x_0) for data on levels, which needs no dequantisation.

With r = sigma / alpha and y = x_0 + r eps, for any denoiser D,
-log P(x_0) <= KL(q(y_top | x_0) || N(0, spread^2 + r_top^2)) + E[-log p(x_0 | y_low)] + int E |x_0 - D|^2 / r^2 dlog r
(Kingma et al. 2021, arXiv 2107.00630, equations 11 to 18, in the clock log r). The integral is estimated with
stratified draws of log r per item; the decoder p(x_0 | y_low) is the model's own probability of each coordinate's
level. P is a probability, so -log2 P / d in bits per dimension compares with any other coding of the same levels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from driftback.errors import BadInput
from driftback.evaluation.likelihood import LogLikelihood
from driftback.randomness import Rng, as_rng
from driftback.scores.denoiser import Denoiser
from driftback.scores.learned import LearnedDenoiser
from driftback.scores.parametrisation import Levels
from driftback.scores.spikes import Spikes
from driftback.shapes import per_item, sum_event

READ = 4
"""So often the levels of an item are read off, each time with new noise."""


@torch.no_grad()
def variational_bound(
    denoiser: LearnedDenoiser, x0: Tensor, *, spread: float = 1.0, draws: int = 32, rng: Rng | int | None = None
) -> LogLikelihood:
    """A lower bound on log P(x0) in nats for `x0` (n, *event) on the levels of the denoiser's parametrisation.

    `draws` evaluations per item, each somewhere in its own stratum of log r. `error` is the standard error of those
    draws, from the differences of neighbouring strata, and from `READ` draws of the decoder. BadInput for fewer than 2
    draws.
    """
    if draws < 2:
        raise BadInput(f"{draws} draws have no standard error; give at least 2, better 32")
    levels, process, rng = denoiser.parametrisation, denoiser.process, as_rng(rng)
    if not isinstance(levels, Levels | Spikes):
        raise TypeError("a variational bound needs a model that was fitted with --method levels or spikes")
    bottom, top = math.log(levels.bottom), math.log(min(float(process.ratio(1.0)), 200 * spread))
    terms = integrated(denoiser, x0, bottom, top, draws, rng)
    read = torch.stack([_reconstruction(denoiser, levels, x0, bottom, rng.child("read", k)) for k in range(READ)])
    error = (stratified_error(terms) ** 2 + read.var(0) / READ).sqrt()
    nats = -(terms.mean(0) + terminal_kl(x0, top, spread) + read.mean(0))
    return LogLikelihood(nats, error, f"variational bound, {draws} draws", draws + READ)


def integrated(denoiser: Denoiser, x0: Tensor, bottom: float, top: float, draws: int, rng: Rng) -> Tensor:
    """int |x_0 - D|^2 / r^2 dlog r from `bottom` to `top` by a draw from each of `draws` strata, whose mean it is:
    (draws, n).

    Every stratum has a shift of its own: one that an item's strata share errs by the integrand's fall from end to end,
    which the differences of neighbours do not see, and which grows with the number of coordinates as nothing else does.
    """
    shift = rng.child("shift").uniform((len(x0), draws), dtype=torch.float64, device=x0.device)
    terms = torch.zeros(draws, len(x0), dtype=torch.float64, device=x0.device)
    for k in range(draws):
        clock = bottom + (top - bottom) * ((shift[:, k] + k) / draws)
        terms[k] = integrand(denoiser, x0, clock, rng.child("noise", k)) * (top - bottom)
    return terms


def stratified_error(terms: Tensor) -> Tensor:
    """The standard error (n,) of `terms.mean(0)`, `terms` (draws, n) holding one draw from each of `draws` >= 2 strata.

    From (a - 2b + c)^2 / 6 over neighbouring strata, whose mean is their variance where their means lie on a line (of
    two strata from (a - b)^2 / 2; compare von Neumann 1941, 'Distribution of the ratio of the mean square successive
    difference to the variance'): the spread over all strata holds the slope of the integrand, which is no error.
    """
    order, share = (2, 6) if len(terms) > 2 else (1, 2)
    return (terms.diff(n=order, dim=0) ** 2).mean(0).div(share * len(terms)).sqrt()


def noised(denoiser: Denoiser, x0: Tensor, clock: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
    """x_t and t where log(sigma / alpha) is `clock` (n,), for `x0` (n, *event)."""
    t = denoiser.process.time_of(clock.exp())
    y = x0 + per_item(clock.exp(), x0) * rng.normal(x0.shape, dtype=x0.dtype, device=x0.device)
    return per_item(denoiser.process.alpha(t), x0) * y, t


def integrand(denoiser: Denoiser, x0: Tensor, clock: Tensor, rng: Rng) -> Tensor:
    """|x_0 - D|^2 / r^2 at log r = `clock` (n,), by one draw of the noise: (n,)."""
    x, t = noised(denoiser, x0, clock, rng)
    return sum_event((x0 - denoiser.denoised(x, t)) ** 2).double() * torch.exp(-2 * clock)


def terminal_kl(x0: Tensor, top: float, spread: float) -> Tensor:
    """KL(q(y | x_0) || N(0, spread^2 + r^2)) at log r = `top`, (n,) nats."""
    ratio = math.exp(2 * top) / (spread**2 + math.exp(2 * top))
    squares = sum_event(x0.double() ** 2) / (spread**2 + math.exp(2 * top))
    return (squares + math.prod(x0.shape[1:]) * (ratio - 1 - math.log(ratio))) / 2


def _reconstruction(denoiser: LearnedDenoiser, levels: Levels | Spikes, x0: Tensor, bottom: float, rng: Rng) -> Tensor:
    clock = torch.full((len(x0),), bottom, dtype=torch.float64, device=x0.device)
    x, t = noised(denoiser, x0, clock, rng)
    alpha, sigma = denoiser.process.alpha(t), denoiser.process.sigma(t)
    return levels.surprise(denoiser.output(x, t), x0, x, alpha, sigma).double()
