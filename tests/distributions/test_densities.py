"""Every density: it integrates to one, agrees with its own draws, and its score is its gradient. A new one joins by a
line in DENSITIES.
"""

import functools
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from driftback.distributions import SHAPES, Density, Gaussian, IsotropicGaussian, Mixture, Scored
from driftback.distributions.shapes2d import NoisyCurves

BINS, NODES, DRAWS = 16, 8, 20_000


def random_mixture(k=3, d=3):
    g = torch.Generator().manual_seed(5)
    roots = torch.randn(k, d, d, generator=g, dtype=torch.float64)
    means = 2 * torch.randn(k, d, generator=g, dtype=torch.float64)
    return Mixture(torch.rand(k, generator=g), means, roots @ roots.mT / d + 0.1 * torch.eye(d))


SCORED = {
    "gaussian": lambda: Gaussian(random_mixture().means[0], random_mixture().covariances[0]),
    "isotropic": lambda: IsotropicGaussian((3,), 0.7, mean=1.5),
    "mixture": random_mixture,
    "mixture of one": lambda: random_mixture(1),
    **{name: make for name, make in SHAPES.items() if isinstance(make(), Scored)},
}


def plane():
    """A covariance in the plane."""
    return torch.tensor([[0.8, -0.3], [-0.3, 0.5]], dtype=torch.float64)


DENSITIES = {
    **SHAPES,
    "gaussian": lambda: Gaussian(torch.tensor([0.5, -0.3], dtype=torch.float64), plane()),
    "isotropic": lambda: IsotropicGaussian((2,), 0.7, mean=0.4),
    "mixture": lambda: Mixture(
        torch.tensor([0.2, 0.8]),
        torch.tensor([[-1.0, 0.5], [1.2, 0.0]]),
        plane() * torch.tensor([0.4, 1.0])[:, None, None],
    ),
}


def bin_probabilities(density, edges):
    """The probability of each square between `edges`, by 8 x 8 Gauss-Legendre nodes a square."""
    node, weight = np.polynomial.legendre.leggauss(NODES)
    width = edges[1] - edges[0]
    line = (edges[:-1, None] + (node + 1) / 2 * width).ravel()
    grid = torch.from_numpy(np.stack(np.meshgrid(line, line, indexing="ij"), -1).reshape(-1, 2))
    p = density.log_prob(grid).exp().numpy().reshape(BINS, NODES, BINS, NODES)
    return np.einsum("iajb,a,b->ij", p, weight, weight) * (width / 2) ** 2


@functools.cache
def square(name):
    """Edges of the bins, the density's draws in them, and its probabilities."""
    shape = DENSITIES[name]()
    x = shape.sample(DRAWS, rng=11).numpy()
    # The board's squares have to end where bins end; the other shapes end where the draws do, and a bit later.
    # Normal laws without sharp edges have some mass beyond the draws.
    half = 4.0 if name == "checkerboard" else 7.0 if name not in SHAPES else np.abs(x).max() + 0.2
    edges = np.linspace(-half, half, BINS + 1)
    return edges, x, bin_probabilities(shape, edges)


def agrees(x, edges, p):
    """Pearson's chi-square test of the draws against the probabilities: a false alarm once in 10,000 runs."""
    counts = np.histogram2d(x[:, 0], x[:, 1], [edges, edges])[0]
    expected = DRAWS * np.append(p, 1 - min(p.sum(), 1))
    observed = np.append(counts, DRAWS - counts.sum())
    rare = expected < 5
    expected = np.append(expected[~rare], expected[rare].sum() + 1e-3)
    observed = np.append(observed[~rare], observed[rare].sum())
    statistic = ((observed - expected) ** 2 / expected).sum()
    return stats.chi2.sf(statistic, len(expected) - 1) > 1e-4


@pytest.mark.parametrize("name", DENSITIES)
def test_a_density_integrates_to_one(name):
    """To 3e-5, what the mass outside the square leaves at most (1.2e-5 measured); off by 1e-4 is refused."""
    total = square(name)[2].sum()
    assert abs(total - 1) < 3e-5
    assert abs(1.0001 * total - 1) > 3e-5


