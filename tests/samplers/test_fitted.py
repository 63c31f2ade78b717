"""A fitted sampler comes nearer with the same evaluations, says by how much, and does so on ways it has not seen."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from driftback.distributions import Mixture
from driftback.errors import BadInput
from driftback.processes import SCHEDULES, Diffusion
from driftback.samplers import Heun, Multistep, fitted, karras, last, log_snr, reference, uniform
from driftback.samplers.fitted import fitted_plan, least_change
from driftback.samplers.levels import levels_of
from driftback.samplers.multistep import follow
from driftback.samplers.published import dpm_solver, unipc
from driftback.samplers.reference import Reference
from driftback.scores.denoiser import Denoiser
from driftback.scores.exact import ExactDenoiser

TARGET = Mixture(
    torch.tensor([0.2, 0.5, 0.3]),
    torch.tensor([[-0.6, 0.4], [0.5, 0.1], [0.1, -0.7]]),
    torch.stack([torch.diag(torch.tensor(v)) for v in ([0.003, 0.01], [0.04, 0.02], [0.01, 0.06])]),
)


def problem(name="edm", n=200):
    denoiser = ExactDenoiser(Diffusion(SCHEDULES[name](), (2,), 0.5), TARGET)
    times = log_snr(denoiser.process, 257, low=0.005)
    alpha, sigma = float(denoiser.process.alpha(times[0])), float(denoiser.process.sigma(times[0]))
    seen, unseen = (TARGET.noised(alpha, sigma).sample(n, rng=seed) for seed in (1, 2))
    return denoiser, times, seen, unseen


def rms(x, y):
    return float((x - y).square().mean().sqrt())


@pytest.mark.parametrize("name", ["edm", "vp"])
def test_it_is_nearer_than_published_solvers_on_ways_it_has_not_seen(name):
    denoiser, times, seen, unseen = problem(name)
    ways = reference(denoiser, seen, times, smooth=True)
    truth = last(Multistep(denoiser, 5)(unseen, log_snr(denoiser.process, 1500, low=0.002))).x
    for steps, ahead in ((10, 1.5), (16, 2), (32, 2)):
        ours = fitted(denoiser, ways, steps)
        frame = last(ours(unseen))
        assert frame.evaluations == steps
        error = rms(frame.x, truth)
        published = min(
            rms(last(make(denoiser)(unseen, karras(denoiser.process, steps, low=low))).x, truth)
            for make in (lambda d: dpm_solver(d, 2), lambda d: dpm_solver(d, 3), unipc)
            for low in (0.002, 0.01, 0.03)
        )
        assert ahead * error < published
        # What it says of itself bounds what is found on other ways, and not by far: 50 ways judge here.
        assert 0.15 < error / ours.error < 3


def test_the_reference_is_the_truth():
    denoiser, times, seen, _ = problem()
    ways = reference(denoiser, seen, times, smooth=True)
    fine = [frame.x for frame in Multistep(denoiser, 5)(seen, log_snr(denoiser.process, 2049, low=0.005))]
    assert rms(ways.ends, fine[-1]) < 2e-5
    assert ways.evaluations == 2 * 257
    # Between its own levels too.
    level = Multistep(denoiser, 5)
    between = karras(denoiser.process, 30, low=0.006)[:-1]
    for t in between[5::6].tolist():
        one = ways.at(levels_at(denoiser, t))
        grid = torch.cat([times[times > t], torch.tensor([t], dtype=torch.float64)])
        assert rms(one, last(level(seen, grid)).x) < 1e-4


class Rough(Denoiser):
    """An exact denoiser with the roughness that a network in float32 has."""

    def __init__(self, true):
        self.process, self.true = true.process, true

    def denoised(self, x, t):
        return self.true.denoised(x, t) + 1e-4 * torch.sin(1e5 * x)


def test_roughness_is_not_magnified_at_the_end():
    """D's roughness of 1e-4 stays what it is; continued to r = 0 by a polynomial it grows a thousandfold."""
    denoiser, times, seen, _ = problem()
    true = reference(denoiser, seen, times, smooth=True).ends
    assert rms(reference(Rough(denoiser), seen, times).ends, true) < 3e-4
    assert rms(reference(Rough(denoiser), seen, times, smooth=True).ends, true) > 1e-2


def levels_at(denoiser, t):
    return levels_of(denoiser.process, torch.tensor([t], dtype=torch.float64))[0]


def test_the_grid_has_short_steps_where_the_denoiser_turns():
    """Against equal steps in log r: the same solver is nearer on the measured grid."""
    denoiser, times, seen, unseen = problem()
    ways = reference(denoiser, seen, times, smooth=True)
    truth = last(Multistep(denoiser, 5)(unseen, log_snr(denoiser.process, 1500, low=0.002))).x
    measured, equal = ways.grid(40), log_snr(denoiser.process, 40, low=0.005)
    assert measured.shape == (41,)
    assert (measured.diff() < 0).all()
    assert measured[-1] == 0
    assert measured[0] == times[0]
    assert 2 * rms(last(Multistep(denoiser, 4)(unseen, measured)).x, truth) < rms(
        last(Multistep(denoiser, 4)(unseen, equal)).x, truth
    )


