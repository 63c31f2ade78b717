"""Unadjusted Langevin moves have the variance of the closed form; heat widens it, and annealing finds the modes."""

import pytest
import torch

from driftback.distributions import IsotropicGaussian, Mixture
from driftback.errors import BadInput
from driftback.randomness import Rng
from driftback.samplers.markov import Diagonal, Energy, Langevin, Metropolis, Noise, UnadjustedLangevin, annealed, moves

N = 20_000


def settled(kernel, target, count):
    state = kernel.begin(target.sample(N, rng=1).double())
    *_, (end, _) = moves(kernel, state, Noise(Rng(0), N), count)
    return end


@pytest.mark.parametrize(("step", "temperature"), [(0.5, 1.0), (1.0, 1.0), (0.8, 2.5)])
def test_the_variance_is_the_closed_forms(step, temperature):
    """T s^2 / (1 - h^2 / 4 s^2) within 4 standard errors (a false alarm in 16,000); s^2 itself is refused."""
    s, metric = 1.7, Diagonal(torch.tensor([2.0, 1.7]).double())
    target = IsotropicGaussian((2,), s, dtype=torch.float64)
    kernel = UnadjustedLangevin(Energy(target), torch.tensor(step).double(), metric, temperature)
    state = settled(kernel, target, 60)
    h = step * metric.scale
    expected = temperature * s**2 / (1 - h**2 / (4 * s**2))
    error = (state.x.square().mean(0) / expected - 1) / (2 / N) ** 0.5
    assert float(error.abs().max()) < 4
    naive = (state.x.square().mean(0) / (temperature * s**2) - 1) / (2 / N) ** 0.5
    assert float(naive.abs().min()) > 4
    assert kernel.energy.gradients == N * 61


def test_a_step_is_that_of_the_proposal():
    target = IsotropicGaussian((3,), dtype=torch.float64)
    step, noise = torch.tensor(0.3).double(), Noise(Rng(3), 5)
    plain, checked = UnadjustedLangevin(Energy(target), step), Metropolis(Energy(target), Langevin(step))
    x = target.sample(5, rng=0)
    new, move = plain(plain.begin(x), noise)
    assert torch.equal(new.x, checked.proposal.propose(checked.begin(x), noise))
    assert bool(move.accepted.all())
    assert torch.allclose(new.log_prob, target.log_prob(new.x))


def test_annealing_finds_both_modes():
    """From one mode of two, cold moves stay there and annealed ones do not."""
    target = Mixture(torch.tensor([0.5, 0.5]), torch.tensor([[-4.0], [4.0]]), 0.5 * torch.ones(2, 1, 1))
    kernel, noise = UnadjustedLangevin(Energy(target), torch.tensor(0.4).double()), Noise(Rng(0), 400)
    start = kernel.begin(torch.full((400, 1), -4.0).double())
    *_, (state, _) = annealed(kernel, start, noise, [1.0], 200)
    assert float((state.x > 0).double().mean()) < 0.02
    frames = list(annealed(kernel, start, noise, [20.0, 8.0, 3.0, 1.0], 100))
    assert len(frames) == 400
    x = frames[-1][0].x
    assert 0.35 < float((x > 0).double().mean()) < 0.65
    assert float((x.abs() - 4).std()) < 1


def test_a_wall_holds():
    class Half:
        event_shape = (1,)

        def log_prob(self, x):
            return torch.where(x[:, 0] > 0, -x[:, 0], -torch.inf)

    kernel = UnadjustedLangevin(Energy(Half()), torch.tensor(1.0).double())
    state = kernel.begin(torch.full((200, 1), 0.3).double())
    after, move = kernel(state, Noise(Rng(0), 200))
    assert 0 < int(move.accepted.sum()) < 200
    assert torch.equal(after.x[~move.accepted], state.x[~move.accepted])


def test_chains_are_the_same_beside_others(same_beside):
    target = IsotropicGaussian((3,), dtype=torch.float64)
    assert same_beside(UnadjustedLangevin(Energy(target), torch.tensor(0.3).double()), target.sample(7, rng=0))


def test_what_is_wrong_is_told():
    kernel = UnadjustedLangevin(Energy(IsotropicGaussian((1,))), torch.tensor(0.3))
    with pytest.raises(BadInput, match="positive"):
        UnadjustedLangevin(kernel.energy, kernel.step, temperature=0.0)
    with pytest.raises(BadInput, match="at least 1"):
        next(annealed(kernel, kernel.begin(torch.zeros(2, 1)), Noise(Rng(0), 2), [], 3))
