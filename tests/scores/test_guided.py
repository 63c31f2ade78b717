"""Guidance against closed forms: what it is inside its interval, that it is nothing outside, and where its ways end."""

import math

import pytest
import torch
from torch import Tensor

from driftback.distributions import Mixture
from driftback.errors import BadInput
from driftback.processes import EDM, VP, Diffusion
from driftback.samplers.frame import last
from driftback.samplers.grids import karras
from driftback.samplers.heun import Heun
from driftback.scores.denoiser import Denoiser
from driftback.scores.exact import ExactDenoiser
from driftback.scores.guided import AutoguidedDenoiser, Counted, GuidedDenoiser

PROCESS = Diffusion(EDM(high=300.0), (1,))
LABELS = torch.tensor([0, 1])


def mixture(process: Diffusion = PROCESS) -> ExactDenoiser:
    means, covariances = torch.tensor([[-1.0], [1.0]]).double(), torch.full((2, 1, 1), 0.3).double()
    return ExactDenoiser(process, Mixture(torch.tensor([0.5, 0.5]).double(), means, covariances), LABELS)


def gaussian(variance: float) -> ExactDenoiser:
    one = torch.ones(1, dtype=torch.float64)
    return ExactDenoiser(PROCESS, Mixture(one, 0 * one[None], variance * one[None, None]))


def points(n: int = 40) -> Tensor:
    return torch.linspace(-6, 6, n, dtype=torch.float64)[:, None]


@pytest.mark.parametrize("process", [PROCESS, Diffusion(VP(), (1,))])
def test_outside_of_the_interval_it_is_the_conditional_one_bit_for_bit(process: Diffusion) -> None:
    plain = mixture(process)
    towards = plain.given(1)
    guided, everywhere = GuidedDenoiser(towards, plain, 2.0, (0.3, 2.0)), GuidedDenoiser(towards, plain, 2.0)
    x = points()
    for ratio, inside in ((0.1, False), (0.29, False), (0.31, True), (1.99, True), (2.01, False), (30.0, False)):
        t = float(process.time_of(ratio))
        expected = (everywhere if inside else towards).denoised(x, t)
        assert torch.equal(guided.denoised(x, t), expected), ratio
        assert inside != torch.equal(guided.denoised(x, t), towards.denoised(x, t))
    # Each item at a time of its own.
    t = process.time_of(torch.tensor([0.1, 1.0]).double()).repeat(20)
    found = guided.denoised(x, t)
    assert torch.equal(found[::2], towards.denoised(x, t)[::2])
    assert torch.equal(found[1::2], everywhere.denoised(x, t)[1::2])


def test_the_interval_holds_its_upper_end_and_not_its_lower_one() -> None:
    towards = mixture().given(1)
    for interval, inside in (((1.0, 2.0), False), ((0.5, 1.0), True)):
        found = GuidedDenoiser(towards, mixture(), 1.0, interval).denoised(points(), float(PROCESS.time_of(1.0)))
        assert float(PROCESS.ratio(PROCESS.time_of(1.0))) == 1.0
        assert torch.equal(found, towards.denoised(points(), float(PROCESS.time_of(1.0)))) != inside


def test_outside_it_costs_one_evaluation() -> None:
    other = Counted(mixture())
    guided = GuidedDenoiser(mixture().given(0), other, 1.0, (0.5, 2.0))
    for ratio, asked in ((0.1, 0), (1.0, 1), (1.5, 2), (7.0, 2)):
        guided.denoised(points(), float(PROCESS.time_of(ratio)))
        assert other.asked[0] == asked
    other.given(1).denoised(points(), 0.5)
    assert other.asked[0] == 3, "a count goes on when something is given"


@pytest.mark.parametrize("interval", [(2.0, 1.0), (1.0, 1.0), (-1.0, 1.0)])
def test_an_empty_interval_is_refused(interval: tuple[float, float]) -> None:
    with pytest.raises(BadInput, match="rises from 0"):
        GuidedDenoiser(mixture().given(0), mixture(), 1.0, interval)


def test_both_sides_of_autoguidance_are_conditioned() -> None:
    strong, weak = mixture(), mixture(PROCESS)
    pair = AutoguidedDenoiser(strong, weak, 0.7).given(1)
    assert torch.equal(pair.denoised(points(), 0.5), strong.given(1).denoised(points(), 0.5)), "they agree: no push"
    other = AutoguidedDenoiser(strong, gaussian(4.0), 0.7)
    x, t = points(), float(PROCESS.time_of(0.8))
    expected = 1.7 * strong.denoised(x, t) - 0.7 * gaussian(4.0).denoised(x, t)
    assert torch.allclose(other.denoised(x, t), expected, atol=1e-12)
    assert torch.allclose(other.score(x, t), 1.7 * strong.score(x, t) - 0.7 * gaussian(4.0).score(x, t), atol=1e-9)


def deviation(denoiser: Denoiser, high: float = 300.0) -> float:
    """How wide a standard normal start of ratio `high` comes out at the end of the way back."""
    times = karras(PROCESS, 400, low=1e-3, high=high)
    x = last(Heun(denoiser)(torch.full((1, 1), high, dtype=torch.float64), times)).x
    return float(x)


def closed_form(weight: float, variance: float, high: float = 300.0) -> float:
    """y' = y r ((1 + w) / (1 + r^2) - w / (v + r^2)), solved from r = high down to 0."""
    own = -(1 + weight) / 2 * math.log(1 + high**2)
    return high * math.exp(own + weight / 2 * math.log((variance + high**2) / variance))


@pytest.mark.parametrize(("weight", "variance"), [(0.5, 4.0), (1.0, 4.0), (1.0, 0.5)])
def test_where_guided_ways_of_gaussians_end(weight: float, variance: float) -> None:
    """N(0, 1) pushed away from N(0, v) ends as N(0, v^-w), not as the tilted N(0, 1 / (1 + w - w / v))."""
    found = deviation(AutoguidedDenoiser(gaussian(1.0), gaussian(variance), weight))
    assert found == pytest.approx(closed_form(weight, variance), rel=5e-4)
    assert found == pytest.approx(variance ** (-weight / 2), rel=1e-3)
    tilted = (1 + weight - weight / variance) ** -0.5 if 1 + weight > weight / variance else math.inf
    assert abs(found / tilted - 1) > 0.1, "the density that the formula seems to promise"


def test_a_push_within_an_interval_ends_between() -> None:
    strong, weak = gaussian(1.0), gaussian(4.0)
    ends = [deviation(AutoguidedDenoiser(strong, weak, 1.0, i)) for i in (None, (0.5, 2.0), (1e3, 2e3))]
    # Between r = lo and hi the exponent is the difference of the antiderivatives there.
    log = math.log
    gained = (log(1.25) - log(4.25) - log(5.0) + log(8.0)) / 2
    assert ends[2] == pytest.approx(1.0, rel=1e-3)
    assert ends[1] == pytest.approx(math.exp(gained), rel=5e-3)
    assert ends[0] < ends[1] < ends[2]