def test_gains_are_large_before_a_way_decides():
    """Far out all ways are alike; near the middle between two modes an error grows more than elsewhere."""
    two = Mixture(torch.ones(2), torch.tensor([[-1.0, 0.0], [1.0, 0.0]]), 0.01 * torch.eye(2).expand(2, 2, 2))
    denoiser = ExactDenoiser(Diffusion(SCHEDULES["edm"](), (2,), 0.7), two)
    x = two.noised(1.0, 80.0).sample(400, rng=0)
    ways = reference(denoiser, x, log_snr(denoiser.process, 129, low=0.01), smooth=True)
    k = min(range(128), key=lambda j: abs(ways.levels[j].ratio - 1.0))
    middle = ways.ways[k, :, 0].abs().argsort()
    assert float(ways.gains[k, middle[:10]].median()) > 3 * float(ways.gains[k, middle[-200:]].median())
    assert float(ways.gains.median()) == pytest.approx(1.0, abs=0.2)


def test_the_grid_is_de_boors():
    """D = log cosh(4 u) has D'' = 16 / cosh^2(4 u): the steps share the integral of its cube root, u in the middle."""
    process = Diffusion(SCHEDULES["edm"](), (1,))
    u = torch.linspace(-1, 1, 41, dtype=torch.float64)
    levels = levels_of(process, process.time_of(torch.exp(-2 * u)))
    denoised = torch.log(torch.cosh(4 * u))[:, None, None]
    ways = Reference(process, levels, denoised, denoised, denoised[-1], torch.ones(41, 1).double(), 41)
    found = -process.ratio(ways.grid(11, order=2, floor=0.0)[:-1]).log() / 2
    fine = np.linspace(-1, 1, 20_001)
    share = np.cumsum(np.cosh(4 * fine) ** (-2 / 3))
    exact = np.interp(np.linspace(share[0], share[-1], 11), share, fine)
    assert found.numpy() == pytest.approx(exact, abs=0.02)
    assert found.numpy() != pytest.approx(exact + 0.04, abs=0.02)


def test_the_change_is_the_least_squares_one():
    values = [torch.randn(500, generator=torch.Generator().manual_seed(k), dtype=torch.float64) for k in range(3)]
    residual = 0.3 * values[0] - 0.2 * values[1] + 0.1 * values[2]
    assert least_change(values, residual) == pytest.approx([0.3, -0.2, 0.1], abs=1e-4)
    # Where D stands still the newest value takes the whole change: sums of values are free, differences are not.
    still = [torch.zeros(500, dtype=torch.float64), *[values[0]] * 3]
    assert least_change(still, 0.5 * values[0]) == pytest.approx([0.0, 0.0, 0.0, 0.5], abs=1e-5)
    # A part that says nothing gets nothing.
    assert least_change([torch.zeros(5), torch.zeros(5)], torch.ones(5)) == pytest.approx([0.0, 0.0], abs=1e-9)


def test_fitted_weights_lead_nearer_on_the_same_grid():
    """Where the grid is given, what is left to the fit is the weights: each step's error is what they are fitted to."""
    denoiser, times, seen, _ = problem()
    ways, method = reference(denoiser, seen, times, smooth=True), Multistep(denoiser, 3)
    grid = karras(denoiser.process, 10, low=0.02)
    levels = levels_of(denoiser.process, grid)
    plans = fitted_plan(method, grid, ways, 100)[0], method.plan(levels)
    own, plain = (rms(last(follow(denoiser, levels, plan, ways.ways[0])).x, ways.ends) for plan in plans)
    assert 2 * own < plain


def test_mending_leads_nearer_for_nothing():
    """On one grid, of one order, with as many evaluations: the second use of each one halves the error and more."""
    denoiser, times, seen, _ = problem()
    ways = reference(denoiser, seen, times, smooth=True)
    grid = ways.grid(24)
    mended, plain = (fitted_plan(Multistep(denoiser, 5, correct=c), grid, ways, 200)[1] for c in (True, False))
    assert 2 * rms(mended, ways.ends) < rms(plain, ways.ends)


def test_weights_of_another_model_are_no_better():
    """The planted fault: a plan fitted to one target, followed on another."""
    denoiser, times, seen, unseen = problem()
    other = ExactDenoiser(denoiser.process, Mixture(TARGET.weights, -2 * TARGET.means, TARGET.covariances * 4))
    ways, wrong = reference(denoiser, seen, times, smooth=True), reference(other, seen, times)
    truth = last(Multistep(denoiser, 5)(unseen, log_snr(denoiser.process, 1500, low=0.002))).x
    own, foreign = fitted(denoiser, ways, 16), fitted(denoiser, wrong, 16)
    assert rms(last(foreign(unseen)).x, truth) > 3 * rms(last(own(unseen)).x, truth)
    assert foreign.error > 3 * own.error


