"""The reverse SDE on Gaussian data, where the law of every discretised step is known in closed form.

With g = 1, data N(0, s^2) and noise variance tau left, one step h of Euler-Maruyama with noise eta maps the variance
v -> (1 - (1 + eta^2)/2 h / (s^2 + tau))^2 v + eta^2 h. A simulator has to agree within 4 standard errors of
sqrt(2 / n) v: a false alarm once in 16,000. The check is then turned on reverse SDEs with planted faults.
"""

import functools
import math
from dataclasses import dataclass
from itertools import pairwise

import pytest
import torch

from driftback.distributions import IsotropicGaussian
from driftback.errors import BadInput
from driftback.processes import SCHEDULES, Diffusion, Reverse
from driftback.samplers import EulerMaruyama, last

S2, END, ITEMS, NUMBERS = 0.25, 25.0, 64, 400
"""A few items of many independent numbers: noise for them is quick to make."""


@dataclass(frozen=True)
class Brownian:
    """alpha = 1, sigma^2 = 25 t: plain noise, g = 5 on this clock and 1 on tau = 25 t."""

    def alpha(self, t):
        return torch.ones_like(t)

    def sigma(self, t):
        return (END * t).sqrt()

    def time_of(self, ratio):
        return ratio**2 / END


PROCESS = Diffusion(Brownian(), (NUMBERS,))


def score(x, t):
    return -x / (S2 + END * t)


def uniform_grid(steps):
    return torch.linspace(1, 0, steps + 1, dtype=torch.float64)


def geometric_grid(steps):
    """Noise that is left falls by equal factors from 25 to 1e-3, and then to 0."""
    tau = torch.logspace(math.log10(END), -3, steps, dtype=torch.float64)
    return torch.cat([tau, torch.zeros(1)]) / END


@functools.cache
def exact_variance(eta, grid, steps):
    v = S2 + END
    tau = (END * grid(steps)).tolist()
    for now, then in pairwise(tau):
        h = now - then
        v = (1 - (1 + eta**2) / 2 * h / (S2 + now)) ** 2 * v + eta**2 * h
    return v


def agrees(sde, eta, steps=100, grid=uniform_grid):
    """Whether the way back along `sde` ends with the exact variance of its discretisation."""
    x = IsotropicGaussian((NUMBERS,), math.sqrt(S2 + END), dtype=torch.float64).sample(ITEMS, rng=1)
    x = last(EulerMaruyama(sde)(x, grid(steps), rng=2)).x
    expected = exact_variance(eta, grid, steps)
    return abs(float(x.square().mean()) / expected - 1) < 4 * math.sqrt(2 / x.numel())


@pytest.mark.parametrize(
    ("grid", "steps", "printed"),
    [(uniform_grid, 100, 1.645), (uniform_grid, 1000, 1.0517), (uniform_grid, 10_000, 1.0050)],
)
def test_the_recursion_gives_the_known_numbers(grid, steps, printed):
    assert exact_variance(1.0, grid, steps) / S2 == pytest.approx(printed, abs=6e-4)


def test_the_rule_has_weak_order_one():
    """The variance's error halves with the step, for every share of noise."""
    for eta in (0.0, 0.5, 1.0, 2.0):
        errors = [abs(exact_variance(eta, uniform_grid, steps) - S2) for steps in (2000, 4000, 8000)]
        assert errors[0] / errors[1] == pytest.approx(2, abs=0.15)
        assert errors[1] / errors[2] == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("grid", [uniform_grid, geometric_grid])
def test_every_share_of_noise_keeps_the_law(eta, grid):
    assert agrees(Reverse(PROCESS, score, eta), eta, grid=grid)


def test_many_steps_come_close_to_the_data():
    """1,000 uniform steps: the discretisation itself is 5 % off, as printed, and the simulator agrees with it."""
    assert agrees(Reverse(PROCESS, score), 1.0, steps=1000)


@dataclass(frozen=True)
class FaultyDrift:
    """A reverse SDE whose drift is multiplied by `factor`."""

    factor: float
    noise: float

    def drift(self, x, t):
        return self.factor * Reverse(PROCESS, score, self.noise).drift(x, t)

    def diffusion(self, t):
        return Reverse(PROCESS, score, self.noise).diffusion(t)


@dataclass(frozen=True)
class FaultyNoise:
    """A reverse SDE whose noise grows with the time step, without the square root."""

    noise: float
    step: float

    def drift(self, x, t):
        return Reverse(PROCESS, score, self.noise).drift(x, t)

    def diffusion(self, t):
        return Reverse(PROCESS, score, self.noise).diffusion(t) * math.sqrt(self.step)


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("factor", [2.0, 0.5, -1.0])
def test_a_wrong_reverse_drift_is_rejected(eta, factor):
    assert agrees(FaultyDrift(1.0, eta), eta)
    assert not agrees(FaultyDrift(factor, eta), eta)


@pytest.mark.parametrize("eta", [0.5, 1.0, 2.0])
def test_noise_without_the_square_root_of_the_step_is_rejected(eta):
    assert agrees(FaultyNoise(eta, 1.0), eta)
    assert not agrees(FaultyNoise(eta, 1 / 100), eta)


@pytest.mark.parametrize("name", ["vp", "sub-vp", "ve", "edm"])
def test_the_way_forward_ends_in_the_forward_law(name):
    """400 steps from one point: mean and deviation of 25,600 numbers, within 4 SE and the rule's own 1 %."""
    process = Diffusion(SCHEDULES[name](), (NUMBERS,))
    start, t = 0.01, 0.5
    x0 = torch.full((ITEMS, NUMBERS), 1.5, dtype=torch.float64)
    x = process.forward(x0, start, rng=1)
    x = last(EulerMaruyama(process)(x, torch.linspace(start, t, 401, dtype=torch.float64), rng=2)).x
    mean, deviation = 1.5 * float(process.alpha(t)), float(process.sigma(t))

    def near(mean, deviation):
        right_mean = abs(float(x.mean()) - mean) < deviation * (4 / math.sqrt(x.numel()) + 0.01)
        return right_mean and abs(float(x.std()) / deviation - 1) < 4 / math.sqrt(2 * x.numel()) + 0.01

    assert near(mean, deviation)
    assert not near(mean, 1.05 * deviation)
    assert not near(mean + 0.1 * deviation, deviation)


def test_a_singular_start_is_refused_by_name():
    process = Diffusion(SCHEDULES["straight"](), (2,))
    with pytest.raises(BadInput, match="singular at t = 1"):
        last(EulerMaruyama(Reverse(process, score))(torch.ones(2, 2), torch.tensor([1.0, 0.5]), rng=0))
