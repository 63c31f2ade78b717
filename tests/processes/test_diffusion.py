"""The diffusion: its forward law, the bridge back, and where to start from, for every schedule."""

import math

import pytest
import torch
from scipy import stats

from driftback.errors import BadInput
from driftback.processes import SCHEDULES, SDE, Diffusion, Process, SolvedSchedule
from driftback.randomness import Rng

PAIRS = [(1.0, 0.0), (1.0, 0.6), (0.7, 0.3), (0.5, 0.5 - 1e-6), (0.02, 0.01), (1e-3, 0.0)]
ALL = {**SCHEDULES, "solved": lambda: SolvedSchedule(lambda t: -(1 + t) / 2, lambda t: 1 + 4 * t)}


@pytest.fixture(params=ALL)
def process(request):
    return Diffusion(ALL[request.param](), (2, 3))


def test_a_diffusion_is_a_process_and_an_sde(process):
    assert isinstance(process, Process)
    assert isinstance(process, SDE)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shapes_and_types_are_kept(process, dtype):
    x = torch.ones(4, 2, 3, dtype=dtype)
    t = torch.tensor([0.1, 0.2, 0.5, 0.9])
    for moved in (process.forward(x, t, rng=0), process.bridge(x, x, t, t / 2, rng=0), process.drift(x, t)):
        assert moved.shape == x.shape
        assert moved.dtype == dtype
    for coefficient in (process.alpha(t), process.sigma(t), process.diffusion(t), process.rate(t), *process.slopes(t)):
        assert coefficient.dtype == torch.float64
        assert coefficient.shape == (4,)


def test_items_do_not_depend_on_the_batch(process):
    x = torch.arange(60.0).reshape(10, 2, 3)
    whole = process.forward(x, 0.5, rng=7)
    assert torch.equal(process.forward(x[:3], 0.5, rng=7), whole[:3])
    assert torch.equal(process.forward(x[4:], 0.5, rng=Rng(7).item(4)), whole[4:])


def test_the_forward_law_is_the_closed_form(process):
    """Kolmogorov-Smirnov on 6,000 numbers a time: a false alarm once in 10,000 each; 20 % more noise is refused."""
    x0 = torch.full((1000, 2, 3), 1.5, dtype=torch.float64)
    for k, t in enumerate((0.01, 0.4, 1.0)):
        x = process.forward(x0, t, rng=Rng(2).child(k)).flatten().numpy()
        alpha, sigma = float(process.alpha(t)), float(process.sigma(t))
        assert stats.kstest(x, stats.norm(1.5 * alpha, sigma).cdf).pvalue > 1e-4
        assert stats.kstest(x, stats.norm(1.5 * alpha, 1.2 * sigma).cdf).pvalue < 1e-4
        assert stats.kstest(x, stats.norm(1.5 * alpha + 0.1 * sigma, sigma).cdf).pvalue < 1e-4


def joint_moments(process, t, s, x0):
    """Mean of x_s, its variance, and its covariance with x_t given x_0, through the bridge: E and Var over x_t."""
    alpha_t, sigma_t = process.alpha(t), process.sigma(t)
    at = [process.bridge_moments(x0, torch.full_like(x0, c), t, s) for c in (0.0, 1.0)]
    intercept, slope, deviation = at[0][0], at[1][0] - at[0][0], at[0][1]
    mean = intercept + slope * alpha_t * x0
    return mean, slope**2 * sigma_t**2 + deviation**2, slope * sigma_t**2


@pytest.mark.parametrize(("t", "s"), PAIRS)
def test_the_bridge_leads_to_the_forward_law(process, t, s):
    """Exact algebra: mean alpha_s x_0, variance sigma_s^2, and covariance with x_t (alpha_t / alpha_s) sigma_s^2."""
    x0 = torch.tensor([[1.5]], dtype=torch.float64)
    mean, variance, covariance = joint_moments(process, t, s, x0)
    alpha_s, var_s, var_t = process.alpha(s), process.sigma(s) ** 2, process.sigma(t) ** 2
    assert torch.allclose(mean, alpha_s * x0, atol=1e-12)
    assert torch.allclose(variance, var_s, rtol=1e-9, atol=1e-14 * var_t.item())
    assert torch.allclose(covariance, process.alpha(t) / alpha_s * var_s, rtol=1e-9, atol=1e-14)


def test_a_bridge_without_its_root_is_refused(process):
    """The planted fault: a variance where the standard deviation belongs breaks the forward law."""
    x0 = torch.tensor([[1.5]], dtype=torch.float64)
    _, variance, _ = joint_moments(process, 0.7, 0.3, x0)
    deviation = process.bridge_moments(x0, x0, 0.7, 0.3)[1]
    faulty = variance - deviation**2 + deviation**4
    assert not torch.allclose(faulty, process.sigma(0.3) ** 2, rtol=1e-6)


def test_a_bridge_draws_what_its_moments_say(process):
    """6,000 numbers, Kolmogorov-Smirnov, a false alarm once in 10,000."""
    x0, x_t = torch.full((1000, 2, 3), 0.5, dtype=torch.float64), torch.full((1000, 2, 3), -1.0, dtype=torch.float64)
    mean, deviation = process.bridge_moments(x0, x_t, 0.7, 0.3)
    x = (process.bridge(x0, x_t, 0.7, 0.3, rng=3) - mean).flatten().numpy()
    assert stats.kstest(x, stats.norm(0, float(deviation)).cdf).pvalue > 1e-4
    assert stats.kstest(x, stats.norm(0, 1.2 * float(deviation)).cdf).pvalue < 1e-4


def test_the_simple_distribution_has_the_moments_of_the_end(process):
    spread = 2.0
    wide = Diffusion(process.schedule, process.event_shape, spread)
    for t in (0.3, 1.0):
        variance = float(wide.alpha(t) ** 2 * spread**2 + wide.sigma(t) ** 2)
        assert wide.simple_at(t).deviation == pytest.approx(math.sqrt(variance), rel=1e-12)
    assert wide.simple.event_shape == (2, 3)
    assert wide.simple == wide.simple_at(1.0)


def test_slopes_are_derivatives(process):
    t, h = torch.tensor([0.1, 0.4, 0.8], dtype=torch.float64), 1e-6
    for slope, coefficient in zip(process.slopes(t), (process.alpha, process.sigma), strict=True):
        assert torch.allclose(slope, (coefficient(t + h) - coefficient(t - h)) / (2 * h), rtol=1e-6, atol=1e-7)


def test_a_bridge_into_the_future_is_refused(process):
    with pytest.raises(BadInput, match="s below t"):
        process.bridge(torch.zeros(2, 2), torch.ones(2, 2), 0.3, 0.7, rng=0)