def test_it_walks_along_its_own_times_alone():
    denoiser, times, seen, unseen = problem()
    one = fitted(denoiser, reference(denoiser, seen, times, smooth=True), 8)
    assert torch.equal(last(one(unseen)).x, last(one(unseen, one.times)).x)
    with pytest.raises(BadInput, match="own times"):
        one(unseen, uniform(denoiser.process, 8))


def test_too_little_to_fit_to_is_refused():
    denoiser, times, seen, _ = problem(n=40)
    with pytest.raises(BadInput, match="20 steps"):
        reference(denoiser, seen, times[:10])
    ways = reference(denoiser, seen[:10], times)
    with pytest.raises(BadInput, match="24 ways"):
        fitted(denoiser, ways, 8)
    straight = ExactDenoiser(Diffusion(SCHEDULES["straight"](), (2,)), TARGET)
    with pytest.raises(BadInput, match="finite"):
        reference(straight, seen, uniform(straight.process, 40))


def test_it_takes_what_the_model_takes():
    """float32 and pictures' shapes."""
    denoiser, times, seen, _ = problem()
    deep = ExactDenoiser(Diffusion(SCHEDULES["edm"](), (1, 2, 1), 0.5), TARGET)
    ways = reference(deep, seen.float().reshape(-1, 1, 2, 1), times)
    out = last(fitted(deep, ways, 10)(seen.float().reshape(-1, 1, 2, 1))).x
    assert out.dtype == torch.float32
    truth = last(Multistep(denoiser, 5)(seen, log_snr(denoiser.process, 1500, low=0.002))).x
    # Rounding may tip the choice of a grid, so that it is the error that is alike, not the points.
    assert rms(out.flatten(1), truth) < 0.05
    assert rms(last(Heun(denoiser)(seen, karras(denoiser.process, 5))).x, truth) > 0.1


def modes(count, deviation, seed):
    means = torch.rand(count, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2 - 1
    return Mixture(torch.ones(count), means, deviation**2 * torch.eye(2, dtype=torch.float64).expand(count, 2, 2))


@pytest.mark.parametrize("seed", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_with_many_narrow_modes_it_does_not_say_too_little(seed):
    """A few ways near the borders make most of the error; judged by 128 ways, it was 5 to 10 times what was said."""
    target = modes(25, 0.05, seed)
    denoiser = ExactDenoiser(Diffusion(SCHEDULES["edm"](), (2,), 0.55), target)
    law = target.noised(1.0, 80.0)
    ways = reference(denoiser, law.sample(1536, rng=5), log_snr(denoiser.process, 129, low=0.0022), smooth=True)
    x = law.sample(2000, rng=7)
    truth = last(Multistep(denoiser, 5)(x, log_snr(denoiser.process, 300, low=0.002))).x
    for steps in (8, 16):
        ours = fitted(denoiser, ways, steps)
        assert rms(last(ours(x)).x, truth) < 4 * ours.error


def test_its_error_is_that_of_ways_which_nothing_has_seen():
    """It is what a plan of the first half leaves on the second; spoiling that one changes neither grid nor order."""
    denoiser, times, seen, _ = problem(n=64)
    ways = reference(denoiser, seen, times, smooth=True)
    plain = fitted(denoiser, ways, 8)

    def spoiled(rows):
        ends, said, gains = ways.ends.clone(), ways.denoised.clone(), ways.gains.clone()
        ends[rows] += 1.0
        said[:, rows] *= 1.5
        gains[:, rows] *= 3.0
        return fitted(denoiser, replace(ways, ends=ends, denoised=said, gains=gains), 8)

    judged, fitted_to = spoiled(slice(32, None)), spoiled(slice(0, 16))
    assert [len(step.weights) for step in judged.plan] == [len(step.weights) for step in plain.plan]
    assert torch.equal(judged.times, plain.times)
    assert judged.error > 0.5 > plain.error
    assert fitted_to.plan != plain.plan
    order = max(len(step.weights) for step in plain.plan)
    plan, ends = fitted_plan(Multistep(denoiser, order, correct=True), plain.times, ways, 32)
    squares = (ends - ways.ends)[32:].square().flatten(1).mean(1)
    assert plain.error == pytest.approx(math.sqrt(squares.mean() + 2 * squares.std() / math.sqrt(32)), rel=1e-9)
    # What is handed out is fitted to all 64.
    assert plan != plain.plan == fitted_plan(Multistep(denoiser, order, correct=True), plain.times, ways, 64)[0]
