"""Flips leave p invariant on all 2^4 states, whatever site is proposed with what probability."""

import itertools
from dataclasses import replace

import pytest
import torch

from driftback.distributions.target import Problem
from driftback.errors import BadInput
from driftback.randomness import Rng
from driftback.samplers.markov import BadDensity, Energy, Flips, InformedFlips, Noise

D = 4
COUPLING = torch.tensor([[0.0, 0.9, -0.4, 0.2], [0, 0, 0.7, -0.3], [0, 0, 0, 0.5], [0, 0, 0, 0]]).double()
FIELD = torch.tensor([0.4, -0.3, 0.1, 0.6]).double()


class Spins:
    """A Boltzmann machine, and a cubic, on numbers that take the two values."""

    event_shape = (D,)

    def log_prob(self, x):
        return ((x @ COUPLING) * x).sum(1) + x @ FIELD + 0.5 * x[:, 0] * x[:, 1] * x[:, 3]

    def sample(self, n, *, rng=None):
        x = states((-1.0, 1.0))
        u = rng.uniform((n,), dtype=torch.float64)
        return x[torch.searchsorted(self.log_prob(x).softmax(0).cumsum(0)[:-1].contiguous(), u, right=True)]


class Telling(Spins):
    def __init__(self, values):
        self.values = values

    def flip_differences(self, x):
        out = torch.empty_like(x)
        for i in range(D):
            y = x.clone()
            y[:, i] = sum(self.values) - y[:, i]
            out[:, i] = self.log_prob(y) - self.log_prob(x)
        return out


def states(values):
    return torch.tensor(list(itertools.product(values, repeat=D))).double()


def transition(kernel, told, chances, values):
    """P (16, 16) from what the kernel makes of each site, proposed with the `chances` (16, 4)."""
    x, p = states(values), torch.zeros(16, 16).double()
    state, rows = kernel.begin(x), torch.arange(16)
    steps = torch.cat([torch.zeros(16, 1).double(), chances.cumsum(1)], 1)
    for site in range(D):
        for place in (1e-9, 1 - 1e-9):
            dice = torch.stack([steps[:, site] + place * chances[:, site], torch.zeros(16).double()], 1)
            after, move = kernel(state, told(16, {"flip": dice[:, None]}))
            # With a vanishing number each flip is accepted, and the site was the one that was meant.
            assert torch.equal((after.x != x).nonzero()[:, 1], torch.full((16,), site))
            assert torch.allclose(after.log_prob, kernel.energy.target.log_prob(after.x))
        there = ((after.x == values[1]) * torch.tensor([8, 4, 2, 1])).sum(1)
        p[rows, there] += chances[:, site] * move.probability
    p[rows, rows] += 1 - p.sum(1)
    return p


KERNELS = {
    "uniform": (Flips, Spins()),
    "guessed": (InformedFlips, Spins()),
    "exact": (InformedFlips, Telling((-1.0, 1.0))),
}


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("values", [(-1.0, 1.0), (0.0, 1.0)])
def test_p_is_invariant(told, name, values):
    """pi P = pi to 1e-12, and balance; without the proposals' ratio there is none."""
    make, target = KERNELS[name]
    target = Telling(values) if name == "exact" else target
    kernel = make(Energy(target), values)
    state = kernel.begin(states(values))
    chances = kernel.log_chances(state).exp() if make is InformedFlips else torch.full((16, D), 0.25).double()
    if name == "exact":
        assert torch.allclose(chances, (target.flip_differences(state.x) / 2).softmax(1))
    pi, p = target.log_prob(state.x).softmax(0), transition(kernel, told, chances, values)
    assert float(p.min()) >= -1e-15
    assert float((pi @ p - pi).abs().max()) < 1e-12
    flux = pi[:, None] * p
    assert float((flux - flux.T).abs().max()) < 1e-12
    # The planted fault: Metropolis' rule for a proposal that is not symmetric.
    wrong = chances.new_zeros(16, 16)
    for site in range(D):
        y = state.x.clone()
        y[:, site] = sum(values) - y[:, site]
        there = ((y == values[1]) * torch.tensor([8, 4, 2, 1])).sum(1)
        wrong[torch.arange(16), there] = chances[:, site] * (target.log_prob(y) - state.log_prob).clamp(max=0).exp()
    wrong[torch.arange(16), torch.arange(16)] += 1 - wrong.sum(1)
    assert (float((pi @ wrong - pi).abs().max()) > 1e-3) == (name != "uniform")


@pytest.mark.parametrize("name", KERNELS)
def test_exact_draws_stay_exact(keeps, same_beside, name):
    """A false alarm once in 1,000."""
    make, target = KERNELS[name]
    assert keeps(make(Energy(target), times=3), target, 2)
    assert same_beside(make(Energy(target), times=2), states((-1.0, 1.0))[3:10])


def test_evaluations_are_counted():
    target = Telling((-1.0, 1.0))
    x, noise = states((-1.0, 1.0)), Noise(Rng(0), 16)
    energy = Energy(Problem(target, "spins"))
    kernel = InformedFlips(energy, times=5)
    state = kernel.begin(x)
    before = energy.densities
    kernel(state, noise)
    assert (energy.densities - before, energy.gradients) == (80, 96)
    plain = Flips(Energy(target), times=5)
    plain(plain.begin(x), noise)
    assert (plain.energy.densities, plain.energy.gradients) == (96, 0)


def test_what_is_wrong_is_told():
    class Short(Spins):
        def flip_differences(self, x):
            return x[:, :2]

    for make in (Flips, InformedFlips):
        with pytest.raises(BadInput, match="want coordinates"):
            make(Energy(Spins())).begin(torch.zeros(2, D))
        with pytest.raises(BadInput, match="at least 1"):
            make(Energy(Spins()), times=0).begin(torch.ones(2, D))
    with pytest.raises(BadDensity, match="flip_differences gave"):
        InformedFlips(Energy(Short())).begin(torch.ones(2, D).double())
    kernel = InformedFlips(Energy(Spins()))
    state = replace(kernel.begin(torch.ones(2, D).double()), carried=None)
    with pytest.raises(BadInput, match="begin it"):
        kernel(state, Noise(Rng(0), 2))
