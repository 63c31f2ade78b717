"""Every source: one contract. A new source joins by a line in SOURCES."""

import math

import pytest
import torch

from driftback.distributions import SHAPES, Cloud, Gaussian, IsotropicGaussian, Mixture, Source
from driftback.errors import BadInput
from driftback.randomness import Rng

SKEWED = torch.tensor([[2.0, 0.6, 0.0], [0.6, 1.0, -0.3], [0.0, -0.3, 0.5]], dtype=torch.float64)

SOURCES = {
    "gaussian": lambda: Gaussian(torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64), SKEWED),
    "gaussian-32": lambda: Gaussian(torch.tensor([1.0, -2.0, 0.5]), SKEWED.float()),
    "isotropic": lambda: IsotropicGaussian((3, 2), 0.7, mean=1.5),
    "mixture": lambda: Mixture(
        torch.tensor([1.0, 3.0]), torch.randn(2, 3, generator=torch.Generator()), SKEWED[None].repeat(2, 1, 1)
    ),
    "singular mixture": lambda: Mixture(torch.ones(2), torch.eye(2), torch.zeros(2, 2, 2)),
    "cloud": lambda: Cloud(torch.arange(24.0).reshape(6, 2, 2)),
    **SHAPES,
}


@pytest.fixture(params=SOURCES)
def source(request):
    return SOURCES[request.param]()


def test_a_source_draws_items_of_its_event_shape(source):
    assert isinstance(source, Source)
    x = source.sample(5, rng=0)
    assert x.shape == (5, *source.event_shape)
    assert torch.isfinite(x).all()
    assert source.sample(0, rng=0).shape == (0, *source.event_shape)


def test_an_item_belongs_to_its_key_and_number_only(source):
    """To the last bit: for another n, from another first item, and not by ignoring the key."""
    x = source.sample(200, rng=3)
    assert torch.equal(source.sample(7, rng=3), x[:7])
    assert torch.equal(source.sample(90, rng=Rng(3).item(71)), x[71:161])
    assert not torch.equal(source.sample(200, rng=4), x)


def test_no_key_means_fresh_draws(source):
    assert not torch.equal(source.sample(64), source.sample(64))


def test_a_gaussian_has_its_moments():
    """50,000 draws; a mean or covariance entry leaves 4.5 standard errors by chance once in 150,000 times."""
    gaussian, n = SOURCES["gaussian"](), 50_000
    x = gaussian.sample(n, rng=0)

    def agrees(mean, covariance):
        variances = covariance.diagonal()
        mean_error = (x.mean(0) - mean).abs() / (variances / n).sqrt()
        spread = ((covariance**2 + variances[:, None] * variances) / n).sqrt()
        return bool((mean_error < 4.5).all() and ((x.T.cov() - covariance).abs() < 4.5 * spread).all())

    assert agrees(gaussian.mean, SKEWED)
    assert not agrees(gaussian.mean, SKEWED.diagonal().diag())
    assert not agrees(gaussian.mean, 1.1 * SKEWED)


def test_an_isotropic_gaussian_is_cheap_in_116412_dimensions():
    x = IsotropicGaussian((3, 218, 178), 2.0)
    draws = x.sample(2, rng=0)
    # The mean of 232,824 squares has a relative standard error of .003.
    assert draws.square().mean().item() == pytest.approx(4, rel=0.0132)
    expected = -116_412 * math.log(2 * math.sqrt(2 * math.pi)) - draws.double().square().flatten(1).sum(1) / 8
    assert x.log_prob(draws) == pytest.approx(expected.numpy(), rel=1e-12)


def test_a_cloud_draws_its_points_with_their_labels():
    """1,200 draws of 6 points: a share leaves 4.5 standard errors by chance once in 25,000 times."""
    cloud = Cloud(torch.arange(6.0)[:, None], torch.tensor([0, 0, 0, 1, 1, 1]))
    index = cloud.indices(1200, rng=1)
    assert torch.equal(cloud.sample(1200, rng=1), cloud.points[index])
    assert (index.bincount(minlength=6) - 200).abs().max() < 4.5 * math.sqrt(1200 * 5 / 36)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Gaussian(torch.zeros(2), torch.eye(3)),
        lambda: Gaussian(torch.zeros(2), -torch.eye(2)),
        lambda: Gaussian(torch.zeros(2), torch.tensor([[1.0, 0.5], [0.0, 1.0]])),
        lambda: IsotropicGaussian((2,), 0.0),
        lambda: Mixture(torch.ones(3), torch.zeros(2, 2), torch.zeros(2, 2, 2)),
        lambda: Mixture(torch.tensor([1.0, -1.0]), torch.zeros(2, 2), torch.zeros(2, 2, 2)),
        lambda: Mixture(torch.ones(2), torch.zeros(2, 2), -torch.eye(2).expand(2, 2, 2)),
        lambda: Cloud(torch.zeros(0, 2)),
        lambda: Cloud(torch.zeros(3, 2), torch.zeros(2)),
    ],
)
def test_parameters_that_make_no_distribution_are_refused(wrong):
    with pytest.raises(BadInput, match="; "):
        wrong()
