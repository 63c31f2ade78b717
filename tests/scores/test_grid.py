"""The recorded score is the exact one inside the noise of the grid, and the way back on it ends at the data."""

import math

import pytest
import torch
from scipy import stats

from driftback.distributions import Mixture
from driftback.errors import BadInput
from driftback.processes import VP, Cosine, Diffusion, Isotropic, ItoReverse, NonlinearSDE, Reverse, axis, record
from driftback.samplers import EulerMaruyama, Heun, Milstein, last, log_snr
from driftback.scores.exact import ExactDenoiser
from driftback.scores.grid import GridDenoiser, GridDensity

LINE = Mixture(torch.tensor([0.4, 0.6]), torch.tensor([[-1.5], [1.0]]), torch.tensor([[[0.09]], [[0.16]]]))
PLANE = Mixture(torch.ones(2), torch.tensor([[-1.5, 0.0], [1.5, 0.0]]), 0.25 * torch.eye(2).expand(2, 2, 2))
PROCESS, FLAT = Diffusion(VP(), (1,)), Diffusion(VP(), (2,))
TIMES = torch.linspace(0, 1, 61, dtype=torch.float64) ** 2


def on_line(sde=None, cells=300):
    return GridDensity(record(sde or Isotropic(PROCESS), LINE, [axis(-6, 6, cells)], TIMES))


@pytest.fixture(scope="module")
def line():
    return on_line()


@pytest.fixture(scope="module")
def plane():
    box = [axis(-5.5, 5.5, 90), axis(-5.0, 5.0, 80)]
    return GridDensity(record(Isotropic(FLAT), PLANE, box, TIMES[::2], substeps=2))


def law(target, t):
    return target.noised(PROCESS.alpha(t), PROCESS.sigma(t))


def score_error(density, t, factor=1.0):
    """The root mean square of the score's error where p_t puts its points, times the noise's deviation."""
    exact = law(LINE, t)
    x = exact.sample(500, rng=0)
    error = factor * density.score(x, t) - exact.score(x)
    return float(error.square().mean().sqrt() * PROCESS.sigma(t))


@pytest.mark.parametrize("t", [0.01, 0.0437, 0.1, 0.333, 0.9])
def test_the_score_is_the_exact_one(line, t):
    """In units of the noise, as eps is predicted; also at times between the recorded ones."""
    assert score_error(line, t) < 0.002
    assert score_error(line, t, factor=1.1) > 0.01


def test_the_score_converges_with_order_two():
    errors = [score_error(on_line(cells=cells), 0.1) for cells in (60, 120, 240)]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(2, abs=0.3)
    assert math.log2(errors[1] / errors[2]) == pytest.approx(2, abs=0.3)


def test_log_prob_is_exact_and_the_score_is_its_gradient(line, plane):
    for density, target in ((line, LINE), (plane, PLANE)):
        x = law(target, 0.2).sample(100, rng=1)
        assert torch.allclose(density.log_prob(x, 0.2), law(target, 0.2).log_prob(x), atol=0.02)
        score, h = density.score(x, 0.2), 1e-5
        for i in range(x.shape[1]):
            step = h * torch.eye(x.shape[1], dtype=torch.float64)[i]
            slope = (density.log_prob(x + step, 0.2) - density.log_prob(x - step, 0.2)) / (2 * h)
            assert torch.allclose(slope, score[:, i], atol=1e-6)
            assert not torch.allclose(slope, 0.9 * score[:, i], atol=1e-3)


def test_outside_the_box_it_goes_straight_on(line):
    edge = float(line.recording.axes[0][-1])
    x = torch.tensor([[edge], [edge + 1], [edge + 2]], dtype=torch.float64)
    log_p, score = line.log_prob(x, 0.5), line.score(x, 0.5)
    assert torch.allclose(score, score[:1].expand(3, 1))
    assert float(score[0]) < 0
    assert torch.allclose(log_p.diff(), score[1:, 0])


def test_it_is_a_denoiser_like_the_exact_one(line):
    """Times one by one, float32, events of any shape; a density recorded with twice the noise is not it."""
    ours, exact = GridDenoiser(PROCESS, line), ExactDenoiser(PROCESS, LINE)
    t = torch.tensor([0.05, 0.2, 0.6], dtype=torch.float64)
    x = torch.tensor([[-1.2], [0.3], [0.9]])
    assert ours.denoised(x, t).dtype == torch.float32
    assert torch.allclose(ours.denoised(x, t), exact.denoised(x, t), atol=0.02)
    assert torch.equal(ours.denoised(x[..., None], t)[..., 0], ours.denoised(x, t))
    doubled = NonlinearSDE(PROCESS.drift, lambda x, t: 2**0.5 * Isotropic(PROCESS).dispersion(x, t))
    assert not torch.allclose(GridDenoiser(PROCESS, on_line(doubled)).denoised(x, t), exact.denoised(x, t), atol=0.1)


