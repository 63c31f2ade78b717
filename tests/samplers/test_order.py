"""Orders of convergence on the probability-flow ODE of a mixture, against scipy's integrator on the same velocity."""

import functools

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from driftback.distributions import Mixture
from driftback.processes import SCHEDULES, Diffusion, Reverse
from driftback.samplers import EulerMaruyama, Heun, euler, karras, last
from driftback.scores.exact import ExactDenoiser

TARGET = Mixture(
    torch.tensor([0.3, 0.7]),
    torch.tensor([[-1.0, 0.5], [1.0, -0.3]]),
    torch.tensor([[[0.09, 0.03], [0.03, 0.08]], [[0.25, 0.0], [0.0, 0.16]]]),
)
LOW, HIGH, STEPS = 0.05, 20.0, (30, 60, 120)


@functools.cache
def problem(name):
    """The denoiser, 30 points at the start, and where the ODE takes them, to 1e-9."""
    process = Diffusion(SCHEDULES[name](), (2,))
    denoiser = ExactDenoiser(process, TARGET)
    ends = grid(process, 1)
    x = TARGET.noised(float(process.alpha(ends[0])), float(process.sigma(ends[0]))).sample(30, rng=0)

    def velocity(t, y):
        return denoiser.velocity(torch.from_numpy(y.reshape(-1, 2)), t).numpy().ravel()

    way = solve_ivp(velocity, ends.tolist(), x.numpy().ravel(), method="DOP853", rtol=1e-9, atol=1e-10)
    return denoiser, x, torch.from_numpy(way.y[:, -1].reshape(-1, 2))


def grid(process, steps):
    return karras(process, steps, low=LOW, high=HIGH, end=LOW)


def slope(make, name):
    """The least-squares slope of the logarithm of the error against that of the step."""
    denoiser, x, truth = problem(name)
    errors = [
        float((last(make(denoiser)(x, grid(denoiser.process, steps), rng=0)).x - truth).norm(dim=1).mean())
        for steps in STEPS
    ]
    return -np.polyfit(np.log(STEPS), np.log(errors), 1)[0]


@pytest.mark.parametrize("name", SCHEDULES)
def test_heun_has_order_two(name):
    assert slope(Heun, name) == pytest.approx(2, abs=0.25)


@pytest.mark.parametrize("name", SCHEDULES)
def test_euler_has_order_one(name):
    assert slope(euler, name) == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("name", ["vp", "straight"])
def test_the_probability_flow_by_eulers_rule_in_t_has_order_one(name):
    assert slope(lambda d: EulerMaruyama(Reverse(d.process, d.score, noise=0.0)), name) == pytest.approx(1, abs=0.2)


def test_a_wrong_drift_has_no_order():
    """The planted fault: a score 5 % too large converges, but not to the truth."""
    wrong = slope(lambda d: EulerMaruyama(Reverse(d.process, lambda x, t: 1.05 * d.score(x, t), noise=0.0)), "vp")
    assert wrong != pytest.approx(1, abs=0.2)


def test_heun_keeps_its_order_from_pure_noise():
    """Along straight lines from alpha = 0 in equal steps of t, where the first step's clock is infinite."""
    denoiser = ExactDenoiser(Diffusion(SCHEDULES["straight"](), (2,)), TARGET)
    x = denoiser.process.simple.sample(100, rng=0).double()

    def end(steps, **kept):
        return last(Heun(denoiser, **kept)(x, torch.linspace(1, 0, steps + 1, dtype=torch.float64), rng=0)).x

    truth = end(1000)

    def order(**kept):
        errors = [float((end(steps, **kept) - truth).norm(dim=1).mean()) for steps in STEPS]
        return -np.polyfit(np.log(STEPS), np.log(errors), 1)[0]

    assert order() == pytest.approx(2, abs=0.25)
    assert order(correct=False) == pytest.approx(1, abs=0.15)
