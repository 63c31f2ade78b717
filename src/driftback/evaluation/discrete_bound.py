"""DDPM's bound: the chain's own, of finitely many steps, in its three terms.

-log p(x_0) <= L_T + sum_t L_(t-1) + L_0 (Ho et al. 2020, arXiv 2006.11239, equation 5), with L_T = KL(q(x_T | x_0) ||
N(0, (alpha^2 s^2 + sigma^2) I)), L_(t-1) = KL(q(x_s | x_t, x_0) || N(mu, V I)), mu the bridge's mean with D in the
place of x_0, and L_0 = -log p(x_0 | x_1). For V = beta~, the bridge's own variance, L_(t-1) is (SNR(s) - SNR(t)) |x_0 -
D|^2 / 2. Of data on levels L_0 is that of the discrete decoder, N(D, sigma_1^2) summed over each level's cell, the
outer ones being open (section 3.3); of other data a density's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from driftback.errors import BadInput
from driftback.evaluation.bound import READ, stratified_error
from driftback.evaluation.likelihood import LogLikelihood
from driftback.randomness import Rng, as_rng
from driftback.samplers.exponential import Level
from driftback.samplers.levels import closed, levels_of
from driftback.scores.denoiser import Denoiser
from driftback.shapes import per_item, sum_event

GOLDEN = (math.sqrt(5) - 1) / 2


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
    at T evaluations; with `draws` >= 2 only so many of them, stratified. `error` is the standard error of the draws
    and of `READ` of L_0, `terms` the three terms. Where the process has noise at t = 0, x_0 is read off there.
    BadInput where the chain does not end at t = 0.
    """
    chain, rng = closed(levels_of(denoiser.process, times)), as_rng(rng)
    share = (1.0 if levels is None else 0.0) if share is None else share
    first, d = chain[0], math.prod(x0.shape[1:])
    way = chained(denoiser, x0, chain, share, draws, rng)
    variance = (first.alpha * denoiser.process.spread) ** 2 + first.sigma**2
    ratio = first.sigma**2 / variance
    prior = (sum_event(x0.double() ** 2) * first.alpha**2 / variance + d * (ratio - 1 - math.log(ratio))) / 2
    read = torch.stack([_read(denoiser, x0, chain[-2], levels, rng.child("read", k)) for k in range(READ)])
    parts = {"L_T": prior, "L_t": way.total, "L_0": read.mean(0)}
    error = (way.error**2 + read.var(0) / READ).sqrt()
    nats = -(prior + way.total + read.mean(0))
    return LogLikelihood(nats, error, f"DDPM's bound, {way.words}", way.evaluations + READ, terms=parts)


@dataclass(frozen=True)
class Chained:
    """sum_t L_(t-1) in nats, (n,), its standard `error`, the `evaluations` that it took, and the chain in `words`."""

    total: Tensor
    error: Tensor
    evaluations: int
    words: str


def chained(
    denoiser: Denoiser, x0: Tensor, chain: Sequence[Level], share: float, draws: int | None, rng: Rng
) -> Chained:
    """The steps of `chain` but the last, which is read off: see `discrete_bound`. BadInput as there."""
    if len(chain) < 3 or chain[-1].sigma > 0:
        raise BadInput("a chain's bound wants two steps at least, the last one to t = 0; give such times")
    if draws is not None and draws < 2:
        raise BadInput(f"{draws} draws have no standard error; give at least 2, or None for every step")
    steps = len(chain) - 2
    count = steps if draws is None else min(draws, steps)
    if steps == 1:  # one draw of the only step would have no error
        drawn = torch.stack(
            [
                _term(
                    denoiser,
                    x0,
                    chain,
                    torch.zeros(len(x0), dtype=torch.int64, device=x0.device),
                    share,
                    rng.child("noise", j),
                )
                for j in range(READ)
            ]
        )
        return Chained(drawn.mean(0), (drawn.var(0) / READ).sqrt(), READ, "2 steps")
    # A shift for each stratum (see `bound.integrated`), and in it for each item, a golden section on from that of the
    # one before: with one for all, the mean over items would err as a single item does, and this way together they meet
    # every step about equally often.
    luck = (rng.child("step").uniform((1, count), dtype=torch.float64) + GOLDEN * torch.arange(len(x0))[:, None]) % 1
    share_of, terms = _shares(chain), []
    for j in range(count):
        if count == steps:
            k, weight = torch.full((len(x0),), j), torch.tensor(float(steps))
        else:
            k = torch.searchsorted(share_of.cumsum(0), (j + luck[:, j]) / count, right=True).clamp(max=steps - 1)
            weight = 1 / share_of[k]
        term = _term(denoiser, x0, chain, k.to(x0.device), share, rng.child("noise", j))
        terms.append(weight.to(term) * term)
    drawn = torch.stack(terms)
    words = f"{steps + 1} steps" + ("" if count == steps else f", {count} of them drawn")
    return Chained(drawn.mean(0), stratified_error(drawn), count, words)


def _shares(chain: Sequence[Level]) -> Tensor:
    """How often each step that is not read off is drawn, (steps,): mostly by its stretch of log r, over which L_s is
    about even; in equal steps of t nearly all of it is in the last few.
    """
    clocks = torch.tensor([one.ratio for one in chain[:-1]], dtype=torch.float64).clamp(max=1e6).log()
    stretches = -clocks.diff()
    return 0.9 * stretches / stretches.sum() + 0.1 / len(stretches)


def _term(denoiser: Denoiser, x0: Tensor, chain: Sequence[Level], k: Tensor, share: float, rng: Rng) -> Tensor:
    """L_s of the step that begins at number `k` (n,) of the chain, by one draw of x_t, (n,)."""

    def known(values: Iterable[float], k: Tensor) -> Tensor:
        return torch.tensor(list(values), dtype=torch.float64, device=x0.device)[k]

    t, alpha, sigma = (known((getattr(one, name) for one in chain), k) for name in ("t", "alpha", "sigma"))
    ratio, lower, below = (
        sigma / alpha,
        known((one.sigma for one in chain), k + 1),
        known((o.ratio for o in chain), k + 1),
    )
    noise = rng.normal(x0.shape, dtype=x0.dtype, device=x0.device)
    x = per_item(alpha, x0) * x0 + per_item(sigma, x0) * noise
    missed = sum_event((x0 - denoiser.denoised(x, t)).double() ** 2)
    # KL of two Gaussians with variances beta~ and V, whose means are apart by a multiple of x_0 - D.
    d = math.prod(x0.shape[1:])
    log_wider = share * (2 * sigma.log() - 2 * lower.log())
    apart = (below**-2 - ratio**-2) * missed
    return (apart * torch.exp(-log_wider) + d * (torch.exp(-log_wider) - 1 + log_wider)) / 2


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
