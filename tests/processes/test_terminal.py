"""What the end of the way forward still knows of the data: the printed numbers, formulas, and bounds."""

import math

import pytest
import torch

from driftback.distributions import Gaussian, IsotropicGaussian, Mixture
from driftback.errors import BadInput
from driftback.processes import (
    EDM,
    VP,
    Diffusion,
    LinearSDE,
    matched_gaussian,
    matched_to_cloud,
    mismatch_by_quadrature,
    mismatch_by_sampling,
    mismatch_of_cloud,
    mismatch_of_gaussian,
    terminal,
)

PAIR = Mixture(torch.ones(2), torch.tensor([[-2.0, 0.0], [2.0, 0.0]]), 0.25 * torch.eye(2).expand(2, 2, 2))


def end(variance):
    """The law of x_T = x_0 + sqrt(T) eps: EDM's schedule that ends at the deviation sqrt(T)."""
    process = Diffusion(EDM(high=math.sqrt(variance)), (2,), spread=0.0)
    assert process.simple.deviation == pytest.approx(math.sqrt(variance))
    return process.marginal(PAIR, 1.0), process


PRINTED = [(1, "1.43", "0.120"), (9, "0.0438", "8.9e-4"), (25, "0.00655", "3.1e-5"), (100, "0.00044", "1.8e-7")]


def same_digits(value, printed):
    """Whether `value`, rounded as `printed` is, is what is printed."""
    mantissa, _, exponent = printed.partition("e")
    places = len(mantissa.partition(".")[2])
    return round(value / 10 ** int(exponent or 0), places) == float(mantissa)


@pytest.mark.parametrize(("variance", "plain", "better"), PRINTED)
def test_the_numbers_are_those_that_are_known(variance, plain, better):
    """Two Gaussians at (+-2, 0), s = .5, against N(0, T I) and against the start with the moments of p_T."""
    law, process = end(variance)
    assert same_digits(mismatch_by_quadrature(law, process.simple).nats, plain)
    assert same_digits(mismatch_by_quadrature(law, matched_gaussian(law)).nats, better)
    assert mismatch_by_quadrature(law, matched_gaussian(law)).kind == "exact"
    # Planted: data at +-(2, 2), and a start with the noise's variance and the data's own, are other numbers.
    other = Mixture(PAIR.weights, PAIR.means.clone().fill_(2.0) * torch.tensor([[-1.0], [1.0]]), PAIR.covariances)
    assert not same_digits(mismatch_by_quadrature(other.noised(1.0, math.sqrt(variance)), process.simple).nats, plain)
    assert not same_digits(mismatch_by_quadrature(law, IsotropicGaussian((2,), math.sqrt(variance + 0.25))).nats, plain)


GAUSSIAN = Gaussian(torch.tensor([0.5, -1.0]).double(), torch.tensor([[1.0, 0.4], [0.4, 0.5]]).double())
START = Gaussian(torch.tensor([0.1, 0.2]).double(), torch.tensor([[1.5, -0.2], [-0.2, 0.9]]).double())


@pytest.mark.parametrize("start", [START, IsotropicGaussian((2,), 1.3)])
def test_the_formula_is_the_integral(start):
    """And not the integral of KL in the other direction."""
    law = Mixture(torch.ones(1), GAUSSIAN.mean[None], GAUSSIAN.covariance[None])
    found = mismatch_of_gaussian(GAUSSIAN, start)
    assert (found.kind, found.standard_error) == ("exact", 0.0)
    assert found.nats == pytest.approx(mismatch_by_quadrature(law, start).nats, abs=1e-10)
    assert mismatch_of_gaussian(GAUSSIAN, GAUSSIAN).nats == pytest.approx(0, abs=1e-12)
    assert abs(mismatch_of_gaussian(START, GAUSSIAN).nats - found.nats) > 0.1


def test_the_formula_is_the_textbooks():
    """(tr(P S) + |m|^2_P - d + log det ratio) / 2."""
    precision, apart = torch.linalg.inv(START.covariance), GAUSSIAN.mean - START.mean
    ratio = torch.logdet(START.covariance) - torch.logdet(GAUSSIAN.covariance)
    textbook = ((precision @ GAUSSIAN.covariance).trace() + apart @ precision @ apart - 2 + ratio) / 2
    assert mismatch_of_gaussian(GAUSSIAN, START).nats == pytest.approx(float(textbook), rel=1e-12)


