"""DDPM's chain: Ho et al.'s betas to a schedule and back, and their posterior as the bridge of the same diffusion."""

import math

import pytest
import torch

from driftback.errors import BadInput
from driftback.processes import SCHEDULES, VP, Diffusion, DiscreteChain, betas_of, linear_betas

T = 1000


@pytest.fixture
def kept():
    """Ho et al.'s alpha-bar, with abar_0 = 1, by the product of the paper."""
    return torch.cat([torch.ones(1, dtype=torch.float64), (1 - linear_betas()).cumprod(0)])


def test_the_betas_are_the_papers():
    betas = linear_betas()
    assert betas.shape == (T,)
    assert betas[0] == 1e-4
    assert betas[-1] == pytest.approx(0.02, abs=1e-16)


def test_the_schedule_meets_every_step_of_the_chain(kept):
    chain = DiscreteChain(linear_betas())
    t = torch.arange(T + 1, dtype=torch.float64) / T
    assert torch.allclose(chain.alpha(t) ** 2, kept, rtol=1e-12)
    assert torch.allclose(chain.sigma(t) ** 2, 1 - kept, rtol=1e-10, atol=1e-15)
    assert torch.equal(chain.times, t.flip(0))
    # One step off is not the same chain.
    assert not torch.allclose(chain.alpha(t[1:]) ** 2, kept[:-1], rtol=1e-5)


def test_the_betas_come_back():
    betas = linear_betas()
    assert torch.allclose(betas_of(DiscreteChain(betas), T), betas, rtol=1e-11)


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_makes_a_chain_with_its_ratios(name):
    """Up to the last step where alpha(1) = 0, which the chain cuts short."""
    schedule = SCHEDULES[name]()
    betas = betas_of(schedule, 50)
    chain = DiscreteChain(betas)
    t = torch.arange(1, 50, dtype=torch.float64) / 50
    assert torch.allclose(chain.sigma(t) / chain.alpha(t), schedule.sigma(t) / schedule.alpha(t), rtol=1e-10)
    assert betas.max() <= 0.999


def test_many_steps_of_vp_are_hos_chain():
    """Song et al. 2021, appendix B: beta(t) = .1 + 19.9 t is T beta_k in the limit; at T = 1000 within 2 %
    after the first steps, where half a step counts."""
    assert torch.allclose(betas_of(VP(), T)[50:], linear_betas()[50:], rtol=0.02)
    assert not torch.allclose(betas_of(VP(high=21.0), T)[50:], linear_betas()[50:], rtol=0.02)


@pytest.mark.parametrize("k", [1, 2, 10, 500, 999, 1000])
def test_hos_posterior_is_the_bridge(k, kept):
    """Equation 7, with k - 1 primed: mean (sqrt(abar') beta x_0 + sqrt(1 - beta) (1 - abar') x_t) / (1 - abar)."""
    process = Diffusion(DiscreteChain(linear_betas()), (3,))
    x0, x_t = (
        torch.tensor([[0.3, -1.0, 2.0]], dtype=torch.float64),
        torch.tensor([[1.1, 0.2, -0.5]], dtype=torch.float64),
    )
    beta, now, before = linear_betas()[k - 1], kept[k], kept[k - 1]
    mean = (before.sqrt() * beta * x0 + (1 - beta).sqrt() * (1 - before) * x_t) / (1 - now)
    variance = (1 - before) / (1 - now) * beta
    ours, deviation = process.bridge_moments(x0, x_t, k / T, (k - 1) / T)
    assert torch.allclose(ours, mean, rtol=1e-12, atol=1e-12)
    assert torch.allclose(deviation**2, variance, rtol=1e-9, atol=1e-12)
    assert not torch.allclose(process.bridge_moments(x_t, x0, k / T, (k - 1) / T)[0], mean, rtol=1e-6)


def test_between_its_steps_the_chain_has_a_constant_rate():
    """beta(t) = -T log(1 - beta_k) inside step k, so the SDE's coefficients are finite and right."""
    betas = linear_betas(10, 0.01, 0.3)
    process = Diffusion(DiscreteChain(betas), (1,))
    middle = (torch.arange(10, dtype=torch.float64) + 0.5) / 10
    rate = -10 * torch.log1p(-betas)
    assert torch.allclose(process.diffusion(middle) ** 2, rate, rtol=1e-10)
    assert torch.allclose(process.rate(middle), -rate / 2, rtol=1e-10)


@pytest.mark.parametrize("t", [0.0, 1e-14, 1e-12])
def test_its_noise_begins_at_the_rate_of_the_first_step(t):
    """g^2 = -T log(1 - beta_1) from t = 0 on, where sigma itself has no slope."""
    chain = DiscreteChain(linear_betas())
    g2 = float(Diffusion(chain, (1,)).diffusion(t)) ** 2
    assert g2 == pytest.approx(-1000 * math.log1p(-1e-4), rel=1e-12)
    assert g2 != pytest.approx(-1000 * math.log1p(-1.1e-4), rel=1e-2)


@pytest.mark.parametrize("betas", [[0.1, 1.0], [0.0, 0.1], [], [[0.1]], [0.1, float("nan")]])
def test_betas_that_make_no_chain_are_refused(betas):
    with pytest.raises(BadInput, match="betas"):
        DiscreteChain(torch.tensor(betas))
