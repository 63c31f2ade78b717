"""SDEs with noise that depends on the point: their parts are as written, and their reverse returns where they began.

The laws on the way are known exactly: geometric Brownian motion is lognormal, the square-root process rests in a
Gamma law, and a Gaussian process seen through a bend of the plane has a density by change of variables.
"""

import math

import pytest
import torch
from scipy import stats

from driftback.errors import BadInput
from driftback.processes import VP, Diffusion, Isotropic, ItoReverse, ItoSDE, NonlinearSDE, Reverse, divergence
from driftback.samplers import EulerMaruyama, Milstein, last

N, STEPS = 3000, 120
# Kolmogorov-Smirnov: a distance of 2.3 / sqrt(n) comes once in 20,000 by chance; the rule's own error adds up to .01.
FLOOR = 2.3 / math.sqrt(N) + 0.01
BACK = torch.linspace(1, 0, STEPS + 1, dtype=torch.float64)
T = torch.tensor(0.4, dtype=torch.float64)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def distance(x, law):
    return stats.kstest(x.numpy(), law.cdf).statistic


class WithoutDivergence(ItoReverse):
    """The planted fault: Anderson's drift as it is for noise that does not depend on the point."""

    def drift(self, x, t):
        missing = (1 + self.noise**2) / 2 * divergence(self.sde, x, t)
        return super().drift(x, t) + missing


# Geometric Brownian motion: log x_t ~ N(LOG_MEAN + (MU - S^2/2) t, LOG_VAR + S^2 t).
MU, S, LOG_MEAN, LOG_VAR = 0.3, 0.7, 0.2, 0.04
GBM = NonlinearSDE(lambda x, t: MU * x, lambda x, t: S * x[..., None])


def lognormal(t):
    return stats.lognorm(s=math.sqrt(LOG_VAR + S**2 * t), scale=math.exp(LOG_MEAN + (MU - S**2 / 2) * t))


def lognormal_score(x, t):
    return -(1 + (x.log() - LOG_MEAN - (MU - S**2 / 2) * t) / (LOG_VAR + S**2 * t)) / x


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_geometric_brownian_motion_comes_back(eta):
    """3,000 points, 120 steps. Without the divergence the distance is .4 or more."""
    x = torch.from_numpy(lognormal(1.0).ppf((torch.arange(N) + 0.5).numpy() / N))[:, None]
    right = last(Milstein(ItoReverse(GBM, lognormal_score, eta))(x, BACK, rng=1)).x[:, 0]
    assert distance(right, lognormal(0.0)) < FLOOR
    wrong = last(Milstein(WithoutDivergence(GBM, lognormal_score, eta))(x, BACK, rng=1)).x[:, 0]
    assert distance(wrong, lognormal(0.0)) > 5 * FLOOR


# The square-root process dx = K (MEAN - x) dt + S sqrt(x) dW rests in Gamma(2 K MEAN / S^2, rate 2 K / S^2).
K, MEAN, C = 2.0, 1.5, 0.8
SHAPE, RATE = 2 * K * MEAN / C**2, 2 * K / C**2
ROOT = NonlinearSDE(lambda x, t: K * (MEAN - x), lambda x, t: C * x.clamp(min=1e-8).sqrt()[..., None])


def gamma_score(x, t):
    return (SHAPE - 1) / x.clamp(min=1e-8) - RATE


def test_the_square_root_process_at_rest_is_its_own_reverse():
    """Drift f - div - A score = -f: what Anderson's formula says of every reversible process, to rounding."""
    x = torch.linspace(0.1, 5, 50, dtype=torch.float64)[:, None]
    assert torch.allclose(ItoReverse(ROOT, gamma_score).drift(x, T), -ROOT.drift(x, T), rtol=1e-10)
    flow = ItoReverse(ROOT, gamma_score, noise=0.0).drift(x, T)
    assert torch.allclose(flow, torch.zeros_like(x), atol=1e-10)
    assert not torch.allclose(WithoutDivergence(ROOT, gamma_score).drift(x, T), -ROOT.drift(x, T), rtol=1e-2)


def test_the_square_root_process_stays_at_rest_on_its_way_back():
    law = stats.gamma(SHAPE, scale=1 / RATE)
    x = torch.from_numpy(law.ppf((torch.arange(N) + 0.5).numpy() / N))[:, None]
    assert distance(last(Milstein(ItoReverse(ROOT, gamma_score))(x, BACK, rng=1)).x[:, 0], law) < FLOOR
    wrong = last(Milstein(WithoutDivergence(ROOT, gamma_score))(x, BACK, rng=1)).x[:, 0]
    assert distance(wrong, law) > 2 * FLOOR


# dy = -y dt + SPREADS dW, seen as x = (y_1, y_2 + BEND y_1^2): the plane is bent, areas are kept.
BEND, SPREADS = 0.8, torch.tensor([[0.9, 0.0], [0.5, 0.7]], dtype=torch.float64)
START = torch.tensor([[0.05, 0.01], [0.01, 0.08]], dtype=torch.float64)
CENTRE = torch.tensor([0.6, -0.4], dtype=torch.float64)