@pytest.mark.parametrize("variance", [1, 9, 100])
def test_draws_estimate_it(variance):
    """Within 4 standard errors, a false alarm once in 16,000; the error is small where the laws are close."""
    law, process = end(variance)
    for start in (process.simple, matched_gaussian(law)):
        exact, found = mismatch_by_quadrature(law, start).nats, mismatch_by_sampling(law, start, 20_000, rng=1)
        assert found.kind == "estimate"
        assert 0 < found.standard_error < 0.15 * exact
        assert abs(found.nats - exact) < 4 * found.standard_error
        assert abs(2 * found.nats - exact) > 4 * found.standard_error


@pytest.mark.parametrize("deviation", [1.5, 3.0, 12.0])
def test_the_error_of_the_estimate_is_honest(deviation):
    """Of 100 estimates at least 87 hold the truth within 1.96 errors: less by chance once in 2,000.

    Also against a start that is far wider than the law, where the mean of the ratio alone has no variance.
    """
    law, start = end(9)[0], IsotropicGaussian((2,), deviation)
    exact = mismatch_by_quadrature(law, start).nats
    found = [mismatch_by_sampling(law, start, 1000, rng=seed) for seed in range(100)]
    assert sum(abs(f.nats - exact) < 1.96 * f.standard_error for f in found) >= 87
    assert sum(abs(f.nats - exact) < 1.96 * f.standard_error / 3 for f in found) < 87


@pytest.mark.parametrize("name", ["vp", "edm"])
def test_the_bound_of_a_cloud_is_above_the_truth(name):
    """For a cloud of 30 points p_T is a mixture, so the truth is an integral; for one point both are equal."""
    process = Diffusion({"vp": VP(0.1, 5.0), "edm": EDM(3.0)}[name], (2,))
    points = PAIR.sample(30, rng=0)

    def truth(points):
        cloud = Mixture(torch.ones(len(points)), points, torch.zeros(len(points), 2, 2))
        return mismatch_by_quadrature(process.marginal(cloud, 1.0), process.simple).nats

    bound = mismatch_of_cloud(process, points, process.simple)
    assert bound.kind == "upper bound"
    assert truth(points) < bound.nats
    # Planted: bounds that forget where the points are lie below the truth.
    assert truth(points) > mismatch_of_cloud(process, 0 * points, process.simple).nats
    assert mismatch_of_cloud(process, points[:1], process.simple).nats == pytest.approx(truth(points[:1]), abs=1e-9)


def test_chunks_change_nothing(monkeypatch):
    process, points = Diffusion(VP(), (2,)), PAIR.sample(5, rng=0)
    whole = mismatch_of_cloud(process, points, START).nats, mismatch_of_gaussian(GAUSSIAN, START).nats
    monkeypatch.setattr(terminal, "ENTRIES", 2)
    parts = mismatch_of_cloud(process, points, START).nats, mismatch_of_gaussian(GAUSSIAN, START).nats
    assert parts == pytest.approx(whole, rel=1e-12)
    monkeypatch.setattr(terminal, "_precision_rows", lambda start, d: ())
    assert mismatch_of_cloud(process, points, START).nats != pytest.approx(whole[0], rel=1e-3)


