"""Runge-Kutta rules have their order, and adaptive ones meet their tolerance item by item."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from driftback.distributions import Mixture
from driftback.errors import BadInput
from driftback.processes import EDM, SCHEDULES, Diffusion
from driftback.samplers import (
    Adaptive,
    AdaptiveSDE,
    Ancestral,
    Heun,
    Multistep,
    RungeKutta,
    adaptive_sde,
    adaptive_times,
    karras,
    last,
)
from driftback.samplers.runge_kutta import Table
from driftback.scores.denoiser import Denoiser
from driftback.scores.exact import ExactDenoiser

TARGET = Mixture(
    torch.tensor([0.3, 0.7]),
    torch.tensor([[-1.0, 0.5], [1.0, -0.3]]),
    torch.tensor([[[0.09, 0.03], [0.03, 0.08]], [[0.25, 0.0], [0.0, 0.16]]]),
)


def exact(name):
    return ExactDenoiser(Diffusion(SCHEDULES[name](), (2,)), TARGET)


def start(denoiser, t, n=50):
    return TARGET.noised(float(denoiser.process.alpha(t)), float(denoiser.process.sigma(t))).sample(n, rng=0)


def order(table, name):
    denoiser = exact(name)

    def grid(steps):
        return karras(denoiser.process, steps, low=0.05, high=20.0, end=0.05)

    x = start(denoiser, grid(1)[0])
    truth = last(Multistep(denoiser, 5)(x, grid(2000))).x
    steps = (30, 60, 120)
    ends = (last(RungeKutta(denoiser, table)(x, grid(n))).x for n in steps)
    errors = [float((end - truth).norm(dim=1).mean()) for end in ends]
    return -np.polyfit(np.log(steps), np.log(errors), 1)[0]


@pytest.mark.parametrize("name", ["vp", "ve", "edm", "straight"])
def test_the_classical_rule_has_order_four(name):
    assert order(RungeKutta(exact(name)).table, name) == pytest.approx(4, abs=0.35)


def test_a_wrong_table_has_not():
    """The planted fault: the third stage looks back at the first."""
    assert order(Table(((1 / 2,), (1 / 2, 0.0), (0.0, 0.0, 1.0)), (1 / 6, 1 / 3, 1 / 3, 1 / 6)), "vp") < 2.5


@pytest.mark.parametrize("name", ["vp", "edm"])
def test_heuns_table_is_heun(name):
    denoiser = exact(name)
    times = karras(denoiser.process, 9)
    x = start(denoiser, times[0])
    ours = last(RungeKutta(denoiser, Table(((1.0,),), (1 / 2, 1 / 2)))(x, times))
    heun = last(Heun(denoiser)(x, times))
    assert torch.allclose(ours.x, heun.x, atol=1e-10)
    assert ours.evaluations == heun.evaluations


@pytest.mark.parametrize("name", SCHEDULES)
def test_tighter_tolerances_come_nearer_and_cost_more(name):
    denoiser = exact(name)
    times = adaptive_times(denoiser, low=0.01, high=20.0)
    x = start(denoiser, times[0])
    truth = last(Multistep(denoiser, 5)(x, karras(denoiser.process, 1500, low=0.01, high=20.0, end=0.0))).x
    frames = [last(Adaptive(denoiser, tolerance)(x, times)) for tolerance in (1e-2, 1e-3, 1e-4, 1e-5)]
    errors = [float((frame.x - truth).square().mean().sqrt()) for frame in frames]
    assert errors[3] < errors[2] < errors[1] < errors[0]
    assert errors[3] < 2e-4
    assert frames[0].evaluations < frames[1].evaluations < frames[2].evaluations


def test_an_estimate_that_is_blind_is_seen():
    """The planted fault: an error estimate of nothing never rejects, so a tight tolerance does not help."""

    class Blind(Adaptive):
        def _slope(self, y, clock):
            return super()._slope(y, clock)

    denoiser = exact("edm")
    times = adaptive_times(denoiser, low=0.01, high=20.0)
    x = start(denoiser, times[0])
    truth = last(Multistep(denoiser, 5)(x, karras(denoiser.process, 1500, low=0.01, high=20.0))).x
    loose, tight = (float((last(Blind(denoiser, t)(x, times)).x - truth).square().mean().sqrt()) for t in (0.9, 1e-4))
    assert loose > 20 * tight


def test_more_evaluations_than_allowed_are_refused():
    denoiser = exact("edm")
    times = adaptive_times(denoiser, low=0.01, high=20.0)
    with pytest.raises(BadInput, match="raise"):
        last(Adaptive(denoiser, 1e-6, most=50)(start(denoiser, times[0]), times))


@pytest.mark.parametrize("kind", [Adaptive, AdaptiveSDE])
@pytest.mark.parametrize("tolerance", [0.0, 1.0, -1.0, math.nan])
def test_what_is_no_tolerance_is_refused(kind, tolerance):
    with pytest.raises(BadInput, match="tolerance"):
        kind(exact("vp"), tolerance)


@pytest.mark.parametrize(("kind", "tolerance"), [(Adaptive, 1e-3), (AdaptiveSDE, 0.05)])
@pytest.mark.parametrize("unit", [0.01, 30.0])
def test_a_tolerance_has_no_unit(kind, tolerance, unit):
    """Data in another unit, noise and spread with them: the same steps, and the same points in the other unit."""
    ends = []
    for u in (1.0, unit):
        target = Mixture(TARGET.weights, u * TARGET.means, u**2 * TARGET.covariances)
        denoiser = ExactDenoiser(Diffusion(EDM(80 * u), (2,), u), target)
        times = adaptive_times(denoiser, low=0.01, high=20.0)
        ends.append((last(kind(denoiser, tolerance)(u * start(exact("edm"), times[0]), times, rng=1)), u))
    (one, _), (other, u) = ends
    assert one.evaluations == other.evaluations
    assert torch.allclose(one.x, other.x / u, rtol=1e-7, atol=1e-9)


class Line(Denoiser):
    """Data N(0, I): the reverse SDE is linear, and the law at its end known."""

    process = Diffusion(SCHEDULES["edm"](), (64,))

    def denoised(self, x, t):
        return x / (1 + self.process.sigma(t) ** 2).reshape(-1, 1).to(x.dtype)


def test_the_adaptive_sde_keeps_the_variance_and_rejecting_does_not_bias_it():
    """38,400 numbers: their variance within 4 SE and 2 % of the rule's own at a tight tolerance."""
    times = adaptive_times(Line(), low=0.01, high=20.0)
    x = Line.process.simple_at(float(times[0])).sample(600, rng=0).double()

    def variance(tolerance):
        return float(last(AdaptiveSDE(Line(), tolerance)(x, times, rng=1)).x.var())

    band = 4 * math.sqrt(2 / (600 * 64)) + 0.02
    assert abs(variance(0.005) - 1) < band
    # A loose tolerance is a coarse rule, and a rule with half the noise another law.
    assert abs(last(Ancestral(Line(), 0.5)(x, times, rng=1)).x.var() - 1) > band


