"""Heun against the paper's algorithm written out, Euler against DDIM, and what churn may and may not do."""

import math

import pytest
import torch

from driftback.distributions import Mixture
from driftback.errors import BadInput
from driftback.processes import SCHEDULES, Diffusion
from driftback.randomness import Rng
from driftback.samplers import Ancestral, Heun, euler, karras, last, log_snr
from driftback.samplers.levels import levels_of, step_noise
from driftback.scores.exact import ExactDenoiser

TARGET = Mixture(torch.tensor([0.4, 0.6]), torch.tensor([[-1.0, 0.5], [1.0, -0.3]]), 0.1 * torch.eye(2).expand(2, 2, 2))


def denoiser(name):
    return ExactDenoiser(Diffusion(SCHEDULES[name](), (2,)), TARGET)


def algorithm_two(denoise, x, sigmas, churn, low, high, noise, noises):
    """Karras et al. 2022, algorithm 2, line by line, with the standard normal `noises` of its steps."""
    steps = len(sigmas) - 1
    for i in range(steps):
        gamma = min(churn / steps, math.sqrt(2) - 1) if low <= sigmas[i] <= high else 0.0
        eps = noise * next(noises)
        raised = sigmas[i] + gamma * sigmas[i]
        x_hat = x + math.sqrt(raised**2 - sigmas[i] ** 2) * eps
        d = (x_hat - denoise(x_hat, raised)) / raised
        x = x_hat + (sigmas[i + 1] - raised) * d
        if sigmas[i + 1] != 0:
            d_next = (x - denoise(x, sigmas[i + 1])) / sigmas[i + 1]
            x = x_hat + (sigmas[i + 1] - raised) * (d + d_next) / 2
    return x


@pytest.mark.parametrize(
    "churn", [(0.0, 0.0, math.inf, 1.0), (3.0, 0.0, math.inf, 1.0), (10.0, 0.05, 20.0, 1.003), (100.0, 0.0, 40.0, 1.0)]
)
def test_heun_is_the_papers_algorithm(churn):
    edm = denoiser("edm")
    times = karras(edm.process, 12, high=50.0)
    x = 50 * Rng(0).normal((8, 2), dtype=torch.float64)
    noises = step_noise(levels_of(edm.process, times), x, Rng(1))
    expected = algorithm_two(lambda y, s: edm.denoised(y, s / 80), x, (80 * times).tolist(), *churn, noises)
    ours = last(Heun(edm, *churn)(x, times, rng=1)).x
    assert torch.allclose(ours, expected, rtol=1e-9, atol=1e-9)
    assert not torch.allclose(last(euler(edm)(x, times, rng=1)).x, expected, atol=1e-4)


def test_the_clock_makes_every_schedule_the_same():
    """On the same ratios and from the same x / alpha, all schedules take the same way: churn included."""
    ends = []
    for name in ("vp", "sub-vp", "cosine", "edm", "straight"):
        own = denoiser(name)
        times = log_snr(own.process, 10, low=0.01, high=20.0)
        start = 20 * float(own.process.alpha(times[0])) * Rng(0).normal((8, 2), dtype=torch.float64)
        ends.append(last(Heun(own, churn=3.0)(start, times, rng=1)).x)
    for end in ends[1:]:
        assert torch.allclose(end, ends[0], rtol=1e-7, atol=1e-8)
    assert not torch.allclose(ends[0], last(Heun(own)(start, times, rng=1)).x, atol=1e-3)


@pytest.mark.parametrize("name", SCHEDULES)
def test_ddim_is_euler_on_the_ratio(name):
    own = denoiser(name)
    times = torch.linspace(1, 0, 21, dtype=torch.float64)
    x = own.process.simple.sample(20, rng=0).double()
    ddim = last(Ancestral(own, eta=0.0)(x, times, rng=0)).x
    assert torch.allclose(ddim, last(euler(own)(x, times, rng=0)).x, rtol=1e-10, atol=1e-10)
    assert not torch.allclose(ddim, last(Heun(own)(x, times, rng=0)).x, atol=1e-5)


def test_the_last_step_lands_on_the_denoised_points():
    own = denoiser("vp")
    x = torch.randn(5, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    out = last(Heun(own)(x, torch.tensor([0.2, 0.0], dtype=torch.float64), rng=0))
    assert torch.allclose(out.x, own.denoised(x, 0.2), atol=1e-12)
    assert out.evaluations == 1


@pytest.mark.parametrize("name", ["straight", "cosine"])
def test_the_first_step_from_pure_noise_is_the_mean_of_both_ends(name):
    """d(x / sigma) / d(1 / r) = D from 1 / r = 0, by Heun's rule in the clock 1 / r."""
    own = denoiser(name)
    x = own.process.simple.sample(10, rng=0).double()
    s = 0.6
    alpha, sigma = float(own.process.alpha(s)), float(own.process.sigma(s))
    first = own.denoised(x, 1.0)
    second = own.denoised(sigma * x + alpha * first, s)
    out = last(Heun(own)(x, torch.tensor([1.0, s], dtype=torch.float64), rng=0)).x
    assert torch.allclose(out, sigma * (x + alpha / sigma * (first + second) / 2), atol=1e-12)
    assert not torch.allclose(out, sigma * (x + alpha / sigma * second), atol=1e-3)


def test_evaluations_are_counted():
    own, x = denoiser("vp"), torch.zeros(2, 2)
    times = karras(own.process, 10)
    assert last(Heun(own)(x, times, rng=0)).evaluations == 19
    assert last(euler(own)(x, times, rng=0)).evaluations == 10


def test_churn_never_leaves_the_process():
    """At the largest noise of the process there is nothing to raise it to, and just below it is cut there."""
    asked = []

    class Watched(ExactDenoiser):
        def denoised(self, x, t):
            asked.append(float(t))
            return super().denoised(x, t)

    for name in SCHEDULES:
        watched = Watched(Diffusion(SCHEDULES[name](), (2,)), TARGET)
        out = last(Heun(watched, churn=1e6)(torch.ones(2, 2), torch.linspace(1, 0, 9, dtype=torch.float64), rng=0)).x
        assert torch.isfinite(out).all()
    assert max(asked) <= 1


def test_negative_churn_is_refused():
    with pytest.raises(BadInput, match="0 turns churn off"):
        Heun(denoiser("vp"), churn=-1.0)
