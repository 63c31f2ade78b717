"""A schedule found from f and g is the closed form of the paper that printed them, also where digits are scarce."""

import math

import pytest
import torch

from driftback.distributions import Mixture
from driftback.errors import BadInput
from driftback.processes import EDM, VE, VP, Diffusion, Schedule, SolvedSchedule, SubVP
from driftback.samplers import Heun, last, log_snr
from driftback.scores.exact import ExactDenoiser

TIMES = torch.tensor([1e-9, 1e-6, 1e-3, 0.01, 0.1, 0.3, 0.5, 0.77, 0.999, 1.0], dtype=torch.float64)


def beta(t):
    return 0.1 + 19.9 * t


def integral(t):
    return 0.1 * t + 19.9 / 2 * t**2


PAIRS: dict[str, tuple[Schedule, Schedule]] = {
    "vp": (VP(), SolvedSchedule(lambda t: -beta(t) / 2, lambda t: beta(t).sqrt())),
    "sub-vp": (
        SubVP(),
        SolvedSchedule(lambda t: -beta(t) / 2, lambda t: (-beta(t) * torch.expm1(-2 * integral(t))).sqrt()),
    ),
    "ve": (
        VE(),
        SolvedSchedule(lambda t: 0.0, lambda t: 0.01 * 5000**t * math.sqrt(2 * math.log(5000)), start=0.01),
    ),
    "edm": (EDM(), SolvedSchedule(lambda t: 0.0, lambda t: 80 * (2 * t).sqrt())),
}


@pytest.fixture(params=PAIRS)
def pair(request):
    return PAIRS[request.param]


def test_alpha_and_sigma_are_the_closed_forms(pair):
    known, solved = pair
    assert torch.allclose(solved.alpha(TIMES), known.alpha(TIMES), rtol=1e-11, atol=0)
    assert torch.allclose(solved.sigma(TIMES), known.sigma(TIMES), rtol=1e-10, atol=0)
    assert torch.allclose(solved.time_of(known.sigma(TIMES) / known.alpha(TIMES)), TIMES, rtol=1e-8, atol=1e-15)


@pytest.mark.parametrize(
    "faulty",
    [
        SolvedSchedule(lambda t: -beta(t), lambda t: beta(t).sqrt()),
        SolvedSchedule(lambda t: beta(t) / 2, lambda t: beta(t).sqrt()),
        SolvedSchedule(lambda t: -beta(t) / 2, beta),
        SolvedSchedule(lambda t: -beta(t) / 2, lambda t: beta(t).sqrt(), start=0.01),
    ],
)
def test_a_wrong_sde_is_another_schedule(faulty):
    """Planted: the half forgotten, the sign turned, g^2 where g belongs, noise at the start."""
    assert not torch.allclose(faulty.sigma(TIMES), VP().sigma(TIMES), rtol=1e-6)


def test_the_diffusion_gives_the_sde_back(pair):
    """Differentiated by `Diffusion`, alpha and sigma lead to the very f and g that they were found from."""
    known, solved = (Diffusion(schedule, (1,)) for schedule in pair)
    assert torch.allclose(solved.rate(TIMES), known.rate(TIMES), rtol=1e-11)
    assert torch.allclose(solved.diffusion(TIMES), known.diffusion(TIMES), rtol=1e-9)
    assert torch.allclose(solved.diffusion(0.0), known.diffusion(0.0), rtol=1e-9, atol=1e-12)
    for ours, theirs in zip(solved.slopes(TIMES), known.slopes(TIMES), strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-9)
        assert not torch.allclose(ours, theirs + 0.01 * theirs.abs() + 1e-3, rtol=1e-4)


def test_an_sde_without_a_name_has_the_law_of_its_simulation():
    """f = -t, g = 1 + sin(3 t): d var / dt = 2 f var + g^2 in 20,000 steps of Heun's rule."""
    schedule = SolvedSchedule(lambda t: -t, lambda t: 1 + torch.sin(3 * t))
    variance, h = 0.0, 1 / 20_000

    def slope(v, t, half=1.0):
        return -2 * t * v + half * (1 + math.sin(3 * t)) ** 2

    def end(half=1.0):
        v = variance
        for k in range(20_000):
            one = slope(v, k * h, half)
            v += h / 2 * (one + slope(v + h * one, (k + 1) * h, half))
        return math.sqrt(v)

    one = torch.ones((), dtype=torch.float64)
    assert float(schedule.sigma(one)) == pytest.approx(end(), rel=1e-8)
    assert float(schedule.sigma(one)) != pytest.approx(end(half=0.5), rel=1e-2)


def test_samplers_take_it_for_the_schedule_that_it_is():
    target = Mixture(torch.ones(2), torch.tensor([[-1.0], [1.5]]), torch.tensor([[[0.04]], [[0.1]]]))
    ends = []
    for schedule in PAIRS["vp"]:
        process = Diffusion(schedule, (1,))
        x = process.simple.sample(50, rng=0).double()
        ends.append(last(Heun(ExactDenoiser(process, target))(x, log_snr(process, 10), rng=0)).x)
    assert torch.allclose(*ends, rtol=1e-8, atol=1e-9)
    assert not torch.allclose(ends[0], 1.01 * ends[1], rtol=1e-3)


def test_what_cannot_be_integrated_is_refused():
    with pytest.raises(BadInput, match="cannot be integrated"):
        SolvedSchedule(lambda t: -1 / (1 - t), lambda t: (2 * t / (1 - t)).sqrt())
    with pytest.raises(BadInput, match="no clock"):
        SolvedSchedule(lambda t: -1.0, lambda t: 0.0)
    with pytest.raises(BadInput, match="number >= 0"):
        SolvedSchedule(lambda t: -1.0, lambda t: 1.0, start=-1.0)
