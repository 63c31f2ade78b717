"""DDPM's bound: the chain's own, of finitely many steps, in its three terms.

-log p(x_0) <= L_T + sum_t L_(t-1) + L_0 (Ho et al. 2020, arXiv 2006.11239, equation 5), with L_T = KL(q(x_T | x_0) ||
N(0, (alpha^2 s^2 + sigma^2) I)), L_(t-1) = KL(q(x_s | x_t, x_0) || N(mu, V I)), mu the bridge's mean with D in the
place of x_0, and L_0 = -log p(x_0 | x_1). For V = beta~, the bridge's own variance, L_(t-1) is (SNR(s) - SNR(t)) |x_0 -
D|^2 / 2. Of data on levels L_0 is that of the discrete decoder, N(D, sigma_1^2) summed over each level's cell, the
outer ones being open (section 3.3); of other data a density's.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from driftback.errors import BadInput
from driftback.evaluation.bound import stratified_error
from driftback.evaluation.likelihood import LogLikelihood
from driftback.randomness import Rng, as_rng
from driftback.samplers.exponential import Level
from driftback.samplers.levels import levels_of
from driftback.scores.denoiser import Denoiser
from driftback.shapes import sum_event


@torch.no_grad()
def discrete_bound(
    denoiser: Denoiser,
    x0: Tensor,
    times: Tensor,
    *,
    levels: Tensor | None = None,
    share: float | None = None,
    draws: int | None = None,
    rng: Rng | int | None = None,
) -> LogLikelihood:
    """A lower bound on log p(x0) in nats, for `x0` (n, *event), of the chain at `times` (T + 1,), from t_T down to 0.

    `levels` (k,), evenly spaced, are the values that a coordinate may have; None for a density. `share` in [0, 1] puts
    the log of V between beta~ (0) and beta (1), DDPM's two choices: the first is right where x_0 is all but known, as
    on levels, the second where the density is smooth over a step (default: by `levels`). Every L_(t-1) is drawn once,
    at T evaluations; with `draws` >= 2 only so many of them, stratified. `error` is the standard error of the draws,
    `terms` the three terms. BadInput where the chain does not end at t = 0 without noise.
    """
    chain, rng, d = levels_of(denoiser.process, times), as_rng(rng), math.prod(x0.shape[1:])
    if len(chain) < 3 or chain[-1].sigma > 0:
        raise BadInput("a chain's bound wants two steps at least, the last one to t = 0, where no noise is left")
    if draws is not None and draws < 2:
        raise BadInput(f"{draws} draws have no standard error; give at least 2, or None for every step")
    steps, share = len(chain) - 2, (1.0 if levels is None else 0.0) if share is None else share
    first = chain[0]
    variance = (first.alpha * denoiser.process.spread) ** 2 + first.sigma**2
    ratio = first.sigma**2 / variance
    prior = (sum_event(x0.double() ** 2) * first.alpha**2 / variance + d * (ratio - 1 - math.log(ratio))) / 2
    count = steps if draws is None else min(draws, steps)
    luck, terms = rng.child("step").uniform((count,), dtype=torch.float64), []
    for j in range(count):
        k = j if count == steps else int((j + float(luck[j])) * steps / count)
        terms.append(_term(denoiser, x0, chain[k], chain[k + 1], share, rng.child("noise", k)))
    drawn = torch.stack(terms)
    total = steps * drawn.mean(0)
    error = steps * stratified_error(drawn) if count > 1 else torch.full_like(total, math.nan)
    last = chain[-2]
    read = _read(denoiser, x0, last, levels, rng.child("read"))
    name = f"DDPM's bound, {steps + 1} steps" + ("" if count == steps else f", {count} of them drawn")
    parts = {"L_T": prior, "L_t": total, "L_0": read}
    return LogLikelihood(-(prior + total + read), error, name, count + 1, terms=parts)


def _term(denoiser: Denoiser, x0: Tensor, now: Level, after: Level, share: float, rng: Rng) -> Tensor:
    """L_s by one draw of x_t, (n,)."""
    noise = rng.normal(x0.shape, dtype=x0.dtype, device=x0.device)
    missed = sum_event((x0 - denoiser.denoised(now.alpha * x0 + now.sigma * noise, now.t)).double() ** 2)
    # KL of two Gaussians with variances beta~ and V, whose means are apart by a multiple of x_0 - D.
    d = math.prod(x0.shape[1:])
    log_wider = share * math.log(now.sigma**2 / after.sigma**2)
    apart = (after.ratio**-2 - now.ratio**-2) * missed
    return (apart * math.exp(-log_wider) + d * (math.exp(-log_wider) - 1 + log_wider)) / 2


def _read(denoiser: Denoiser, x0: Tensor, last: Level, levels: Tensor | None, rng: Rng) -> Tensor:
    """-log p(x_0 | x_1) by one draw, (n,)."""
    noise = rng.normal(x0.shape, dtype=x0.dtype, device=x0.device)
    mean = denoiser.denoised(last.alpha * x0 + last.sigma * noise, last.t).double()
    x, deviation = x0.double(), last.sigma
    if levels is None:
        return sum_event(((x - mean) / deviation) ** 2 / 2 + math.log(deviation * math.sqrt(2 * math.pi)))
    half = float(levels[1] - levels[0]) / 2
    upper, lower = (x + half - mean) / deviation, (x - half - mean) / deviation
    # log(Phi(b) - Phi(a)) from the tail that is smaller, so that it does not vanish far from the mean.
    flipped = lower + upper > 0
    low, high = torch.where(flipped, -upper, lower), torch.where(flipped, -lower, upper)
    inside = _log_between(low, high)
    inside = torch.where(x < float(levels[0]) + half, torch.special.log_ndtr(upper), inside)
    inside = torch.where(x > float(levels[-1]) - half, torch.special.log_ndtr(-lower), inside)
    return -sum_event(inside)


def _log_between(low: Tensor, high: Tensor) -> Tensor:
    """log(Phi(high) - Phi(low)) for low < high, low + high <= 0."""
    below, above = torch.special.log_ndtr(low), torch.special.log_ndtr(high)
    return above + torch.log1p(-torch.exp((below - above).clamp(max=-1e-12)))
