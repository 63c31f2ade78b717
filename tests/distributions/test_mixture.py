"""The mixture's own algebra: noise on top, responsibilities, and the mean of what was there before the noise."""

import math

import pytest
import torch

from driftback.distributions import Mixture

WEIGHTS = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
MEANS = torch.tensor([[-2.0, 0.0], [1.0, 1.0], [0.5, -2.0]], dtype=torch.float64)
ROOTS = torch.tensor(
    [[[0.5, 0.0], [0.2, 0.1]], [[0.0, 0.0], [0.0, 0.0]], [[1.0, 0.0], [1.0, 0.0]]], dtype=torch.float64
)


@pytest.fixture
def singular():
    """A full, a zero and a rank-one covariance."""
    return Mixture(WEIGHTS, MEANS, ROOTS @ ROOTS.mT)


def test_noise_makes_the_mixture_of_the_noisy_draws(singular):
    """Means and second moments of 40,000 noisy draws, within 4.5 standard errors (once in 30,000 by chance)."""
    n, alpha, sigma = 40_000, 0.6, 0.4
    noise = torch.randn(n, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = alpha * singular.sample(n, rng=0) + sigma * noise

    def agrees(mixture):
        mean = mixture.weights @ mixture.means
        second = mixture.covariances + mixture.means[:, :, None] * mixture.means[:, None]
        errors = torch.cat(
            [x - mean, (x[:, :, None] * x[:, None] - (mixture.weights @ second.flatten(1)).view(2, 2)).flatten(1)], 1
        )
        return bool((errors.mean(0).abs() < 4.5 * errors.std(0) / math.sqrt(n)).all())

    assert agrees(singular.noised(alpha, sigma))
    assert not agrees(singular.noised(alpha, 1.1 * sigma))
    assert not agrees(singular.noised(1.05 * alpha, sigma))


def test_denoising_is_tweedies_formula(singular):
    """E[x | y] = (y + sigma^2 grad log p(y)) / alpha, with the gradient by autograd."""
    y = 2 * torch.randn(60, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for alpha, sigma in [(1.0, 0.1), (0.5, 0.8), (0.01, 1.0)]:
        leaf = y.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(singular.noised(alpha, sigma).log_prob(leaf).sum(), leaf)
        tweedie = (y + sigma**2 * gradient) / alpha
        assert torch.allclose(singular.denoised(y, alpha, sigma), tweedie, atol=1e-9)
        assert not torch.allclose(singular.denoised(y, alpha, 1.05 * sigma), tweedie, atol=1e-4)


def test_denoising_takes_a_noise_level_per_item(singular):
    y = MEANS + 0.3
    alpha, sigma = torch.tensor([1.0, 0.5, 0.0]), torch.tensor([0.1, 0.7, 1.0])
    one_by_one = [singular.denoised(row[None], a, s) for row, a, s in zip(y, alpha, sigma, strict=True)]
    assert torch.allclose(singular.denoised(y, alpha, sigma), torch.cat(one_by_one), atol=1e-12)
    # Where nothing of x is left in y, the best guess is the mean.
    assert torch.allclose(one_by_one[2][0], WEIGHTS @ MEANS, atol=1e-12)


def test_responsibilities_are_bayes_rule():
    mixture = Mixture(WEIGHTS, MEANS, 0.3 * torch.eye(2).expand(3, 2, 2))
    x = torch.tensor([[0.0, 0.0], [-2.0, 0.1]], dtype=torch.float64)
    joint = WEIGHTS * torch.exp(-((x[:, None] - MEANS) ** 2).sum(2) / 0.6)
    assert torch.allclose(mixture.responsibilities(x), joint / joint.sum(1, keepdim=True), atol=1e-12)


def test_far_away_nothing_overflows():
    mixture = Mixture(WEIGHTS, MEANS, 1e-4 * torch.eye(2).expand(3, 2, 2))
    x = torch.tensor([[1e4, -1e4]], dtype=torch.float64)
    assert torch.isfinite(mixture.score(x)).all()
    assert torch.isfinite(mixture.log_prob(x)).all()
    assert torch.allclose(mixture.responsibilities(x).sum(1), torch.ones(1, dtype=torch.float64))


def test_components_are_drawn_by_their_weights():
    """30,000 draws; a share leaves 4.5 standard errors by chance once in 100,000 times."""
    mixture = Mixture(torch.tensor([2.0, 0.0, 5.0, 3.0]), torch.arange(4.0)[:, None], torch.zeros(4, 1, 1))
    component = mixture.components(30_000, rng=0)
    assert torch.equal(mixture.sample(30_000, rng=0)[:, 0], component.double())
    shares = component.bincount(minlength=4) / 30_000
    assert shares[1] == 0
    assert (shares - mixture.weights).abs().max() < 4.5 * math.sqrt(0.25 / 30_000)