@pytest.mark.parametrize("name", DENSITIES)
def test_a_density_is_that_of_its_draws(name):
    edges, x, p = square(name)
    assert isinstance(DENSITIES[name](), Density)
    assert agrees(x, edges, p)
    assert not agrees(1.04 * x, edges, p), "draws 4 % too wide passed"
    assert not agrees(x + 0.06, edges, p), "shifted draws passed"


@pytest.mark.parametrize("name", ["two-moons", "swiss-roll", "spirals", "s-curve", "rings"])
def test_a_density_with_the_wrong_noise_is_refused(name):
    edges, x, _ = square(name)
    assert not agrees(x, edges, bin_probabilities(replace(SHAPES[name](), deviation=0.13), edges))


def test_the_quadrature_along_a_straight_line_is_exact():
    """A line of length 4 with noise .1: the density is a product of a normal and a difference of normal integrals."""
    line = NoisyCurves((lambda u: torch.stack([4 * u, 0 * u], 1),), 0.1)
    x = torch.tensor([[1.0, 0.0], [0.0, 0.2], [4.1, -0.3], [-0.3, 0.05]], dtype=torch.float64)
    across = stats.norm.logpdf(x[:, 1], scale=0.1)
    along = np.log((stats.norm.cdf(x[:, 0] / 0.1) - stats.norm.cdf((x[:, 0] - 4) / 0.1)) / 4)
    assert line.log_prob(x).numpy() == pytest.approx(across + along, abs=1e-10)


def test_the_eight_gaussians_have_variance_a_tenth():
    """The trap is a standard deviation of .562 behind the words 'variance .1'."""
    assert torch.allclose(SHAPES["eight-gaussians"]().covariances, 0.1 * torch.eye(2, dtype=torch.float64))


@pytest.mark.parametrize(("noise", "expected"), [(1, 1.43), (9, 0.0438), (25, 0.00655), (100, 0.00044)])
def test_noised_gaussians_are_as_far_from_a_normal_as_known(noise, expected):
    """KL(p_T || N(0, T I)) of the two Gaussians at +-2 with s = .5, by quadrature."""
    noised = SHAPES["two-gaussians"]().noised(1, noise**0.5)
    line = torch.linspace(-1, 1, 400, dtype=torch.float64) * (8 * noise**0.5 + 6)
    grid = torch.cartesian_prod(line, line)
    log_p, log_q = noised.log_prob(grid), IsotropicGaussian((2,), noise**0.5).log_prob(grid)
    kl = (log_p.exp() * (log_p - log_q)).sum() * (line[1] - line[0]) ** 2
    assert kl.item() == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("name", SCORED)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 2e-5)])
def test_a_score_is_the_gradient_of_the_log_density(name, dtype, tolerance):
    density = SCORED[name]()
    assert isinstance(density, Scored)
    x = (
        (3 * torch.randn(50, *density.event_shape, generator=torch.Generator().manual_seed(1)))
        .to(dtype)
        .requires_grad_()
    )
    (gradient,) = torch.autograd.grad(density.log_prob(x).sum(), x)
    score = density.score(x.detach())
    assert score.dtype == dtype
    assert torch.allclose(score, gradient, rtol=tolerance, atol=tolerance)
    assert not torch.allclose(-score, gradient, rtol=0.1)


def test_log_densities_are_scipys():
    x = 3 * torch.randn(40, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    mixture = random_mixture()
    parts = [
        np.log(w) + stats.multivariate_normal(m.numpy(), s.numpy()).logpdf(x.numpy())
        for w, m, s in zip(mixture.weights.numpy(), mixture.means, mixture.covariances, strict=True)
    ]
    assert mixture.log_prob(x).numpy() == pytest.approx(np.logaddexp.reduce(parts), abs=1e-10)
    gaussian = SCORED["gaussian"]()
    reference = stats.multivariate_normal(gaussian.mean.numpy(), gaussian.covariance.numpy())
    assert gaussian.log_prob(x).numpy() == pytest.approx(reference.logpdf(x.numpy()), abs=1e-10)
    assert SCORED["isotropic"]().log_prob(x).numpy() == pytest.approx(
        stats.norm(1.5, 0.7).logpdf(x.numpy()).sum(1), abs=1e-10
    )
