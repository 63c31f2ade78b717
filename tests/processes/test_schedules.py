"""Every schedule: one contract, and the closed forms of the papers."""

import math

import numpy as np
import pytest
import torch

from driftback.errors import BadInput
from driftback.processes import (
    EDM,
    SCHEDULES,
    VE,
    VP,
    Cosine,
    Diffusion,
    DiscreteChain,
    LogSNR,
    Schedule,
    SolvedSchedule,
    SubVP,
    linear_betas,
)

ALL = {
    **SCHEDULES,
    "ddpm": lambda: DiscreteChain(linear_betas(100, 1e-3, 0.2)),
    "solved": lambda: SolvedSchedule(lambda t: -(1 + t) / 2, lambda t: 1 + 4 * t),
}
TIMES = torch.tensor([1e-9, 1e-6, 1e-3, 0.01, 0.1, 0.3, 0.5, 0.77, 0.9, 0.999, 1 - 1e-9, 1.0], dtype=torch.float64)


@pytest.fixture(params=ALL)
def schedule(request):
    return ALL[request.param]()


def test_a_schedule_starts_at_data_and_loses_it(schedule):
    assert isinstance(schedule, Schedule)
    fine = torch.linspace(0, 1, 1001, dtype=torch.float64)
    alpha, sigma = schedule.alpha(fine), schedule.sigma(fine)
    assert alpha.dtype == sigma.dtype == torch.float64
    assert alpha[0] == 1
    assert sigma[0] <= 0.01
    assert ((alpha >= 0) & (alpha <= 1)).all()
    assert ((sigma / alpha).diff() > 0).all()


def test_the_ratio_is_a_clock(schedule):
    """time_of inverts sigma / alpha at both ends, where naive inverses lose their digits."""
    ratio = schedule.sigma(TIMES) / schedule.alpha(TIMES)
    assert torch.allclose(schedule.time_of(ratio), TIMES, rtol=1e-8, atol=1e-15)
    assert not torch.allclose(schedule.time_of(1.001 * ratio), TIMES, rtol=1e-8, atol=1e-15)


def test_a_schedule_keeps_the_shape_of_its_times(schedule):
    assert schedule.alpha(TIMES[3]).shape == schedule.sigma(TIMES[3]).shape == schedule.time_of(TIMES[3]).shape == ()


@pytest.mark.parametrize("name", ["cosine", "straight"])
def test_schedules_that_forget_everything_do_so_exactly(name):
    end = torch.ones((), dtype=torch.float64)
    schedule = ALL[name]()
    assert schedule.alpha(end) == 0
    assert schedule.sigma(end) == pytest.approx(1, abs=1e-15)
    assert schedule.time_of(torch.tensor(math.inf, dtype=torch.float64)) == pytest.approx(1, abs=1e-15)


def derived(schedule):
    """f(t) and g(t)^2, as a diffusion derives them from alpha and sigma."""
    diffusion = Diffusion(schedule, (1,))
    return diffusion.rate(TIMES), diffusion.diffusion(TIMES) ** 2


def test_vp_is_the_sde_with_rate_beta():
    """f = -beta / 2 and g^2 = beta (Song et al. 2021, equation 32)."""
    beta = 0.1 + 19.9 * TIMES
    rate, g2 = derived(VP())
    assert torch.allclose(rate, -beta / 2, rtol=1e-10)
    assert torch.allclose(g2, beta, rtol=1e-10)
    assert not torch.allclose(derived(VP(high=20.1))[1], beta, rtol=1e-10)
    assert Diffusion(VP(), (1,)).diffusion(0.0) ** 2 == pytest.approx(0.1, rel=1e-10)


def test_sub_vp_has_its_diffusion():
    """g^2 = beta (1 - exp(-2 int beta)) (Song et al. 2021, equation 28)."""
    beta, integral = 0.1 + 19.9 * TIMES, 0.1 * TIMES + 19.9 / 2 * TIMES**2
    rate, g2 = derived(SubVP())
    assert torch.allclose(rate, -beta / 2, rtol=1e-10)
    assert torch.allclose(g2, -beta * torch.expm1(-2 * integral), rtol=1e-10)
    assert not torch.allclose(g2, -beta * torch.expm1(-integral), rtol=1e-3)
    assert Diffusion(SubVP(), (1,)).diffusion(0.0) == pytest.approx(0, abs=1e-12)


def test_ve_has_its_diffusion():
    """g = sigma sqrt(2 log(high / low)), no drift (Song et al. 2021, equation 30)."""
    rate, g2 = derived(VE(0.02, 30.0))
    sigma = 0.02 * (30 / 0.02) ** TIMES
    assert torch.equal(rate, torch.zeros_like(TIMES))
    assert torch.allclose(g2, sigma**2 * 2 * math.log(30 / 0.02), rtol=1e-10)


def test_cosine_is_nichol_and_dhariwals():
    """alpha^2 = f(t) / f(0) with f = cos^2(pi/2 (t + s) / (1 + s)) (equation 17), and sigma^2 = 1 - alpha^2."""
    t = np.linspace(0.01, 0.99, 50)
    kept = np.cos(np.pi / 2 * (t + 0.008) / 1.008) ** 2 / np.cos(np.pi / 2 * 0.008 / 1.008) ** 2
    schedule = Cosine()
    assert schedule.alpha(torch.from_numpy(t)).numpy() ** 2 == pytest.approx(kept, rel=1e-10)
    assert schedule.sigma(torch.from_numpy(t)).numpy() ** 2 == pytest.approx(1 - kept, rel=1e-10)


def test_log_snr_is_linear_in_time():
    """gamma(t) = -13.3 + 18.3 t, and alpha^2 + sigma^2 = 1 up to the factor that makes alpha(0) = 1."""
    schedule, t = LogSNR(), TIMES[2:]
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    assert torch.allclose(-2 * torch.log(alpha / sigma), -13.3 + 18.3 * t, atol=1e-12)
    assert torch.allclose(alpha**2 + sigma**2, torch.full_like(t, 1 + math.exp(-13.3)), rtol=0, atol=1e-12)
    assert not torch.allclose(alpha**2 + sigma**2, torch.ones_like(t), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["edm", "straight", "cosine", "vdm"])
def test_g_is_the_growth_of_the_ratio(name):
    """g^2 = alpha^2 d(r^2)/dt for every schedule; here by central differences."""
    schedule = ALL[name]()
    t, h = TIMES[3:9], 1e-6
    squared = [(schedule.sigma(t + d) / schedule.alpha(t + d)) ** 2 for d in (h, -h)]
    slope = (squared[0] - squared[1]) / (2 * h)
    g2 = Diffusion(schedule, (1,)).diffusion(t) ** 2
    assert torch.allclose(g2, schedule.alpha(t) ** 2 * slope, rtol=1e-6)
    assert not torch.allclose(g2, slope / 2, rtol=1e-2)


@pytest.mark.parametrize(
    "make",
    [
        lambda: VP(-1, 2),
        lambda: VP(3, 2),
        lambda: SubVP(1, math.nan),
        lambda: VE(10, 1),
        lambda: EDM(0),
        lambda: EDM(math.nan),
        lambda: LogSNR(5.0, -13.3),
    ],
)
def test_numbers_that_make_no_schedule_are_refused(make):
    with pytest.raises(BadInput, match="low < high"):
        make()