def straightened(x):
    return torch.stack([x[:, 0], x[:, 1] - BEND * x[:, 0] ** 2], 1)


def bent(y):
    return torch.stack([y[:, 0], y[:, 1] + BEND * y[:, 0] ** 2], 1)


def bent_noise(x, t):
    across = SPREADS[1] + 2 * BEND * x[:, :1] * SPREADS[0]
    return torch.stack([SPREADS[0].expand(len(x), 2), across], 1)


def bent_drift(x, t):
    y = straightened(x)
    second = BEND * (SPREADS @ SPREADS.T)[0, 0]
    return torch.stack([-y[:, 0], -y[:, 1] - 2 * BEND * y[:, 0] ** 2 + second], 1)


BENT = NonlinearSDE(bent_drift, bent_noise)


def bent_law(t):
    """Mean and covariance of y_t."""
    left = math.exp(-2 * float(t))
    return math.exp(-float(t)) * CENTRE, left * START + (1 - left) / 2 * SPREADS @ SPREADS.T


def bent_score(x, t):
    mean, covariance = bent_law(t)
    pull = -(straightened(x) - mean) @ torch.linalg.inv(covariance)
    return torch.stack([pull[:, 0] - 2 * BEND * x[:, 0] * pull[:, 1], pull[:, 1]], 1)


def test_the_divergence_of_a_matrix_is_the_formula():
    """A_12 = (..) + 2 b x_1 S_11 and A_22 depends on x_1 only, so div A = (0, 2 b S_11)."""
    x = normal(20, 2)
    first = (SPREADS @ SPREADS.T)[0, 0]
    expected = torch.stack([torch.zeros(20, dtype=torch.float64), (2 * BEND * first).expand(20)], 1)
    assert torch.allclose(divergence(BENT, x, T), expected, atol=1e-12)
    assert not torch.allclose(divergence(BENT, x, T), expected.flip(1), atol=1e-2)
    assert divergence(Isotropic(Diffusion(VP(), (2,))), x, T).abs().max() == 0


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_a_bent_gaussian_comes_back(eta):
    """Straightened, both coordinates and their sum have to be the normal law that they began with."""
    mean, covariance = bent_law(1.0)
    x = bent(mean + normal(N, 2) @ torch.linalg.cholesky(covariance).T)

    def far(reverse):
        y = straightened(last(Milstein(reverse)(x, BACK, rng=1)).x)
        directions = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], dtype=torch.float64)
        return max(distance(y @ u, stats.norm(float(u @ CENTRE), math.sqrt(float(u @ START @ u)))) for u in directions)

    assert far(ItoReverse(BENT, bent_score, eta)) < FLOOR
    assert far(WithoutDivergence(BENT, bent_score, eta)) > 5 * FLOOR


def test_a_round_sde_is_the_same_in_both_forms():
    """The same drift as `Reverse`, to the last bits, and from the same key the same points as `EulerMaruyama`."""
    process, x = Diffusion(VP(), (2, 3)), normal(5, 2, 3)
    one, other = Reverse(process, lambda x, t: -x), ItoReverse(Isotropic(process), lambda x, t: -x)
    assert isinstance(other, ItoSDE)
    assert torch.allclose(other.drift(x, T), one.drift(x, T), rtol=1e-12)
    assert not torch.allclose(other.drift(x, T), process.drift(x, T), rtol=1e-2)
    times = torch.linspace(0.9, 0.1, 5, dtype=torch.float64)
    ends = [last(sampler(x, times, rng=3)).x for sampler in (EulerMaruyama(one), Milstein(Isotropic(one)))]
    assert torch.allclose(*ends, rtol=1e-10)
    assert not torch.allclose(ends[0], last(EulerMaruyama(one)(x, times, rng=4)).x, rtol=1e-2)


def test_wrong_shapes_are_named():
    sde = NonlinearSDE(lambda x, t: x[:, :1], lambda x, t: x)
    with pytest.raises(BadInput, match=r"f returned \(4, 1\) for points \(4, 2\)"):
        sde.drift(torch.zeros(4, 2), T)
    with pytest.raises(BadInput, match="one entry per noise"):
        sde.dispersion(torch.zeros(4, 2), T)


def test_a_noise_whose_slope_is_cut_off_is_refused():
    cut = NonlinearSDE(lambda x, t: x, lambda x, t: (1 + x.detach() ** 2)[..., None])
    x = torch.ones(3, 1, dtype=torch.float64)
    with pytest.raises(BadInput, match="cannot differentiate"):
        ItoReverse(cut, lambda x, t: -x).drift(x, T)
    with pytest.raises(BadInput, match="cannot differentiate"):
        last(Milstein(cut)(x, torch.linspace(0, 1, 3, dtype=torch.float64), rng=0))
    constant = NonlinearSDE(lambda x, t: x, lambda x, t: torch.ones_like(x)[..., None])
    assert torch.isfinite(ItoReverse(constant, lambda x, t: -x).drift(x, T)).all()
