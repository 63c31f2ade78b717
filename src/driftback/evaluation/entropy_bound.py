"""The bound of the first diffusion paper, with entropies in the place of both ends of the chain.

E log p(x_0) >= K = -sum_(t >= 2) E KL(q(x_(t-1) | x_t, x_0) || p(x_(t-1) | x_t)) + H(X_T | X_0) - H(X_1 | X_0) -
H_p(X_T) (Sohl-Dickstein et al. 2015, arXiv 1503.03585, equation 14): the first step is taken as exact, so that no
decoder is needed. H(X_t | X_0) is that of N(0, sigma_t^2 I), H_p(X_T) that of the simple law, both known.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from driftback.evaluation.discrete_bound import chained
from driftback.evaluation.likelihood import LogLikelihood
from driftback.randomness import Rng, as_rng
from driftback.samplers.levels import closed, levels_of
from driftback.scores.denoiser import Denoiser


@torch.no_grad()
def entropy_bound(
    denoiser: Denoiser,
    x0: Tensor,
    times: Tensor,
    *,
    share: float | None = None,
    draws: int | None = None,
    rng: Rng | int | None = None,
) -> LogLikelihood:
    """K in nats, as its contribution of each of `x0` (n, *event), for the chain at `times` (T + 1,): its mean is a
    bound on the mean log-density of the data that `x0` are draws of, if these have the deviation `process.spread`. For
    the rest see `driftback.evaluation.discrete_bound`.
    """
    chain, d = closed(levels_of(denoiser.process, times)), math.prod(x0.shape[1:])
    way = chained(denoiser, x0, chain, 1.0 if share is None else share, draws, as_rng(rng))
    first, last = chain[0], chain[-2]
    simple = math.sqrt((first.alpha * denoiser.process.spread) ** 2 + first.sigma**2)

    def entropy(deviation: float) -> float:
        return d / 2 * math.log(2 * math.pi * math.e * deviation**2)

    # x_1 is alpha_1 x_0 and noise: its density is told in the units of x_0, which the paper leaves out.
    ends = entropy(first.sigma) - entropy(last.sigma) - entropy(simple) + d * math.log(last.alpha)
    terms = {"steps": way.total, "entropies": torch.full_like(way.total, ends)}
    return LogLikelihood(ends - way.total, way.error, f"Sohl-Dickstein's K, {way.words}", way.evaluations, terms=terms)