def test_pictures_have_a_bound_too():
    """Closed form: d (log(s / sigma) + (sigma / s)^2 / 2 - 1/2) + alpha^2 |x|^2 / (2 s^2), averaged."""
    process = Diffusion(VP(), (1, 4, 4), spread=0.5)
    points = torch.randn(10, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    s, sigma, alpha = process.simple.deviation, float(process.sigma(1.0)), float(process.alpha(1.0))
    rest = 16 * (math.log(s / sigma) + (sigma / s) ** 2 / 2 - 0.5)
    expected = rest + alpha**2 * float(points.double().square().sum()) / 10 / (2 * s**2)
    assert mismatch_of_cloud(process, points, process.simple).nats == pytest.approx(expected, rel=1e-6)
    assert mismatch_of_cloud(process, 2 * points, process.simple).nats != pytest.approx(expected, rel=1e-2)


def test_moments_are_matched():
    law = Mixture(
        torch.tensor([0.2, 0.8]), torch.tensor([[-1.0, 3.0], [2.0, 0.5]]), GAUSSIAN.covariance.expand(2, 2, 2)
    )
    full, diagonal = matched_gaussian(law), matched_gaussian(law, diagonal=True)
    x = law.sample(200_000, rng=0)
    # Entries of a covariance of about 3 from 200,000 draws: 5 standard errors are .05.
    assert torch.allclose(full.covariance, x.T.cov(), atol=0.05)
    assert torch.allclose(full.mean, x.mean(0), atol=0.02)
    assert torch.equal(diagonal.covariance, torch.diag(full.covariance.diagonal()))
    assert not torch.allclose(full.covariance, GAUSSIAN.covariance, atol=0.05)
    # No other normal start is nearer, and the full one is nearer than the diagonal one.
    best = mismatch_by_quadrature(law, full).nats
    assert best < mismatch_by_quadrature(law, diagonal).nats
    for change in (0.95, 1.05):
        assert best < mismatch_by_quadrature(law, Gaussian(full.mean, change * full.covariance)).nats
        assert best < mismatch_by_quadrature(law, Gaussian(change * full.mean, full.covariance)).nats


def test_a_cloud_is_matched_as_its_mixture():
    process, points = Diffusion(VP(0.1, 3.0), (2,)), PAIR.sample(40, rng=0)
    cloud = Mixture(torch.ones(40), points, torch.zeros(40, 2, 2))
    for diagonal in (False, True):
        expected = matched_gaussian(process.marginal(cloud, 0.7), diagonal=diagonal)
        found = matched_to_cloud(process, points, t=0.7, diagonal=diagonal)
        assert torch.allclose(found.mean, expected.mean)
        assert torch.allclose(found.covariance, expected.covariance)
        assert not torch.allclose(found.covariance, matched_to_cloud(process, points, t=0.6).covariance, atol=1e-3)


def test_a_linear_sde_ends_near_its_simple_distribution_too():
    """The exact end of critically damped Langevin dynamics, where the start is exact for normal data of its spread."""
    friction = torch.tensor([[0.0, 4.0], [-1.0, -4.0]]).double()
    sde = LinearSDE(2, lambda t: friction, lambda t: torch.tensor([[0.0], [math.sqrt(2)]]).double())
    plain = Mixture(torch.ones(1), torch.zeros(1, 2), torch.eye(2)[None])
    assert mismatch_by_quadrature(sde.marginal(plain, 1.0), sde.simple).nats == pytest.approx(0, abs=1e-10)
    law = sde.marginal(PAIR, 1.0)
    found = mismatch_by_quadrature(law, sde.simple).nats
    assert found > 1e-2
    assert mismatch_by_quadrature(law, matched_gaussian(law)).nats < found / 2


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(BadInput, match="mismatch_by_sampling"):
        mismatch_by_quadrature(Mixture(torch.ones(1), torch.zeros(1, 3), torch.eye(3)[None]), IsotropicGaussian((3,)))
    narrow = Mixture(torch.ones(2), torch.tensor([[0.0], [100.0]]), 1e-4 * torch.ones(2, 1, 1))
    with pytest.raises(BadInput, match="too narrow"):
        mismatch_by_quadrature(narrow, IsotropicGaussian((1,)))
    with pytest.raises(BadInput, match="law of 2 numbers"):
        mismatch_of_gaussian(GAUSSIAN, IsotropicGaussian((3,)))
    with pytest.raises(BadInput, match="no noise at t = 0"):
        mismatch_of_cloud(Diffusion(VP(), (2,)), torch.zeros(3, 2), START, t=0.0)
    with pytest.raises(BadInput, match="flatten"):
        matched_to_cloud(Diffusion(VP(), (1, 2)), torch.zeros(3, 1, 2))


def test_one_draw_is_too_few():
    law = Mixture(torch.ones(1), torch.zeros(1, 2), torch.eye(2)[None])
    with pytest.raises(BadInput, match="2 or more"):
        mismatch_by_sampling(law, law, 1)
