"""Rules for an SDE in t, written out: at which time each coefficient is read, and on which noise the stages stand."""

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
import torch

from driftback.distributions import Mixture
from driftback.processes import SCHEDULES, Diffusion, Reverse
from driftback.samplers import EulerMaruyama, Multistep, SingleStep, StochasticHeun, last, log_snr
from driftback.samplers.euler_maruyama import path
from driftback.scores.denoiser import Denoiser
from driftback.scores.exact import ExactDenoiser


@dataclass(frozen=True)
class Driven:
    """dx = -(1 + t) x dt + (2 - t) dW: both coefficients know the time."""

    def drift(self, x, t):
        return -(1 + t) * x

    def diffusion(self, t):
        return 2 - t


GRIDS = {"forward": [0.0, 0.1, 0.4, 0.5, 1.0], "back": [1.0, 0.7, 0.6, 0.2, 0.0]}


def euler_maruyama(x, t, s, z, late=0.0):
    read = t + late * (s - t)
    return x - (1 + t) * x * (s - t) + (2 - read) * math.sqrt(abs(s - t)) * z


def heun(x, t, s, z, late=0.0):
    kick = math.sqrt(abs(s - t)) * z
    slope = -(1 + t) * x
    ahead = x + slope * (s - t) + (2 - t) * kick
    return x + (slope - (1 + s - late * (s - t)) * ahead) / 2 * (s - t) + ((2 - t) + (2 - s)) / 2 * kick


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize(("kind", "rule"), [(EulerMaruyama, euler_maruyama), (StochasticHeun, heun)])
def test_the_rule_is_the_textbooks(kind, rule, grid):
    """Kloeden and Platen 1992, sections 10.2 and 15.1, on the sampler's own noise."""
    x = torch.tensor([[1.0, -2.0], [0.5, 3.0]], dtype=torch.float64)

    def walk(late):
        y, noises = x, path(x, GRIDS[grid], 3)
        for t, s in pairwise(GRIDS[grid]):
            y = rule(y, t, s, next(noises), late)
        return y

    out = last(kind(Driven())(x, torch.tensor(GRIDS[grid], dtype=torch.float64), rng=3)).x
    assert torch.allclose(out, walk(0.0), atol=1e-12)
    # A coefficient that is read at the other end of the step.
    assert not torch.allclose(out, walk(1.0), atol=1e-2)


def test_stochastic_heun_has_order_two_as_an_ode_rule():
    target = Mixture(torch.ones(1), torch.tensor([[0.5, -1.0]]), torch.tensor([[[0.2, 0.1], [0.1, 0.3]]]))
    denoiser = ExactDenoiser(Diffusion(SCHEDULES["vp"](), (2,)), target)
    x = denoiser.process.simple.sample(20, rng=0).double()

    def end(steps):
        times = torch.linspace(1, 0.2, steps + 1, dtype=torch.float64)
        return last(StochasticHeun(Reverse(denoiser.process, denoiser.score, noise=0.0))(x, times)).x

    truth = end(800)
    errors = [float((end(steps) - truth).norm(dim=1).mean()) for steps in (50, 100, 200)]
    assert -np.polyfit(np.log((50, 100, 200)), np.log(errors), 1)[0] == pytest.approx(2, abs=0.2)


class Point(Denoiser):
    """All data are the point 0.3, so that the form in D is exact for any number of steps."""

    process = Diffusion(SCHEDULES["vp"](), (2,))

    def denoised(self, x, t):
        return torch.full_like(x, 0.3)


@pytest.mark.parametrize("noise", [0.5, 1.0])
@pytest.mark.parametrize("order", [2, 3])
def test_the_stages_of_a_single_step_stand_on_its_path(order, noise):
    """Where each step is exact, 5 steps of `order` stages are 5 `order` steps of one stage, on the same noise."""
    x = Point.process.simple.sample(50, rng=0).double()

    def end(make, steps, seed=1):
        return last(make(log_snr(Point.process, steps, low=0.1, high=20.0, end=0.1), seed)).x

    stages = end(lambda times, seed: SingleStep(Point(), order, noise=noise)(x, times, rng=seed), 5)
    plain = end(lambda times, seed: Multistep(Point(), 1, noise=noise)(x, times, rng=seed), 5 * order)
    other = end(lambda times, seed: Multistep(Point(), 1, noise=noise)(x, times, rng=seed), 5 * order, seed=2)
    assert torch.allclose(stages, plain, atol=1e-5)
    assert not torch.allclose(other, plain, atol=1e-2)


@pytest.mark.parametrize("order", [2, 3])
def test_the_stages_of_a_single_step_are_equal_parts_of_log_r(order):
    asked = []

    class Watched(Point):
        def denoised(self, x, t):
            asked.append(float(t))
            return super().denoised(x, t)

    times = Point.process.time_of(torch.tensor([5.0, 0.5], dtype=torch.float64))
    last(SingleStep(Watched(), order)(torch.ones(2, 2, dtype=torch.float64), times))
    parts = np.arange(order) / order
    assert Point.process.ratio(torch.tensor(asked)).log().numpy() == pytest.approx(np.log(5) - parts * np.log(10))
    # Equal parts of r itself are other places.
    assert np.log(5 - parts * 4.5)[1:] != pytest.approx((np.log(5) - parts * np.log(10))[1:], rel=1e-2)


def test_an_item_whose_drift_is_not_finite_changes_no_other():
    class Blown:
        def drift(self, x, t):
            return torch.where(x.abs() > 5, math.inf, 1.0) * x

        def diffusion(self, t):
            return torch.ones_like(t)

    times = torch.linspace(0, 0.3, 4, dtype=torch.float64)
    alone = last(StochasticHeun(Blown())(torch.ones(1, 2), times, rng=1)).x
    beside = last(StochasticHeun(Blown())(torch.tensor([[1.0, 1.0], [9.0, 9.0]]), times, rng=1)).x
    assert torch.equal(alone[0], beside[0])
    assert not bool(torch.isfinite(beside[1]).all())
