"""Along any grid the noise is independent and standard normal, and two grids see one path."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import stats

from driftback.processes import SCHEDULES, Diffusion
from driftback.randomness import Rng
from driftback.samplers import Ancestral, EulerMaruyama, Multistep, StochasticHeun, karras, last, log_snr
from driftback.samplers.brownian import EQUAL, LOGARITHMIC, increments
from driftback.samplers.levels import levels_of, step_noise
from driftback.scores.denoiser import Denoiser

ITEMS = 1000
GRIDS = {
    "forward": (EQUAL, np.linspace(0, 1, 40)),
    "back": (EQUAL, np.linspace(1, 0, 160)),
    "uneven": (EQUAL, np.array([0.9, 0.899, 0.8985, 0.5, 0.031, 0.03, 0.0001, 0.0])),
    "ratios": (LOGARITHMIC, np.geomspace(80, 0.002, 60) ** -2),
    "wide": (EQUAL, np.array([0.05, 0.35, 0.4, 0.95])),
    "from pure noise": (LOGARITHMIC, np.array([0.0, *np.geomspace(1e4, 0.01, 30) ** -2])),
}


def noise(lattice, clocks, seed=1):
    return torch.stack(list(increments(list(clocks), (ITEMS, 2), lattice, rng=Rng(seed), dtype=torch.float64)))


def independent_and_standard(z):
    """KS against the normal law, and every correlation of two steps: together a false alarm in 5,000 seeds."""
    steps = z.flatten(1)
    p = stats.kstest(steps.flatten().numpy(), "norm").pvalue
    off = torch.corrcoef(steps) - torch.eye(len(steps), dtype=z.dtype)
    bound = stats.norm.isf(5e-5 / max(1, len(steps) * (len(steps) - 1)))
    return p > 1e-4 and float(off.abs().max()) * math.sqrt(steps.shape[1]) < bound


@pytest.mark.parametrize("name", GRIDS)
def test_the_steps_are_independent_and_standard_normal(name):
    lattice, clocks = GRIDS[name]
    z = noise(lattice, clocks)
    assert z.shape == (len(clocks) - 1, ITEMS, 2)
    assert independent_and_standard(z)
    # Planted faults: a width for its root, and a path that is used twice.
    assert not independent_and_standard(z * 1.15)
    assert not independent_and_standard(torch.cat([z, z[:1] * 0.6 + 0.8 * z[1:2]]))


def path(lattice, clocks, seed=1):
    """W at `clocks`, minus W at the first."""
    widths = torch.from_numpy(np.sqrt(np.abs(np.diff(clocks))))[:, None, None]
    return torch.cat([torch.zeros(1, ITEMS, 2, dtype=torch.float64), (noise(lattice, clocks, seed) * widths).cumsum(0)])


@pytest.mark.parametrize("name", ["forward", "ratios"])
def test_twice_as_many_steps_follow_the_same_path(name):
    """At shared places the paths differ by under 2 % of a step's variance; another seed's by twice all of it."""
    lattice, clocks = GRIDS[name]
    fine = np.sort(np.concatenate([clocks, (clocks[1:] + clocks[:-1]) / 2]))
    coarse, finer = path(lattice, clocks), path(lattice, fine)[::2]
    own = (coarse.diff(dim=0) - finer.diff(dim=0)).square().mean((1, 2)) / torch.from_numpy(np.diff(clocks))
    other = (coarse.diff(dim=0) - path(lattice, fine, seed=2)[::2].diff(dim=0)).square().mean((1, 2))
    assert float(own.max()) < 0.02
    assert float((other / torch.from_numpy(np.diff(clocks))).min()) > 1.5


@pytest.mark.parametrize("name", ["forward", "ratios", "wide"])
def test_the_way_back_sees_the_path_of_the_way_forward(name):
    lattice, clocks = GRIDS[name]
    assert torch.allclose(noise(lattice, clocks), -noise(lattice, clocks[::-1]).flip(0), atol=1e-9)


def test_a_step_of_no_length_has_no_noise_and_changes_none():
    clocks = [0.1, 0.2, 0.2, 0.5]
    z, plain = noise(EQUAL, clocks), noise(EQUAL, [0.1, 0.2, 0.5])
    assert not z[1].any()
    assert torch.equal(z[[0, 2]], plain)
    assert list(increments([0.3], (2, 2), EQUAL, rng=Rng(0))) == []


def test_two_steps_of_a_way_back_add_up_to_one():
    """dW over a step in 1 / r^2 is the sum over its halves up to 2 % of its variance; in the clock 1 / r it is not."""
    process, x = Diffusion(SCHEDULES["edm"](), (2,)), torch.zeros(ITEMS, 2, dtype=torch.float64)
    times = process.time_of(torch.logspace(1, -1, 3, dtype=torch.float64))
    first, second = step_noise(levels_of(process, times), x, Rng(1))
    (whole,) = step_noise(levels_of(process, times[::2]), x, Rng(1))

    def off(power):
        a, b, c = (float(r) ** power for r in process.ratio(times))
        both = (first * math.sqrt(b - a) + second * math.sqrt(c - b)) / math.sqrt(c - a)
        return float((whole - both).square().mean())

    assert off(-2) < 0.02
    assert off(-1) > 0.02


class Point(Denoiser):
    """All data are the point 0.3, so that the reverse SDE is linear and every exact method exact."""

    process = Diffusion(SCHEDULES["vp"](), (2,))

    def denoised(self, x, t):
        return torch.full_like(x, 0.3)


@pytest.mark.parametrize("make", [Ancestral, lambda d: Multistep(d, 2, noise=1.0)], ids=["ancestral", "multistep"])
def test_where_the_solver_is_exact_all_step_counts_give_the_same_points(make):
    """The law of one path: 5, 50 and 100 steps end at one point, up to what is finer than the lattice."""
    x = Point.process.simple.sample(500, rng=0).double()

    def end(steps, seed=1):
        times = log_snr(Point.process, steps, low=0.1, high=20.0, end=0.1)
        return last(make(Point())(x, times, rng=seed)).x

    unit = float((end(50) - end(50, seed=2)).square().mean().sqrt())
    for steps in (5, 100):
        assert float((end(steps) - end(50)).square().mean().sqrt()) < 0.15 * unit


@pytest.mark.parametrize("make", [EulerMaruyama, StochasticHeun], ids=["euler-maruyama", "heun"])
def test_rules_in_t_converge_along_their_path(make):
    """Strong convergence: doubling the steps halves the distance to a fine solution on the same path."""
    process = Diffusion(SCHEDULES["vp"](), (2,))
    x0 = torch.full((300, 2), 1.5, dtype=torch.float64)
    ends = {
        n: last(make(process)(x0, torch.linspace(0.05, 1, n + 1, dtype=torch.float64), rng=1)).x for n in (32, 64, 2048)
    }
    coarse, fine = ((ends[n] - ends[2048]).square().mean().sqrt() for n in (32, 64))
    assert 1.6 < float(coarse / fine) < 2.6
    other = last(make(process)(x0, torch.linspace(0.05, 1, 65, dtype=torch.float64), rng=2)).x
    assert float((other - ends[2048]).square().mean().sqrt()) > 5 * float(fine)


def test_ratios_are_what_noise_belongs_to_not_steps():
    """EDM and VP at the same ratios see the same noise, so they make the same points."""
    ends = []
    for name in ("vp", "edm"):
        process = Diffusion(SCHEDULES[name](), (2,))

        class Shrunk(Denoiser):
            def denoised(self, x, t):
                return 0.2 * x / (self.process.alpha(t) * (1 + self.process.ratio(t) ** 2)).to(x.dtype)

        denoiser = Shrunk()
        denoiser.process = process
        times = karras(process, 12, low=0.05, high=10.0)
        y = 10 * Rng(0).normal((20, 2), dtype=torch.float64)
        ends.append(last(Ancestral(denoiser)(y * process.alpha(times[0]), times, rng=1)).x)
    assert torch.allclose(*ends, atol=1e-6)
    assert all(a > b for a, b in pairwise(karras(process, 12).tolist()))