def distance(x, target, direction):
    """Kolmogorov-Smirnov along one direction."""
    u = torch.tensor(direction, dtype=torch.float64)
    means, deviations = (target.means @ u).numpy(), (u @ target.covariances @ u).sqrt().numpy()

    def cdf(v):
        return stats.norm.cdf((v[:, None] - means) / deviations) @ target.weights.numpy()

    return stats.kstest((x @ u).numpy(), cdf).statistic


N = 2000
# A distance of 2.3 / sqrt(n) comes once in 20,000 by chance; 80 steps of the reverse SDE add up to .01.
FLOOR = 2.3 / math.sqrt(N) + 0.01
SAMPLERS = {
    "heun": Heun,
    "reverse sde": lambda d: EulerMaruyama(Reverse(d.process, d.score)),
}


def back(make, denoiser, target):
    times = log_snr(denoiser.process, 80, low=0.05, high=20.0, end=0.05)
    start, end = law(target, float(times[0])), law(target, float(times[-1]))
    x = last(make(denoiser)(start.sample(N, rng=1), times, rng=2)).x
    directions = {1: [(1.0,)], 2: [(1.0, 0.0), (0.0, 1.0), (0.6, 0.8)]}
    return max(distance(x, end, u) for u in directions[x.shape[1]])


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_way_back_on_a_recording_ends_at_the_data(name, line):
    assert back(SAMPLERS[name], GridDenoiser(PROCESS, line), LINE) < FLOOR


@pytest.mark.parametrize("name", SAMPLERS)
def test_in_the_plane_too(name, plane):
    assert back(SAMPLERS[name], GridDenoiser(FLAT, plane), PLANE) < FLOOR


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize(("drift", "noise"), [(1.0, 2.0), (-1.0, 1.0)])
def test_a_wrong_recording_leads_elsewhere(name, drift, noise):
    """Planted: recorded without the 1/2 of the diffusion, or with the drift turned round."""
    sde = NonlinearSDE(
        lambda x, t: drift * PROCESS.drift(x, t), lambda x, t: noise**0.5 * Isotropic(PROCESS).dispersion(x, t)
    )
    times = TIMES / 4
    faulty = GridDensity(record(sde, LINE, [axis(-14, 14, 700)], times))
    denoiser = GridDenoiser(PROCESS, faulty)
    grid = torch.linspace(0.25, 0.001, 161, dtype=torch.float64)
    x = law(LINE, 0.25).sample(N, rng=1)
    assert distance(last(SAMPLERS[name](denoiser)(x, grid, rng=2)).x, law(LINE, 0.001), (1.0,)) > FLOOR


def test_a_double_well_comes_back():
    """A drift that is not linear, whose law has no formula: recorded, and run back to the exact start.

    From the recorded density at t = 1, drawn by its own distribution function.
    """
    well = NonlinearSDE(lambda x, t: 4 * (x - x**3), lambda x, t: torch.ones_like(x)[..., None])
    start = Mixture(torch.ones(1), torch.tensor([[0.4]]), torch.tensor([[[0.02]]]))
    recording = record(well, start, [axis(-3, 3, 400)], TIMES)
    density, share = GridDensity(recording), (torch.arange(N, dtype=torch.float64) + 0.5) / N
    step, at = recording.volume, recording.axes[0] + recording.volume / 2
    below = recording.densities[-1].cumsum(0) * step
    k = torch.searchsorted(below, share)
    x = at[k] - (below[k] - share) / recording.densities[-1][k]
    times = torch.linspace(1, 0, 201, dtype=torch.float64)

    def far(score):
        return distance(last(Milstein(ItoReverse(well, score))(x[:, None], times, rng=3)).x, start, (1.0,))

    assert far(density.score) < FLOOR
    assert far(lambda x, t: 1.5 * density.score(x, t)) > FLOOR


def test_what_was_not_recorded_is_refused(line):
    part = GridDensity(record(Isotropic(PROCESS), LINE, [axis(-6, 6, 100)], TIMES[:20]))
    with pytest.raises(BadInput, match="record it there too"):
        part.score(torch.zeros(2, 1), 0.9)
    with pytest.raises(BadInput, match="no place on a grid"):
        line.score(torch.zeros(2, 3), 0.9)
    with pytest.raises(BadInput, match="alpha is 0"):
        GridDenoiser(Diffusion(Cosine(), (1,)), line).denoised(torch.zeros(2, 1), 1.0)
