"""Gibbs steps leave p invariant, state by state; one that looks at an old value does not."""

import itertools
import math

import pytest
import torch

from driftback.distributions import Gaussian, IsotropicGaussian
from driftback.errors import BadInput
from driftback.randomness import Rng, as_rng
from driftback.samplers.markov import BadDensity, Energy, Gibbs, Noise

D = 3
STATES = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=D))).double()


class Spins:
    """exp of a cubic on {-1, 1}^3. Draws follow a list of choices, and their probabilities are multiplied."""

    event_shape = (D,)

    def __init__(self):
        self.choices, self.chance = [], None

    def log_prob(self, x):
        return 0.7 * x[:, 0] * x[:, 1] - 0.4 * x[:, 1] * x[:, 2] + 0.3 * x.prod(1) + 0.5 * x[:, 0]

    def conditional(self, x, i, *, rng=None):
        up, down = x.clone(), x.clone()
        up[:, i], down[:, i] = 1, -1
        p = torch.sigmoid(self.log_prob(up) - self.log_prob(down))
        value = self.choices.pop(0)
        self.chance = self.chance * (p if value > 0 else 1 - p)
        return torch.full((len(x),), value).double()


class Old(Spins):
    """A planted fault: all updates of a sweep look at where it began."""

    start = STATES

    def conditional(self, x, i, *, rng=None):
        return super().conditional(self.start, i, rng=rng)


def transition(target, told, **how):
    """P (8, 8), by all choices that the updates can make."""
    kernel = Gibbs(Energy(target), **how)
    state = kernel.begin(STATES)
    p = torch.zeros(len(STATES), len(STATES)).double()
    for choices in itertools.product((-1.0, 1.0), repeat=how.get("updates", D)):
        target.choices, target.chance = list(choices), torch.ones(len(STATES)).double()
        after, move = kernel(state, Noise(Rng(0), len(STATES)))
        assert bool(move.accepted.all())
        assert torch.allclose(after.log_prob, target.log_prob(after.x))
        column = ((after.x > 0) * torch.tensor([4, 2, 1])).sum(1)
        p[torch.arange(len(STATES)), column] += target.chance
    return p


@pytest.mark.parametrize("how", [{}, {"random": True}, {"updates": 1}, {"random": True, "updates": 4}])
def test_p_is_invariant(told, how):
    """pi P = pi to 1e-12, for each order."""
    pi = Spins().log_prob(STATES).softmax(0)
    p = transition(Spins(), told, **how)
    assert torch.allclose(p.sum(1), torch.ones(8).double(), atol=1e-12)
    assert float((pi @ p - pi).abs().max()) < 1e-12


def test_old_values_are_refused(told):
    pi = Spins().log_prob(STATES).softmax(0)
    assert float((pi @ transition(Old(), told) - pi).abs().max()) > 1e-3


COVARIANCE = torch.tensor([[1.0, 0.8, 0.1], [0.8, 2.0, -0.4], [0.1, -0.4, 0.7]]).double()
TARGET = Gaussian(torch.tensor([1.0, 0.0, -1.0]).double(), COVARIANCE)


class Conditionals:
    """A Gaussian's; with a fault their deviation is a variance."""

    event_shape = (3,)

    def __init__(self, power=0.5):
        self.power, self.precision = power, torch.linalg.inv(COVARIANCE)

    def log_prob(self, x):
        return TARGET.log_prob(x)

    def conditional(self, x, i, *, rng=None):
        apart, row = x - TARGET.mean, self.precision[i]
        mean = TARGET.mean[i] - (apart @ row - apart[:, i] * row[i]) / row[i]
        return mean + row[i] ** -self.power * as_rng(rng).normal((len(x),), dtype=torch.float64)

    def pair(self, x, *, rng):
        """Coordinates 0 and 1 given 2, in place."""
        c, m = COVARIANCE, TARGET.mean
        mean = m[:2] + (x[:, 2:] - m[2]) * c[:2, 2] / c[2, 2]
        law = Gaussian(torch.zeros(2).double(), c[:2, :2] - c[:2, 2:] @ c[2:, :2] / c[2, 2])
        x[:, :2] = mean + law.sample(len(x), rng=rng)
        return x

    def last(self, x, *, rng):
        return torch.cat([x[:, :2], self.conditional(x, 2, rng=rng)[:, None]], 1)


@pytest.mark.parametrize("random", [False, True])
def test_exact_draws_stay_exact(keeps, random):
    """A false alarm once in 1,000. A deviation that is a variance is refused."""
    assert keeps(Gibbs(Energy(Conditionals()), random=random), TARGET, 3)
    assert not keeps(Gibbs(Energy(Conditionals(1.0)), random=random), TARGET, 3)


def test_blocks_of_ones_own(keeps, same_beside):
    target = Conditionals()
    kernel = Gibbs(Energy(target), [target.pair, target.last])
    assert keeps(kernel, TARGET, 2)
    x = TARGET.sample(7, rng=0)
    kept = x.clone()
    assert same_beside(kernel, x)
    assert same_beside(Gibbs(Energy(target), random=True), x)
    assert torch.equal(x, kept)


def test_from_anywhere_to_the_law():
    """200 sweeps of 2,000 chains: mean and covariance within 4.5 standard errors (a false alarm in 10,000 or so)."""
    kernel, noise = Gibbs(Energy(Conditionals())), Noise(Rng(1), 2000)
    state = kernel.begin(torch.full((2000, 3), 9.0).double())
    for k in range(60):
        state, _ = kernel(state, noise.at(k))
    assert kernel.energy.densities == 2000 * 61
    error = (state.x.mean(0) - TARGET.mean) / (COVARIANCE.diagonal() / 2000).sqrt()
    assert float(error.abs().max()) < 4.5
    assert torch.allclose(torch.cov(state.x.T), COVARIANCE, atol=0.3)


def test_what_is_wrong_is_told():
    class Wide(Conditionals):
        def conditional(self, x, i, *, rng=None):
            return x

    class Out(Conditionals):
        def log_prob(self, x):
            return torch.where(x[:, 0] == 5, 0.0, -math.inf).double()

    x = torch.full((2, 3), 5.0).double()
    with pytest.raises(BadInput, match="give blocks"):
        Gibbs(Energy(IsotropicGaussian((3,)))).begin(x)
    with pytest.raises(BadInput, match="give 1 or more"):
        Gibbs(Energy(Conditionals()), updates=0).begin(x)
    with pytest.raises(BadInput, match="one number per chain"):
        Gibbs(Energy(Wide()))(Gibbs(Energy(Wide())).begin(x), Noise(Rng(0), 2))
    with pytest.raises(BadDensity, match="out of the support"):
        Gibbs(Energy(Out()))(Gibbs(Energy(Out())).begin(x), Noise(Rng(0), 2))
    with pytest.raises(BadInput, match="keep the shape"):
        Gibbs(Energy(Conditionals()), [lambda x, rng: x[:, :2]])(
            Gibbs(Energy(Conditionals())).begin(x), Noise(Rng(0), 2)
        )
