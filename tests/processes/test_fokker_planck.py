"""Recorded densities against exact ones: of mixtures under the named schedules, and of SDEs that are not linear."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import stats

from driftback.distributions import Gaussian, Mixture
from driftback.errors import BadInput
from driftback.processes import VP, Diffusion, Isotropic, NonlinearSDE, axis, record

LINE = Mixture(torch.tensor([0.4, 0.6]), torch.tensor([[-1.5], [1.0]]), torch.tensor([[[0.09]], [[0.16]]]))
PLANE = Mixture(torch.ones(2), torch.tensor([[-1.5, 0.0], [1.5, 0.0]]), 0.25 * torch.eye(2).expand(2, 2, 2))
PROCESS = Diffusion(VP(), (1,))
END = 0.3


def graded(steps, end=1.0):
    """Times that start finely, where the noise is still small."""
    return torch.linspace(0, 1, steps + 1, dtype=torch.float64) ** 2 * end


def points(axes):
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(axes))


def gap(recording, law, k=-1):
    """Total variation times two between the recorded density and `law`."""
    exact = law.log_prob(points(recording.axes)).exp()
    return float((recording.densities[k].flatten() - exact).abs().sum() * recording.volume)


def noised(target, t):
    return target.noised(PROCESS.alpha(t), PROCESS.sigma(t))


def order(values):
    return [math.log2(a / b) for a, b in pairwise(values)]


def test_the_error_is_of_order_two_in_the_cells():
    """400 steps to t = .3; 60, 120 and 240 cells on [-6, 6]."""
    gaps = [
        gap(record(Isotropic(PROCESS), LINE, [axis(-6, 6, cells)], graded(100, END)), noised(LINE, END))
        for cells in (60, 120, 240)
    ]
    assert gaps[-1] < 3e-4
    assert order(gaps) == pytest.approx([2, 2], abs=0.1)


def test_the_error_is_of_order_two_in_the_step():
    """1,920 cells, whose own error of 4e-6 is small beside that of 20, 40 and 80 steps."""
    gaps = [
        gap(record(Isotropic(PROCESS), LINE, [axis(-6, 6, 1920)], graded(steps, END)), noised(LINE, END))
        for steps in (5, 10, 20)
    ]
    assert order(gaps) == pytest.approx([2, 2], abs=0.15)


class Faulty(Isotropic):
    """The same SDE with `drift_factor` on the drift and `noise_factor` on the noise."""

    drift_factor, noise_factor = 1.0, 1.0

    def drift(self, x, t):
        return self.drift_factor * super().drift(x, t)

    def dispersion(self, x, t):
        return self.noise_factor * super().dispersion(x, t)


class WithoutHalf(Faulty):
    noise_factor = math.sqrt(2)


class Turned(Faulty):
    drift_factor = -1.0


@pytest.mark.parametrize("fault", [WithoutHalf, Turned])
def test_a_wrong_equation_is_noticed(fault):
    """Planted: the diffusion without its 1/2, the drift with the other sign."""
    times, box = graded(25, 0.2), [axis(-8, 8, 160)]
    law = noised(LINE, 0.2)
    assert gap(record(Faulty(PROCESS), LINE, box, times), law) < 0.01
    assert gap(record(fault(PROCESS), LINE, box, times), law) > 0.1


def test_every_recorded_time_is_right_and_keeps_its_mass():
    recording = record(Isotropic(PROCESS), LINE, [axis(-6, 6, 300)], graded(60))
    assert recording.densities.shape == (61, 300)
    assert (recording.mass() - 1).abs().max() < 1e-10
    assert recording.densities.min() > 0
    gaps = [gap(recording, noised(LINE, float(t)), k) for k, t in enumerate(recording.times)]
    assert max(gaps) < 2e-3
    # One time later is another law.
    assert gap(recording, noised(LINE, float(recording.times[20])), 25) > 0.02


def test_a_density_never_turns_negative_even_in_giant_steps():
    """From almost a point in two steps: the trapezoidal rule alone would swing below zero."""
    narrow = Gaussian(torch.zeros(1, dtype=torch.float64), 0.01 * torch.eye(1, dtype=torch.float64))
    brownian = NonlinearSDE(lambda x, t: torch.zeros_like(x), lambda x, t: torch.ones_like(x)[..., None])
    recording = record(brownian, narrow, [axis(-8, 8, 400)], torch.tensor([0.0, 0.5, 1.0]).double(), substeps=1)
    assert recording.damped > 0
    assert recording.densities.min() >= 0
    assert (recording.mass() - 1).abs().max() < 1e-10


def test_in_the_plane_two_gaussians_keep_their_law():
    process = Diffusion(VP(), (2,))
    box = [axis(-5.5, 5.5, 80), axis(-5.0, 5.0, 70)]
    recording = record(Isotropic(process), PLANE, box, graded(20), substeps=2)
    assert recording.densities.shape == (21, 80, 70)
    assert (recording.mass() - 1).abs().max() < 1e-10
    for k, t in enumerate(recording.times.tolist()):
        assert gap(recording, noised(PLANE, t), k) < 6e-3
    swapped = Mixture(PLANE.weights, PLANE.means.flip(1), PLANE.covariances)
    assert gap(recording, noised(swapped, float(recording.times[10])), 10) > 0.1


# The double well dx = -V' dt + g dW with V = x^4 / 4 - x^2 / 2 rests in exp(-2 V / g^2).
G = 0.8
WELL = NonlinearSDE(lambda x, t: x - x**3, lambda x, t: G * torch.ones_like(x)[..., None])


def resting(x, factor=2.0):
    weight = np.exp(-factor * (x**4 / 4 - x**2 / 2) / G**2)
    return weight / weight.sum() / (x[1] - x[0])


def test_a_double_well_comes_to_rest():
    """From one well, in 60 units of time: within 4e-4 of exp(-2 V / g^2), far from exp(-V / g^2)."""
    start = Gaussian(torch.ones(1, dtype=torch.float64), 0.04 * torch.eye(1, dtype=torch.float64))
    recording = record(WELL, start, [axis(-3.5, 3.5, 200)], 60 * graded(60))
    p, x = recording.densities[-1].numpy(), recording.axes[0].numpy()
    assert np.abs(p - resting(x)).sum() * recording.volume < 4e-4
    assert np.abs(p - resting(x, 1.0)).sum() * recording.volume > 0.1
    # On the way it is not there yet: one well still holds more.
    assert float(recording.densities[15][100:].sum()) * recording.volume > 0.7


class Lognormal:
    """log x ~ N(mean, deviation^2)."""

    def __init__(self, mean, deviation):
        self.law = stats.lognorm(s=deviation, scale=math.exp(mean))

    def log_prob(self, x):
        return torch.from_numpy(self.law.logpdf(x[:, 0].numpy()))


def test_noise_that_depends_on_the_point():
    """Geometric Brownian motion dx = a x dt + s x dW stays lognormal; in Stratonovich's sense it would drift faster."""
    a, s = 0.1, 0.4
    sde = NonlinearSDE(lambda x, t: a * x, lambda x, t: s * x[..., None])
    recording = record(sde, Lognormal(0.0, 0.3), [axis(0, 12, 1200)], graded(30))
    assert gap(recording, Lognormal(a - s**2 / 2, math.sqrt(0.3**2 + s**2))) < 1e-3
    assert gap(recording, Lognormal(a, math.sqrt(0.3**2 + s**2))) > 0.05


