"""The annealed path: its energy and gradient, what is read off a state, and how evaluations are counted."""

import math

import pytest
import torch

from driftback.distributions import Gaussian, IsotropicGaussian
from driftback.errors import BadInput
from driftback.randomness import Rng
from driftback.samplers.markov import Hamiltonian, Noise, State
from driftback.samplers.markov.path import Path

REFERENCE = Gaussian(torch.tensor([0.5, -1.0]).double(), torch.tensor([[2.0, 0.3], [0.3, 1.0]]).double())


class Wells:
    event_shape = (2,)

    def log_prob(self, x):
        return (-(x**4) + 3 * x**2).sum(1)


class Half(Wells):
    def log_prob(self, x):
        return torch.where(x[:, 0] > 0, super().log_prob(x), -torch.inf)


@pytest.fixture
def x():
    return 2 * Rng(0).normal((7, 2), dtype=torch.float64)


@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0, torch.linspace(0, 1, 7, dtype=torch.float64)])
def test_energy_is_the_mixture_and_its_gradient(x, beta):
    leaf = x.clone().requires_grad_()
    value = (1 - torch.as_tensor(beta)) * REFERENCE.log_prob(leaf) + torch.as_tensor(beta) * Wells().log_prob(leaf)
    (slope,) = torch.autograd.grad(value.sum(), leaf)
    energy = Path(REFERENCE, Wells()).at(beta)
    got, gradient = energy.slope(x)
    assert torch.allclose(got, value, atol=1e-12)
    assert torch.allclose(energy.value(x), value, atol=1e-12)
    assert torch.allclose(gradient, slope, atol=1e-12)


def test_gain_and_other_temperatures_are_read_off_a_moved_state(x):
    """After moves at b = .01, u and p_b' without an evaluation of the target."""
    path = Path(REFERENCE, Wells())
    kernel = Hamiltonian(path.at(0.01), torch.tensor(0.3).double(), length=1.0)
    state, noise = kernel.begin(x), Noise(Rng(1), 7)
    for k in range(3):
        state, _ = kernel(state, noise.at(k))
    before = path.energy.densities
    gain, shifted = path.gain(state, 0.01), path.shifted(state, 0.01, 0.7)
    assert path.energy.densities == before
    assert torch.allclose(gain, Wells().log_prob(state.x) - REFERENCE.log_prob(state.x), atol=1e-9)
    fresh = path.at(0.7).state(state.x, sloped=True)
    assert torch.allclose(shifted.log_prob, fresh.log_prob, atol=1e-9)
    assert torch.allclose(shifted.gradient, fresh.gradient, atol=1e-9)
    bare = path.shifted(State(state.x, state.log_prob), 0.01, 0.7)
    assert bare.gradient is None
    assert torch.equal(bare.log_prob, shifted.log_prob)


def test_outside_of_the_support_stays_outside(x):
    path = Path(REFERENCE, Half())
    state = path.at(1.0).state(x, sloped=True)
    out = x[:, 0] <= 0
    assert 0 < out.sum() < 7
    assert torch.equal(path.gain(state, 1.0) == -torch.inf, out)
    assert torch.equal(path.shifted(state, 1.0, 0.2).log_prob == -torch.inf, out)
    assert torch.equal(path.at(0.2).value(x) == -torch.inf, out)
    assert bool(path.shifted(state, 1.0, 0.2).gradient.isfinite().all())


def test_only_the_target_is_counted(x):
    path = Path(REFERENCE, Wells())
    path.at(0.2).value(x)
    path.at(0.5).slope(x)
    assert (path.energy.densities, path.energy.gradients) == (14, 7)
    path.at(0.5).lenient = True
    assert path.energy.lenient
    assert path.at(0.1).lenient


def test_bad_paths_are_refused():
    with pytest.raises(BadInput, match="from 0 to 1"):
        Path(REFERENCE, Wells()).at(1.5)
    with pytest.raises(BadInput, match="shape"):
        Path(IsotropicGaussian((3,)), Wells())
    assert math.isclose(float(Path(REFERENCE, Wells()).at(0.25).beta), 0.25)
