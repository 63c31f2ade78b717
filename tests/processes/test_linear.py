"""Linear SDEs against closed forms: the named schedules, Langevin's pair of position and velocity, turning drifts."""

import math
from functools import cache

import pytest
import torch
from scipy import stats

from driftback.distributions import Mixture
from driftback.errors import BadInput
from driftback.processes import EDM, VE, VP, Diffusion, ItoReverse, ItoSDE, LinearSDE, Process, SubVP
from driftback.randomness import Rng
from driftback.samplers import Milstein, last

TIMES = (1e-6, 1e-3, 0.05, 0.4, 1.0)
EYE = torch.eye(2, dtype=torch.float64)


def matrix(*rows):
    return torch.stack([torch.stack([torch.as_tensor(v, dtype=torch.float64) for v in row]) for row in rows])


def beta(t):
    return 0.1 + 19.9 * t


def sub_vp_noise(t):
    return (-beta(t) * torch.expm1(-0.2 * t - 19.9 * t**2)).sqrt()


def close(found, expected, rtol=1e-9):
    return torch.allclose(found, expected, rtol=rtol, atol=rtol * float(expected.abs().max()))


SCALAR = {
    "vp": (VP(), LinearSDE(2, lambda t: -beta(t) / 2, lambda t: beta(t).sqrt())),
    "sub-vp": (SubVP(), LinearSDE(2, lambda t: -beta(t) / 2, sub_vp_noise)),
    "ve": (VE(), LinearSDE(2, lambda t: 0.0, lambda t: 0.01 * 5000**t * math.sqrt(2 * math.log(5000)))),
    "edm": (EDM(), LinearSDE(2, lambda t: 0.0, lambda t: 80 * (2 * t).sqrt())),
}


@pytest.mark.parametrize("name", SCALAR)
@pytest.mark.parametrize("t", TIMES)
def test_the_named_schedules_are_linear_sdes(name, t):
    schedule, sde = SCALAR[name]
    t = torch.tensor(t, dtype=torch.float64)
    phi, shift, noise = sde.transition(0.0, t)
    start = schedule.sigma(torch.zeros_like(t)) ** 2
    assert close(phi, schedule.alpha(t) * EYE)
    assert close(noise, (schedule.sigma(t) ** 2 - start * schedule.alpha(t) ** 2) * EYE)
    assert shift.abs().max() == 0
    # Planted: the noise's deviation where its variance belongs.
    assert not close(noise, schedule.sigma(t) * EYE, 1e-6)


def test_g_is_not_g_squared():
    faulty = LinearSDE(2, lambda t: -beta(t) / 2, beta)
    assert not close(faulty.transition(0.0, 1.0)[2], VP().sigma(torch.tensor(1.0)).double() ** 2 * EYE, 1e-3)


# Critically damped Langevin dynamics: M = FRICTION^2 / 4 (Dockhorn et al. 2022, arXiv 2112.07068, section 3).
FRICTION, PACE = 1.0, 4.0
MASS = FRICTION**2 / 4
LANGEVIN = LinearSDE(
    2,
    lambda t: PACE * matrix((0.0, 1 / MASS), (-1.0, -FRICTION / MASS)),
    lambda t: math.sqrt(2 * FRICTION * PACE) * matrix((0.0,), (1.0,)),
)


@pytest.mark.parametrize("t", TIMES)
def test_critically_damped_langevin_is_the_papers(t):
    """Means and covariances of appendix B with no noise at the start; and what any law at rest implies."""
    b, c = PACE * t, FRICTION
    mean = math.exp(-2 * b / c) * matrix((1 + 2 * b / c, 4 * b / c**2), (-b, 1 - 2 * b / c))
    grown, left = math.expm1(4 * b / c), math.exp(-4 * b / c)
    xx = grown - 4 * b / c - 8 * b**2 / c**2
    xv = 4 * b**2 / c
    vv = c**2 / 4 * grown + b * c - 2 * b**2
    phi, _, noise = LANGEVIN.transition(0.0, t)
    assert close(phi, mean)
    assert not close(phi, mean.T, 1e-3 * t)
    rest = torch.diag(torch.tensor([1.0, MASS], dtype=torch.float64))
    assert torch.allclose(noise, rest - phi @ rest @ phi.T, atol=1e-10)
    # The printed form loses its digits where t is small: xx is of order t^3.
    assert torch.allclose(noise, left * matrix((xx, xv), (xv, vv)), rtol=1e-9, atol=1e-14)
    assert not torch.allclose(noise, left * matrix((vv, xv), (xv, xx)), rtol=1e-3, atol=1e-14)


