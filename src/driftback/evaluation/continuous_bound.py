"""The bound that VDM is trained on, as a bound on the probability of data on levels, for any denoiser.

-log P(x_0) <= KL(q(z_1 | x_0) || p(z_1)) + E[-log p(x_0 | z_0)] - 1/2 int SNR'(t) E|x_0 - D(z_t)|^2 dt, with the
decoder p(x_0i = v_k | z_0) ~ N(z_0i; alpha_0 v_k, sigma_0^2) over the levels v_k (Kingma et al. 2021, arXiv 2107.00630,
equations 11, 17 and appendix E). The integral is taken in log(sigma / alpha), where the schedule has no say, with
stratified draws. Unlike `driftback.evaluation.bound` it asks the network for no probabilities, and ends where the
schedule of the model does.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from driftback.errors import BadInput
from driftback.evaluation.bound import READ, integrated, noised, stratified_error, terminal_kl
from driftback.evaluation.likelihood import LogLikelihood
from driftback.randomness import Rng, as_rng
from driftback.scores.denoiser import Denoiser
from driftback.shapes import per_item, sum_event


@torch.no_grad()
def continuous_bound(
    denoiser: Denoiser,
    x0: Tensor,
    levels: Tensor,
    *,
    spread: float = 1.0,
    draws: int = 32,
    rng: Rng | int | None = None,
) -> LogLikelihood:
    """A lower bound on log P(x0) in nats for `x0` (n, *event) on `levels` (k,), the values that a coordinate may have.

    `draws` evaluations per item; `error` is the standard error of these and of `READ` draws of the decoder, which asks
    for none (see `driftback.evaluation.bound`). Raises BadInput
    for fewer than 2, and where the process has no noise at t = 0 for the levels to be told apart in.
    """
    process, rng = denoiser.process, as_rng(rng)
    if draws < 2:
        raise BadInput(f"{draws} draws have no standard error; give at least 2, better 32")
    start = float(process.ratio(0.0))
    if not start > 0:
        raise BadInput("this process begins without noise, where no level is uncertain; use --method vdm for a bound")
    bottom, top = math.log(start), math.log(min(float(process.ratio(1.0)), 200 * spread))
    terms = integrated(denoiser, x0, bottom, top, draws, rng)
    at_start = torch.full((len(x0),), bottom, dtype=torch.float64, device=x0.device)
    read = torch.stack([_decoder(denoiser, x0, levels, at_start, rng.child("decoder", k)) for k in range(READ)])
    error = (stratified_error(terms) ** 2 + read.var(0) / READ).sqrt()
    nats = -(terms.mean(0) + terminal_kl(x0, top, spread) + read.mean(0))
    return LogLikelihood(nats, error, f"variational bound, {draws} draws", draws)


def _decoder(denoiser: Denoiser, x0: Tensor, levels: Tensor, clock: Tensor, rng: Rng) -> Tensor:
    """E[-log p(x_0 | z_0)] by one draw, (n,)."""
    ratio = per_item(clock.exp(), x0)
    x, t = noised(denoiser, x0, clock, rng)
    y = x / per_item(denoiser.process.alpha(t), x)
    # One level after the other: all at once would take the memory of as many copies of the items.
    total = torch.full_like(y, -math.inf)
    for value in levels.tolist():
        total = torch.logaddexp(total, -(((y - value) / ratio) ** 2) / 2)
    own = -(((y - x0) / ratio) ** 2) / 2
    return sum_event((total - own).double())
