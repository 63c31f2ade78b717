"""The errors that bounds tell of items of many coordinates, against the spread of their values over seeds.

A Gaussian's exact denoiser misses x_0 by as much as the noise where there is little: the integrand does not vanish at
the low end, and falls from end to end by the number of coordinates.
"""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from driftback.evaluation.bound import integrated, stratified_error
from driftback.evaluation.discrete_bound import discrete_bound
from driftback.evaluation.likelihood import LogLikelihood
from driftback.processes import VP, Diffusion
from driftback.randomness import Rng
from driftback.samplers.grids import log_snr
from driftback.scores.denoiser import Denoiser

D, SEEDS, DRAWS = 1024, 16, 32
X = torch.randn(16, D, generator=torch.Generator().manual_seed(0))


class Normal(Denoiser):
    """The exact one of N(0, I)."""

    process = Diffusion(VP(), (D,), 1.0)

    def denoised(self, x: Tensor, t: float | Tensor) -> Tensor:
        alpha, sigma = (one(torch.as_tensor(t)).to(x) for one in (self.process.alpha, self.process.sigma))
        return x * (alpha / (alpha**2 + sigma**2)).reshape(-1, *(1,) * (x.ndim - 1))


def integral(seed: int) -> LogLikelihood:
    terms = integrated(Normal(), X, -4.0, 5.0, DRAWS, Rng(seed))
    return LogLikelihood(terms.mean(0), stratified_error(terms), "", DRAWS)


TIMES = log_snr(Normal.process, 400, low=0.02, high=100.0)


@pytest.mark.parametrize(
    "bound",
    [integral, lambda seed: discrete_bound(Normal(), X, TIMES, draws=DRAWS, rng=seed)],
    ids=["integral", "ddpm"],
)
def test_errors_of_many_coordinates_are_those_of_the_draws(bound: Callable[[int], LogLikelihood]) -> None:
    """Reported over true standard error, root mean square over 16 items and 16 seeds; it errs by about .05.

    Measured (40 seeds): told 52 nats, true 52; with one shift for all strata of an item told 44, true 104.
    """
    found = [bound(seed) for seed in range(SEEDS)]
    true = torch.stack([one.nats for one in found]).var(0).mean()
    told = torch.stack([one.error for one in found]).square().mean()
    assert 0.85 < float((told / true).sqrt()) < 1.2