TURN = LinearSDE(2, lambda t: matrix((-0.5, -6 * t), (6 * t, -0.5)), lambda t: 1 + t, lambda t: torch.ones(2))


@pytest.mark.parametrize(("s", "t"), [(0.0, 0.7), (0.3, 0.7), (0.7, 0.7 + 1e-6), (0.2, 0.2)])
def test_a_turning_drift_turns(s, t):
    """Phi = exp(-(t - s) / 2) R(3 (t^2 - s^2)) and C = int exp(-(t - u)) (1 + u)^2 du I; transposed it is refused."""
    angle, shrink = 3 * (t**2 - s**2), math.exp(-(t - s) / 2)
    rotation = matrix((math.cos(angle), -math.sin(angle)), (math.sin(angle), math.cos(angle)))
    phi, _, noise = TURN.transition(s, t)
    assert close(phi, shrink * rotation)
    variance = (t**2 + 1) - math.exp(-(t - s)) * (s**2 + 1)
    assert torch.allclose(noise, variance * EYE, rtol=1e-9, atol=1e-15)
    if angle > 1e-3:
        assert not close(phi, shrink * rotation.T, 1e-3)


def test_steps_compose():
    whole, one, two = TURN.transition(0.0, 0.9), TURN.transition(0.0, 0.35), TURN.transition(0.35, 0.9)
    assert close(whole[0], two[0] @ one[0])
    assert close(whole[1], two[0] @ one[1] + two[1])
    assert close(whole[2], two[0] @ one[2] @ two[0].T + two[2])
    assert not close(whole[2], one[2] + two[2], 1e-2)


def test_one_noise_may_drive_two_numbers():
    """F = 0, G = (t, 1): C = [[t^3 / 3, t^2 / 2], [t^2 / 2, t]]; and a shift u = (1, 2 t) moves by (t, t^2)."""
    sde = LinearSDE(2, lambda t: 0.0, lambda t: matrix((t,), (1.0,)), lambda t: torch.stack([t * 0 + 1, 2 * t]))
    phi, shift, noise = sde.transition(0.0, 0.6)
    assert close(phi, EYE)
    assert close(shift, torch.tensor([0.6, 0.36], dtype=torch.float64))
    assert close(noise, matrix((0.072, 0.18), (0.18, 0.6)))
    assert not close(noise, matrix((0.072, 0.0), (0.0, 0.6)), 1e-3)


ALL = {"vp": SCALAR["vp"][1], "langevin": LANGEVIN, "turning": TURN}
TARGET = Mixture(
    torch.tensor([0.3, 0.7]),
    torch.tensor([[-1.0, 0.2], [0.8, -0.1]]),
    torch.stack([torch.diag(torch.tensor([0.09, MASS])), torch.diag(torch.tensor([0.04, MASS]))]),
)


@pytest.fixture(params=ALL)
def sde(request):
    return ALL[request.param]


