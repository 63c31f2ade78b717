"""Grids: float64, decreasing, as many steps as asked for, ending where they say, for every schedule."""

import math

import pytest
import torch

from driftback.errors import BadInput
from driftback.processes import SCHEDULES, VE, Diffusion, DiscreteChain, linear_betas
from driftback.samplers import GRIDS, cosine, karras, log_snr, uniform

ALL = {**SCHEDULES, "ddpm": lambda: DiscreteChain(linear_betas())}


@pytest.fixture(params=ALL)
def process(request):
    return Diffusion(ALL[request.param](), (2,))


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("steps", [1, 2, 18, 100])
def test_a_grid_leads_from_noise_to_data(process, name, steps):
    times = GRIDS[name](process, steps)
    assert times.dtype == torch.float64
    assert times.shape == (steps + 1,)
    assert (times.diff() < 0).all()
    assert times[0] <= 1
    assert times[-1] == 0


def test_karras_is_the_papers_grid():
    """Table 1 and equation 5 of Karras et al. 2022, with sigma = 80 t."""
    steps, rho = 18, 7
    i = torch.arange(steps, dtype=torch.float64)
    paper = (80 ** (1 / rho) + i / (steps - 1) * (0.002 ** (1 / rho) - 80 ** (1 / rho))) ** rho
    edm = Diffusion(SCHEDULES["edm"](), (2,))
    assert torch.allclose(80 * karras(edm, steps)[:-1], paper, rtol=1e-12)
    assert not torch.allclose(80 * karras(edm, steps, rho=6)[:-1], paper, rtol=1e-3)
    # For a clock that is not sigma itself the ratios are the same.
    vp = Diffusion(SCHEDULES["vp"](), (2,))
    assert torch.allclose(vp.ratio(karras(vp, steps)[:-1]), paper, rtol=1e-9)


def test_log_snr_steps_are_equal_factors(process):
    ratio = process.ratio(log_snr(process, 12, low=0.05, high=10.0, end=0.05))
    assert torch.allclose(ratio[1:] / ratio[:-1], torch.full((12,), (0.05 / 10) ** (1 / 12), dtype=torch.float64))


def test_the_cosine_grid_is_equal_steps_of_the_cosine_schedule():
    """Without its offset: from t to t in equal steps, so that arctan of the ratio falls in equal steps."""
    process = Diffusion(SCHEDULES["cosine"](offset=0.0), (2,))
    times = cosine(process, 12, low=0.05, high=10.0, end=0.05)
    assert torch.allclose(times.diff(), times.diff()[0].expand(12), atol=1e-12)
    assert not torch.allclose(*(log_snr(process, 12, low=0.05, high=10.0, end=0.05).diff()[i] for i in (0, -1)))


def test_infinite_rho_is_log_snr(process):
    kept = {"low": 0.05, "high": 10.0}
    assert torch.allclose(karras(process, 9, rho=1e7, **kept), log_snr(process, 9, **kept), rtol=1e-4)


def test_ratios_out_of_reach_are_cut_to_the_process(process):
    times = karras(process, 10, low=1e-6, high=1e9, end=0.0)
    assert (times.diff() < 0).all()
    if math.isfinite(process.ratio(1.0)):
        assert times[0] == 1
    assert times[-1] == 0


def test_a_uniform_grid_has_equal_steps(process):
    assert torch.allclose(
        uniform(process, 4, start=0.9, end=0.1), torch.tensor([0.9, 0.7, 0.5, 0.3, 0.1], dtype=torch.float64)
    )


@pytest.mark.parametrize(
    "wrong",
    [
        lambda p: uniform(p, 0),
        lambda p: karras(p, -3),
        lambda p: uniform(p, 5, start=0.1, end=0.5),
        lambda p: uniform(p, 5, start=1.5),
        lambda p: karras(p, 5, low=1.0, high=0.1),
        lambda p: karras(p, 5, low=0.0),
        lambda p: log_snr(p, 5, high=math.inf),
        lambda p: karras(p, 5, rho=0.0),
    ],
)
def test_grids_that_lead_nowhere_are_refused(wrong):
    with pytest.raises(BadInput, match="give"):
        wrong(Diffusion(SCHEDULES["vp"](), (2,)))


@pytest.mark.parametrize("grid", [karras, log_snr])
@pytest.mark.parametrize("low", [1.0, 1.001, 2.0])
def test_a_low_above_the_process_is_refused(grid, low):
    """It used to stay at t = 1 until the last step."""
    with pytest.raises(BadInput, match="ends at a ratio of 1"):
        grid(Diffusion(VE(0.01, 1.0), (1,)), 4, low=low, high=80.0)
    assert (grid(Diffusion(VE(0.01, 1.0), (1,)), 4, low=0.99, high=80.0).diff() < 0).all()


def test_a_high_below_the_process_is_refused():
    with pytest.raises(BadInput, match="begins at a ratio of"):
        karras(Diffusion(VE(0.01, 50.0), (2,)), 5, low=0.001, high=0.005)