def test_what_cannot_be_recorded_is_refused_by_name():
    sde, times = Isotropic(PROCESS), graded(10, END)
    with pytest.raises(BadInput, match="widen it, or use more cells"):
        record(sde, LINE, [axis(-2, 2, 50)], times)
    wandering = NonlinearSDE(lambda x, t: 5 + 0 * x, lambda x, t: torch.ones_like(x)[..., None])
    with pytest.raises(BadInput, match=r"at a wall at t = .*; widen the box"):
        record(wandering, LINE, [axis(-4, 4, 100)], torch.linspace(0, 1, 5).double())
    mixed = NonlinearSDE(lambda x, t: x, lambda x, t: torch.ones(len(x), 2, 1, dtype=x.dtype))
    with pytest.raises(BadInput, match="not diagonal"):
        record(mixed, PLANE, [axis(-5, 5, 40), axis(-5, 5, 40)], times)
    with pytest.raises(BadInput, match="increasing times"):
        record(sde, LINE, [axis(-6, 6, 60)], times.flip(0))
    with pytest.raises(BadInput, match="one axis or two"):
        record(sde, LINE, [], times)
    with pytest.raises(BadInput, match="no axis"):
        axis(1, 0, 10)
    with pytest.raises(BadInput, match="not finite"):
        record(NonlinearSDE(lambda x, t: x / (t - t), WELL.g), LINE, [axis(-6, 6, 60)], times)


def test_where_drift_outruns_noise_it_says_so_and_the_order_is_one():
    """dx = -4 x dt + .02 dW on [-2, 2], from N(.5, .04): the law stays normal. With more noise the order is two."""
    start = Mixture(torch.ones(1), torch.tensor([[0.5]]), torch.tensor([[[0.04]]]))

    def run(noise, cells):
        sde = NonlinearSDE(lambda x, t: -4 * x, lambda x, t: noise * torch.ones_like(x)[..., None])
        return record(sde, start, [axis(-2, 2, cells)], torch.linspace(0, 0.2, 21, dtype=torch.float64))

    def exact(noise):
        kept = math.exp(-0.8)
        return Mixture(
            torch.ones(1),
            torch.tensor([[0.5 * kept]]),
            torch.tensor([[[0.04 * kept**2 + noise**2 * (1 - kept**2) / 8]]]),
        )

    for noise, expected in ((0.02, 1), (0.5, 2)):
        runs = [run(noise, cells) for cells in (200, 400)]
        gaps = [gap(one, exact(noise)) for one in runs]
        assert order(gaps) == pytest.approx([expected], abs=0.3)
        assert (runs[0].upwinded > 0.5) == (expected == 1)