def test_a_linear_sde_is_a_process_and_an_sde(sde):
    assert isinstance(sde, Process)
    assert isinstance(sde, ItoSDE)
    assert sde.simple.event_shape == (2,)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shapes_types_and_items_are_kept(sde, dtype):
    x, t = torch.arange(20, dtype=dtype).reshape(10, 2), torch.linspace(0.1, 1, 10)
    whole = sde.forward(x, t, rng=5), sde.bridge(x, x, t, t / 2, rng=5), sde.drift(x, t)
    part = sde.forward(x[4:], t[4:], rng=Rng(5).item(4)), sde.bridge(x[4:], x[4:], t[4:], t[4:] / 2, rng=Rng(5).item(4))
    assert all(moved.shape == x.shape and moved.dtype == dtype for moved in whole)
    assert all(torch.equal(one[4:], other) for one, other in zip(whole, part, strict=False))
    assert torch.equal(sde.forward(x, t[3], rng=5)[3], whole[0][3])
    assert torch.equal(sde.bridge(x, x, t[3], t[3] / 2, rng=5)[3], whole[1][3])


@pytest.mark.parametrize(("t", "s"), [(1.0, 0.6), (0.7, 0.3), (0.5, 0.5 - 1e-4), (0.02, 0.01)])
def test_the_bridge_leads_to_the_forward_law(sde, t, s):
    """Exact algebra: with x_t drawn forward, x_s has the mean and covariance of the forward law at s."""
    x0 = torch.tensor([[1.5, -0.4]], dtype=torch.float64)
    phi_t, shift_t, noise_t = sde.transition(0.0, t)
    phi_s, shift_s, noise_s = sde.transition(0.0, s)
    at = [sde.bridge_moments(x0, end, t, s)[0][0] for end in (torch.zeros(1, 2).double(), *EYE[:, None])]
    covariance = sde.bridge_moments(x0, x0, t, s)[1]
    gain = torch.stack([at[1] - at[0], at[2] - at[0]], 1)
    assert torch.allclose(at[0] + gain @ (phi_t @ x0[0] + shift_t), phi_s @ x0[0] + shift_s, atol=1e-8)
    assert close(gain @ noise_t @ gain.T + covariance, noise_s, 1e-7)
    # Planted: a covariance where its root belongs.
    assert not close(gain @ noise_t @ gain.T + covariance @ covariance, noise_s, 1e-7)