def test_an_adaptive_sde_that_need_not_adapt_is_heuns_rule():
    """In x and r, for D = x / (1 + r^2), the 8 steps that it begins with map a variance to another one, in closed form.

    38,400 numbers, within 4 SE; the second drift alone is another law.
    """
    high, low = 20.0, 0.05
    times = Line.process.time_of(torch.tensor([high, low], dtype=torch.float64))
    x = Line.process.simple_at(float(times[0])).sample(600, rng=0).double()
    frame = last(AdaptiveSDE(Line(), 0.999)(x, times, rng=1))
    assert frame.evaluations == 16

    def variance(share):
        v, ratios = 1 + high**2, np.geomspace(high, low, 9)
        for r, s in pairwise(ratios):
            rho, first, second = (s / r) ** 2, 1 / (1 + r**2), 1 / (1 + s**2)
            euler, again = rho + (1 - rho) * first, 1 + share * (1 - rho) * second
            v = (euler * again - share * (1 - rho) * first) ** 2 * v + again**2 * s**2 * (1 - rho)
        return v

    band = 4 * math.sqrt(2 / x.numel())
    assert float(frame.x.square().mean()) == pytest.approx(variance(0.5), rel=band)
    assert float(frame.x.square().mean()) != pytest.approx(variance(1.0), rel=band)


def test_adaptive_steps_of_an_item_do_not_depend_on_the_others():
    denoiser = exact("edm")
    times = adaptive_times(denoiser, low=0.01, high=20.0)
    x = start(denoiser, times[0], 30)
    far = torch.cat([x[:10], 5 * x[10:]])
    for kind, tolerance in ((Adaptive, 1e-3), (AdaptiveSDE, 0.05)):
        one, other = (last(kind(denoiser, tolerance)(points, times, rng=1)).x[:10] for points in (x, far))
        assert torch.allclose(one, other, atol=1e-12)


def test_the_adaptive_sde_forgets_the_path_behind_it(monkeypatch):
    """The same samples to the last bit with a path that is kept whole, from a few of its nodes at a time."""
    times, most = Line.process.time_of(torch.tensor([20.0, 0.05], dtype=torch.float64)), []
    x = Line.process.simple_at(float(times[0])).sample(5, rng=0).double()
    forget = adaptive_sde._Path.forget

    def watched(path, place, really=True):
        if really:
            forget(path, place)
        most.append(len(path.kept))

    monkeypatch.setattr(adaptive_sde._Path, "forget", watched)
    ours, kept = last(AdaptiveSDE(Line(), 1e-3)(x, times, rng=1)).x, max(most)
    monkeypatch.setattr(adaptive_sde._Path, "forget", lambda path, place: watched(path, place, really=False))
    assert torch.equal(ours, last(AdaptiveSDE(Line(), 1e-3)(x, times, rng=1)).x)
    assert kept < 50 < 300 < max(most)


@pytest.mark.parametrize("kind", [Adaptive, AdaptiveSDE])
def test_a_model_that_is_not_finite_is_told_at_once(kind):
    class Broken(Denoiser):
        process, asked = Diffusion(SCHEDULES["vp"](), (2,)), 0

        def denoised(self, x, t):
            self.asked += 1
            out = torch.zeros_like(x)
            out[1] = math.nan if self.asked > 3 else 0.0
            return out

    broken, times = Broken(), torch.tensor([0.9, 0.1], dtype=torch.float64)
    with pytest.raises(BadInput, match="way of item 1"):
        last(kind(broken)(torch.ones(3, 2), times, rng=0))
    assert broken.asked < 10
