"""Annealed importance sampling: E[w] = Z for any rungs and moves, and with one rung it is importance sampling."""

import math

import pytest
import torch

from driftback.distributions import IsotropicGaussian
from driftback.errors import BadInput
from driftback.randomness import Rng
from driftback.samplers.frame import last
from driftback.samplers.markov import Hamiltonian, Langevin, Metropolis, Noise, RandomWalk, weights
from driftback.samplers.markov.annealed import Annealed
from driftback.samplers.markov.path import Path

STEP = torch.tensor(0.5).double()
KERNELS = {
    "walk": lambda energy: Metropolis(energy, RandomWalk(STEP)),
    "mala": lambda energy: Metropolis(energy, Langevin(STEP)),
    "hmc": lambda energy: Hamiltonian(energy, STEP, length=1.0),
}
RUNGS = torch.tensor([0.0, 0.1, 0.4, 1.0]).double()


class Narrow:
    """exp(-(x - 1)^2 / (2 .3^2)) in two dimensions: Z = 2 pi .3^2."""

    event_shape = (2,)
    z = 2 * math.pi * 0.09

    def log_prob(self, x):
        return -((x - 1) / 0.3).square().sum(1) / 2


def path(target=None):
    return Path(IsotropicGaussian((2,), 1.0, dtype=torch.float64), target or Narrow())


def unbiased(log_weights):
    """Whether the mean weight is Z within 4.5 SE: a false alarm once in 150,000."""
    w = log_weights.exp()
    return abs(float(w.mean()) - Narrow.z) < 4.5 * float(w.std()) / math.sqrt(len(w))


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_weights_are_unbiased(kernel):
    frame = last(Annealed(path(), kernel, RUNGS, moves=2, tuned=False)(20_000, rng=0))
    assert unbiased(frame.log_weights)
    assert weights.normaliser(frame.log_weights).error < 0.03


def test_weights_taken_after_the_move_are_refused():
    """The planted fault: u at the points that have moved to the new temperature already."""
    way, noise = path(), Noise(Rng(0).child("moves"), 20_000)
    state, now, log_weights = way.at(1.0).state(way.reference.sample(20_000, rng=1), sloped=True), 1.0, 0.0
    for k, (old, beta) in enumerate(zip(RUNGS.tolist()[:-1], RUNGS.tolist()[1:], strict=True)):
        state, now = way.shifted(state, now, beta), beta
        state, _ = KERNELS["mala"](way.at(beta))(state, noise.at(k))
        log_weights = log_weights + (beta - old) * way.gain(state, now)
    assert not unbiased(log_weights)


def test_one_rung_is_importance_sampling():
    way = path()
    first, end = list(Annealed(way, KERNELS["mala"], torch.tensor([0.0, 1.0]))(100, rng=0))
    assert torch.equal(first.x, end.x)
    assert torch.allclose(end.log_weights, Narrow().log_prob(end.x) - way.reference.log_prob(end.x), atol=1e-12)
    assert (way.energy.densities, end.evaluations, end.t) == (100, 1, 0.0)


def test_items_and_seeds():
    sampler = Annealed(path(), KERNELS["mala"], RUNGS, tuned=False)
    many, few = last(sampler(40, rng=3)), last(sampler(10, rng=3))
    assert torch.allclose(many.log_weights[:10], few.log_weights, atol=1e-12)
    again = last(Annealed(path(), KERNELS["mala"], RUNGS)(40, rng=3))
    assert torch.equal(again.x, last(Annealed(path(), KERNELS["mala"], RUNGS)(40, rng=3)).x)
    assert not torch.equal(again.x, many.x), "its step was tuned"


def test_bad_rungs_are_refused():
    for bad in ([0.0], [0.0, 0.5], [0.0, 0.5, 0.5, 1.0]):
        with pytest.raises(BadInput, match="rise from 0 to 1"):
            Annealed(path(), KERNELS["mala"], torch.tensor(bad))