def test_the_bridge_is_the_diffusions():
    x0, x_t = torch.randn(2, 5, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mean, covariance = SCALAR["vp"][1].bridge_moments(x0, x_t, 0.7, 0.3)
    known, deviation = Diffusion(VP(), (2,)).bridge_moments(x0, x_t, 0.7, 0.3)
    assert torch.allclose(mean, known, rtol=1e-8, atol=1e-9)
    assert torch.allclose(covariance, deviation**2 * EYE, rtol=1e-8, atol=1e-10)


def test_draws_have_the_law_that_is_stated(sde):
    """20,000 draws, whitened: every entry of their covariance within 4.5 standard errors; 1.2 C is refused."""
    n, t = 20_000, 0.4
    phi, shift, noise = sde.transition(0.0, t)
    x0 = torch.tensor([1.5, -0.4], dtype=torch.float64)
    x = sde.forward(x0.expand(n, 2), t, rng=1) - phi @ x0 - shift

    def far(covariance):
        white = torch.linalg.solve_triangular(torch.linalg.cholesky(covariance), x.T, upper=False)
        return float((white @ white.T / n - EYE).abs().max() * math.sqrt(n / 2))

    assert far(noise) < 4.5
    assert far(1.2 * noise) > 4.5


def test_marginals_of_a_mixture_are_a_diffusions():
    law, known = SCALAR["vp"][1].marginal(TARGET, 0.4), Diffusion(VP(), (2,))
    noised = TARGET.noised(known.alpha(0.4), known.sigma(0.4))
    x = torch.linspace(-2, 2, 20, dtype=torch.float64).reshape(10, 2)
    assert torch.allclose(law.score(x), noised.score(x), rtol=1e-8)
    assert not torch.allclose(law.score(x), TARGET.score(x), rtol=1e-2)


def distance(x, law, direction):
    """Kolmogorov-Smirnov along one direction."""
    u = torch.tensor(direction, dtype=torch.float64)
    means, deviations = (law.means @ u).numpy(), (u @ law.covariances @ u).sqrt().numpy()

    def cdf(v):
        return stats.norm.cdf((v[:, None] - means) / deviations) @ law.weights.numpy()

    return stats.kstest((x @ u).numpy(), cdf).statistic


class Unspread(ItoReverse):
    """Planted: the score acts on all numbers alike, as if G G^T were a multiple of the identity."""

    def drift(self, x, t):
        g2 = self.sde.dispersion(x, t).square().sum((1, 2)) / 2
        return self.sde.drift(x, t) - (1 + self.noise**2) / 2 * g2[:, None] * self.score(x, t)


@pytest.mark.parametrize("name", ["langevin", "turning"])
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_a_mixture_comes_back(name, eta):
    """2,000 points, 100 steps (Langevin's ODE needs 400), four directions; a false alarm once in 5,000.

    The rule itself adds up to .02.
    """
    n, sde = 2000, ALL[name]
    floor = 2.3 / math.sqrt(n) + 0.02
    times = torch.linspace(1, 0, 401 if (name, eta) == ("langevin", 0.0) else 101, dtype=torch.float64)
    x = sde.marginal(TARGET, 1.0).sample(n, rng=1)

    def far(score, reverse=ItoReverse):
        back = last(Milstein(reverse(sde, score, eta))(x, times, rng=2)).x
        return max(distance(back, TARGET, u) for u in [(1.0, 0.0), (0.0, 1.0), (1.0, 1.0), (1.0, -1.0)])

    law = cache(lambda t: sde.marginal(TARGET, t))  # the same times every way

    def score(x, t):
        return law(float(t)).score(x)

    assert far(score) < floor
    assert far(lambda x, t: 1.3 * score(x, t)) > floor
    if name == "langevin":
        assert far(score, Unspread) > floor


def test_the_simple_distribution_is_that_of_round_data():
    """The law of x_1 for N(0, spread^2 I), through the marginal of a mixture of one."""
    turning = LinearSDE(2, lambda t: matrix((-1, 2), (-2, -1)), lambda t: 1 + t, lambda t: torch.ones(2), spread=3.0)
    exact = turning.marginal(Mixture(torch.ones(1), torch.zeros(1, 2), 9 * EYE[None]), 1.0)
    assert close(turning.simple.mean, exact.means[0])
    assert close(turning.simple.covariance, exact.covariances[0])
    narrow = turning.marginal(Mixture(torch.ones(1), torch.zeros(1, 2), 3 * EYE[None]), 1.0)
    assert not close(turning.simple.covariance, narrow.covariances[0], rtol=1e-2)


def test_what_is_no_linear_sde_is_refused():
    with pytest.raises(BadInput, match="flatten"):
        LANGEVIN.forward(torch.zeros(3, 1, 2), 0.5)
    with pytest.raises(BadInput, match="no way forward"):
        LANGEVIN.transition(0.5, 0.2)
    with pytest.raises(BadInput, match="2 rows"):
        LinearSDE(2, lambda t: torch.eye(3), lambda t: 1.0).transition(0.0, 1.0)
    with pytest.raises(BadInput, match="without poles"):
        LinearSDE(1, lambda t: float("nan"), lambda t: 1.0).transition(0.0, 1.0)


@pytest.mark.parametrize("t", [-0.5, 1.5, math.nan])
def test_a_time_outside_is_refused(t):
    with pytest.raises(BadInput, match="outside"):
        LinearSDE(2, lambda t: -1.0, lambda t: 1.0).forward(torch.zeros(2, 2), t)


@pytest.mark.parametrize("u", [math.nan, [1.0, 2.0, 3.0]])
def test_a_shift_that_is_none_is_refused(u):
    sde = LinearSDE(2, lambda t: -1.0, lambda t: 1.0, lambda t: torch.tensor(u))
    with pytest.raises(BadInput, match="u is"):
        sde.transition(0, 1)


def test_a_drift_that_is_not_square_is_refused():
    with pytest.raises(BadInput, match="2 rows"):
        LinearSDE(2, lambda t: torch.ones(2, 3), lambda t: 1.0).transition(0, 1)
