"""Weights on the error of x_0: the same for every parametrisation, and the likelihood's is its integral."""

import math

import pytest
import torch

from driftback.errors import BadInput
from driftback.processes import SCHEDULES, VE, VP, Diffusion, Straight
from driftback.processes.schedules import EDM
from driftback.recipes.methods import METHODS
from driftback.scores.parametrisation import (
    Levels,
    predict_data,
    predict_edm,
    predict_flow,
    predict_noise,
    predict_velocity,
)
from driftback.shapes import per_item, sum_event
from driftback.training.times import LogNormalRatio, TimeLaw, UniformTimes
from driftback.training.weightings import WEIGHTINGS, refuse_not_squared, weighting_named

SPREAD = 0.7
LINEAR = {
    "data": predict_data(SPREAD),
    "noise": predict_noise(SPREAD),
    "velocity": predict_velocity(SPREAD),
    "edm": predict_edm(SPREAD),
    "flow": predict_flow(SPREAD),
}
OTHERS = sorted(set(WEIGHTINGS) - {"simple"})


@pytest.mark.parametrize("weighting", OTHERS)
@pytest.mark.parametrize("name", LINEAR)
@pytest.mark.parametrize("schedule", [VP(), Straight(), EDM(80.0)])
def test_a_weighting_is_one_weight_on_the_error_of_x0(name, weighting, schedule) -> None:
    parametrisation, one = LINEAR[name], WEIGHTINGS[weighting]
    generator = torch.Generator().manual_seed(0)
    alpha, sigma = (f(torch.linspace(0.05, 0.95, 9, dtype=torch.float64)) for f in (schedule.alpha, schedule.sigma))
    x0, noise, output = torch.randn(3, 9, 4, generator=generator, dtype=torch.float64)
    x = per_item(alpha, x0) * x0 + per_item(sigma, x0) * noise
    error = sum_event((x0 - parametrisation.denoised(output, x, alpha, sigma)) ** 2) / 4
    relative = one.relative(parametrisation, alpha, sigma, SPREAD)
    assert one.on_data is not None
    weighted = parametrisation.loss(output, x0, x, alpha, sigma) * relative
    assert torch.allclose(weighted, one.on_data(alpha, sigma, SPREAD) * error, rtol=1e-10)


def test_minimum_snr_is_the_papers() -> None:
    """min(SNR, 5) / SNR for noise, / (SNR + 1) for velocities, itself for data (section 3.4)."""
    alpha, sigma = (
        VP().alpha(torch.tensor([0.05, 0.3, 0.8]).double()),
        VP().sigma(torch.tensor([0.05, 0.3, 0.8]).double()),
    )
    snr = (alpha / sigma) ** 2
    assert float(snr[0]) > 5 > float(snr[1])
    wanted = {"noise": snr.clamp(max=5) / snr, "velocity": snr.clamp(max=5) / (snr + 1), "data": snr.clamp(max=5)}
    for name, weight in wanted.items():
        found = WEIGHTINGS["min-snr"].relative(LINEAR[name], alpha, sigma, SPREAD)
        assert found is not None
        assert torch.allclose(found, weight, rtol=1e-10), name


def test_simple_is_the_methods_own() -> None:
    one = torch.ones(3, dtype=torch.float64)
    assert WEIGHTINGS["simple"].relative(LINEAR["edm"], one, one, SPREAD) is None
    law = UniformTimes()
    assert WEIGHTINGS["simple"].law(law, Diffusion(VP(), (2,))) is law
    assert WEIGHTINGS["min-snr"].law(law, Diffusion(VP(), (2,))) is law


LAWS: dict[str, tuple[Diffusion, TimeLaw]] = {
    "vp": (Diffusion(VP(), (1,), SPREAD), UniformTimes(1e-5)),
    "ve": (Diffusion(VE(0.01, 50.0), (1,), SPREAD), UniformTimes(1e-5)),
    "edm": (Diffusion(EDM(160 * SPREAD), (1,), SPREAD), LogNormalRatio()),
    "flow": (Diffusion(Straight(), (1,), SPREAD), UniformTimes(1e-4)),
}


@pytest.mark.parametrize("name", LAWS)
def test_likelihood_is_the_integral_of_the_bound(name) -> None:
    """For N(0, s^2) data and the exact D, E|x_0 - D|^2 = s^2 r^2 / (s^2 + r^2), so the integral over log r of SNR times
    it is [log r - log(s^2 + r^2) / 2], and 1/2 int g^2 E|score - score of x_t given x_0|^2 dt is the same.
    """
    process, base = LAWS[name]
    law = WEIGHTINGS["likelihood"].law(base, process)
    u = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000
    t = law.quantile(u, process)
    alpha, sigma = process.alpha(t), process.sigma(t)
    ratio = sigma / alpha
    error = SPREAD**2 * ratio**2 / (SPREAD**2 + ratio**2)
    natural = LINEAR["edm"].natural(alpha, sigma)
    relative = WEIGHTINGS["likelihood"].relative(LINEAR["edm"], alpha, sigma, SPREAD)
    ends = [float(process.ratio(law.quantile(torch.tensor([end], dtype=torch.float64), process))) for end in (0.0, 1.0)]
    found = float((natural * relative * error).mean()) * math.log(ends[1] / ends[0])
    wanted = [math.log(r) - math.log(SPREAD**2 + r**2) / 2 for r in ends]
    assert found == pytest.approx(wanted[1] - wanted[0], rel=1e-6)
    # Song et al.'s form, by the trapezoidal rule in the times of the law, which are dense where the integrand is large.
    score = alpha**2 * error / sigma**4  # E|score - (alpha x_0 - x_t) / sigma^2|^2
    by_score = float(torch.trapezoid(process.diffusion(t) ** 2 * score / 2, t))
    assert by_score == pytest.approx(found, rel=2e-3)
    # Planted fault: the noise's own weight, which knows nothing of g.
    assert float(torch.trapezoid(sigma**2 * score / 2, t)) != pytest.approx(found, rel=0.1)


def test_what_cannot_be_weighed_is_refused_in_one_line() -> None:
    levels = Levels(-1.0, 0.5, 4)
    refuse_not_squared("simple", levels)
    for name in OTHERS:
        refuse_not_squared(name, LINEAR["edm"])
        with pytest.raises(BadInput, match=f"'{name}' counts squared errors.*--method edm") as caught:
            refuse_not_squared(name, levels)
        assert "\n" not in str(caught.value)
    with pytest.raises(BadInput, match="no weighting 'snr'; choose one of simple, min-snr, likelihood"):
        weighting_named("snr")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("weighting", OTHERS)
def test_no_weight_is_without_bounds(method, weighting) -> None:
    """A loss that is weighed keeps its size, so that an explosion is still told from it: relative weights are at most 1
    plus what rounding adds.
    """
    if method == "levels":
        return
    event = (1, 8, 8)
    process = Diffusion(METHODS[method].schedule(SPREAD), event, SPREAD)
    law = WEIGHTINGS[weighting].law(METHODS[method].times(SPREAD, event), process)
    u = torch.linspace(0, 1 - 1e-9, 2001, dtype=torch.float64)
    t = law.quantile(u, process)
    parametrisation = METHODS[method].parametrisation(SPREAD, event=event)
    relative = WEIGHTINGS[weighting].relative(parametrisation, process.alpha(t), process.sigma(t), SPREAD)
    assert relative is not None
    assert float(relative.max()) <= 1 + 1e-9
    assert float(relative.min()) >= 0
    assert len(SCHEDULES) >= 7
