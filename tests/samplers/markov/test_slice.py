"""Elliptical slices keep the posterior, shrink their bracket, and count their trials."""

import math
from dataclasses import dataclass

import pytest
import torch

from driftback.distributions import Gaussian
from driftback.errors import BadInput
from driftback.randomness import Rng
from driftback.samplers.markov import BadDensity, EllipticalSlice, Energy, Noise

PRIOR = Gaussian(torch.tensor([1.0, -2.0]).double(), torch.tensor([[1.0, 0.6], [0.6, 1.5]]).double())


@dataclass(frozen=True, eq=False)
class Posterior:
    """The prior, and one observation y of x with deviation s in each coordinate."""

    y: torch.Tensor
    s: float
    event_shape = (2,)

    def log_likelihood(self, x):
        return -((x - self.y) ** 2).sum(1) / (2 * self.s**2)

    def log_prob(self, x):
        return PRIOR.log_prob(x) + self.log_likelihood(x) + 3.0

    def exact(self):
        precision = torch.linalg.inv(PRIOR.covariance) + torch.eye(2).double() / self.s**2
        covariance = torch.linalg.inv(precision)
        mean = covariance @ (torch.linalg.solve(PRIOR.covariance, PRIOR.mean) + self.y / self.s**2)
        return Gaussian(mean, (covariance + covariance.T) / 2)


@dataclass(frozen=True, eq=False)
class Uncentred:
    """A planted fault: the prior with another mean."""

    mean = torch.zeros(2).double()
    event_shape = (2,)

    def sample(self, n, *, rng=None):
        return PRIOR.sample(n, rng=rng)

    def log_prob(self, x):
        return PRIOR.log_prob(x)


TARGET = Posterior(torch.tensor([0.0, -1.0]).double(), 0.7)


@pytest.mark.parametrize("given", [True, False])
@pytest.mark.parametrize("most", [100, 2])
def test_exact_draws_stay_exact(keeps, given, most):
    """False alarms once in 1,000; also where chains give up early. A prior with a wrong mean is refused."""
    likelihood = TARGET.log_likelihood if given else None
    assert keeps(EllipticalSlice(Energy(TARGET), PRIOR, likelihood, most), TARGET.exact(), 3)
    assert not keeps(EllipticalSlice(Energy(TARGET), Uncentred(), likelihood, most), TARGET.exact(), 3)


def test_both_ways_to_the_likelihood_are_one():
    """A constant in the target does not matter, and each state's log_prob is where it is."""
    x, ends = PRIOR.sample(50, rng=1), []
    for likelihood in (None, TARGET.log_likelihood):
        kernel, noise = EllipticalSlice(Energy(TARGET), PRIOR, likelihood), Noise(Rng(2), 50)
        state = kernel.begin(x)
        for k in range(5):
            state, move = kernel(state, noise.at(k))
            assert bool(move.accepted.all())
        ends.append(state)
        assert torch.allclose(state.log_prob, kernel.begin(state.x).log_prob, atol=1e-10)
    assert torch.allclose(ends[0].x, ends[1].x, atol=1e-12)


def test_the_bracket_shrinks():
    """A likelihood as narrow as 1/300 of the ellipse is found in 2 log 300 = 11 trials or so, not in hundreds."""
    narrow = Posterior(torch.tensor([0.0, -1.0]).double(), 0.005)
    kernel = EllipticalSlice(Energy(narrow), PRIOR, most=1000)
    before, noise = None, Noise(Rng(3), 500)
    state = kernel.begin(narrow.exact().sample(500, rng=1))
    before = kernel.energy.densities
    for k in range(5):
        state, move = kernel(state, noise.at(k))
        assert 4 < float(move.leaps.double().mean()) < 25
        assert kernel.energy.densities - before == int(move.leaps.sum())
        before = kernel.energy.densities


def test_a_chain_that_finds_nothing_stays():
    narrow = Posterior(torch.tensor([0.0, -1.0]).double(), 0.005)
    kernel = EllipticalSlice(Energy(narrow), PRIOR, most=2)
    state = kernel.begin(narrow.exact().sample(200, rng=1))
    after, move = kernel(state, Noise(Rng(0), 200))
    assert 0 < int(move.accepted.sum()) < 100
    assert torch.equal(after.x[~move.accepted], state.x[~move.accepted])
    assert torch.equal(move.probability, move.accepted.double())


def test_chains_are_the_same_beside_others(same_beside):
    assert same_beside(EllipticalSlice(Energy(TARGET), PRIOR), PRIOR.sample(7, rng=0))


def test_what_is_wrong_is_told():
    with pytest.raises(BadInput, match="give 1 or more"):
        EllipticalSlice(Energy(TARGET), PRIOR, most=0)
    kernel = EllipticalSlice(Energy(TARGET), PRIOR, lambda x: torch.full((len(x),), math.nan))
    with pytest.raises(BadDensity, match="NaN in chain 0"):
        kernel.begin(torch.zeros(2, 2).double())
