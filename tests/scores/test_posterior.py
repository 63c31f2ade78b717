"""Denoisers after an observation against the exact posterior's: equal for Gaussian data, and what each assumes else."""

import math

import pytest
import torch
from torch import Tensor

from driftback.distributions import Mixture
from driftback.distributions.observation import Observation
from driftback.distributions.observed import evidence, observed
from driftback.distributions.operators import Matrix
from driftback.errors import BadInput
from driftback.processes import SCHEDULES, Diffusion
from driftback.scores import posterior
from driftback.scores.denoiser import Denoiser
from driftback.scores.exact import ExactDenoiser
from driftback.scores.posterior import Isotropic, Jacobian, Posterior
from driftback.scores.tilted import Tilted

D, NOISE = 5, 0.3


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


MATRIX, Y = normal(3, D, seed=1), normal(3, seed=2)
ROOT = normal(D, D, seed=3) / 2
GAUSSIAN = Mixture(torch.ones(1), normal(1, D, seed=4), (ROOT @ ROOT.T)[None])
ROUND = Mixture(torch.ones(1), torch.zeros(1, D), 0.49 * torch.eye(D)[None])
PAIR = Mixture(
    torch.tensor([0.3, 0.7]), torch.stack([torch.ones(D), -torch.ones(D)]), 0.1 * torch.eye(D).repeat(2, 1, 1)
)
SEEN = Observation(Matrix(MATRIX), Y, NOISE, (D,))


@pytest.fixture(params=SCHEDULES)
def process(request: pytest.FixtureRequest) -> Diffusion:
    return Diffusion(SCHEDULES[request.param](), (D,), 0.7)


TIMES = (0.02, 0.3, 0.7, torch.linspace(0.1, 0.9, 8, dtype=torch.float64))


def at(process: Diffusion, mixture: Mixture, t: float | Tensor) -> Tensor:
    return process.forward(mixture.sample(8, rng=0), t, rng=1)


@pytest.mark.parametrize("explicit", [128, 0])
def test_for_gaussian_data_the_jacobian_makes_it_exact(process, explicit, monkeypatch) -> None:
    """Written out, and by as many steps of conjugate gradients as there are numbers."""
    monkeypatch.setattr(posterior, "EXPLICIT", explicit)
    truth = ExactDenoiser(process, observed(GAUSSIAN, MATRIX, Y, NOISE))
    found = Posterior(ExactDenoiser(process, GAUSSIAN), SEEN, Jacobian(), solves=3)
    for t in TIMES:
        x = at(process, GAUSSIAN, t)
        assert torch.allclose(found.denoised(x, t), truth.denoised(x, t), rtol=1e-6, atol=1e-6)
    x = at(process, GAUSSIAN, 0.9)
    assert not torch.allclose(found.denoised(x, 0.9), ExactDenoiser(process, GAUSSIAN).denoised(x, 0.9), atol=1e-3)


def test_for_data_as_wide_everywhere_one_variance_makes_it_exact(process) -> None:
    truth = ExactDenoiser(process, observed(ROUND, MATRIX, Y, NOISE))
    found = Posterior(ExactDenoiser(process, ROUND), SEEN, Isotropic())
    wrong = Posterior(ExactDenoiser(process, GAUSSIAN), SEEN, Isotropic())
    for t in TIMES:
        x = at(process, ROUND, t)
        assert torch.allclose(found.denoised(x, t), truth.denoised(x, t), rtol=1e-6, atol=1e-6)
    t = float(process.time_of(1.0))
    x = at(process, GAUSSIAN, t)
    exact = ExactDenoiser(process, observed(GAUSSIAN, MATRIX, Y, NOISE)).denoised(x, t)
    assert not torch.allclose(wrong.denoised(x, t), exact, atol=1e-2)


@pytest.mark.parametrize(("mixture", "covariance"), [(GAUSSIAN, Jacobian()), (ROUND, Isotropic())])
def test_the_guess_is_how_likely_the_observation_is_from_there(process, mixture, covariance) -> None:
    """log p(y | x_t) of Gaussian data, whose x_0 given x_t is a Gaussian that an exact formula knows."""
    found = Posterior(ExactDenoiser(process, mixture), SEEN, covariance)
    for t in (0.1, 0.6):
        x = at(process, mixture, t)
        alpha, sigma = float(process.alpha(t)), float(process.sigma(t))
        laws = [observed(mixture, alpha * torch.eye(D), each, sigma) for each in x]
        exact = torch.tensor([evidence(law, MATRIX, Y, NOISE) for law in laws], dtype=torch.float64)
        assert torch.allclose(found.guess(x, t).log_factor, exact, rtol=1e-6, atol=1e-6)
    assert torch.allclose(found.log_factor(x), SEEN.log_prob(x))


def test_near_the_end_every_way_is_exact(process) -> None:
    """A mixture of two: with little noise it is known which component a point is of."""
    truth = ExactDenoiser(process, observed(PAIR, MATRIX, Y, NOISE))
    t = float(process.time_of(0.12))
    x = at(process, PAIR, t)
    jacobian = Posterior(ExactDenoiser(process, PAIR), SEEN).denoised(x, t)
    assert torch.allclose(jacobian, truth.denoised(x, t), atol=2e-3)


def test_beyond_some_noise_the_gaussians_derivative_is_taken(process) -> None:
    """Times of one item each on both sides of it; of N(0, spread^2 I) the two derivatives are the same."""

    class Rough(Denoiser):
        """The exact denoiser of `ROUND`, with a wave too small to see whose slope is not."""

        def __init__(self) -> None:
            self.process, self.exact = process, ExactDenoiser(process, ROUND)

        def denoised(self, x: Tensor, t: float | Tensor) -> Tensor:
            return self.exact.denoised(x, t) + 1e-4 * (1e4 * x).sin()

    t = process.time_of(torch.tensor([0.1, 0.5, 0.9, 3.0], dtype=torch.float64))
    x = at(process, ROUND, 0.5)[:4]
    for covariance in (Jacobian(), Isotropic()):
        exact = Posterior(ExactDenoiser(process, ROUND), SEEN, covariance)
        near = Posterior(Rough(), SEEN, covariance, until=1.0)
        same = torch.isclose(near.denoised(x, t), exact.denoised(x, t), atol=1e-3).all(1)
        assert same.tolist() == [False, False, True, True], "r over .7 is beyond"
        assert torch.isclose(near.denoised(x[3:], t[3]), exact.denoised(x[3:], t[3]), atol=1e-3).all()


class Crooked(Denoiser):
    """A network's Jacobian is no covariance: not symmetric, with negative values."""

    def __init__(self, process: Diffusion) -> None:
        self.process, self.turn = process, normal(D, D, seed=9)

    def denoised(self, x: Tensor, t: float | Tensor) -> Tensor:
        return x @ self.turn.to(x)


@pytest.mark.parametrize("explicit", [128, 0])
def test_a_jacobian_that_is_no_covariance_stays_finite(explicit, monkeypatch) -> None:
    monkeypatch.setattr(posterior, "EXPLICIT", explicit)
    process = Diffusion(SCHEDULES["edm"](), (D,))
    for dtype in (torch.float64, torch.float32):
        found = Posterior(Crooked(process), SEEN, Jacobian(), 5).guess(normal(6, D).to(dtype), 0.2)
        assert torch.isfinite(found.shift).all()
        assert torch.isfinite(found.log_factor).all()
        assert found.shift.dtype == dtype


def test_what_rounding_leaves_is_factorised() -> None:
    """Eigenvalues below the digits of the largest are raised to where Cholesky's bear them."""
    root = normal(4, 2, seed=5)
    matrix = (root @ root.T - 1e-9 * torch.eye(4))[None]
    factor = posterior._factor(matrix, 1e-24)
    assert torch.allclose(factor @ factor.mT, matrix, atol=1e-8)


def test_pictures_and_one_observation_each() -> None:
    process = Diffusion(SCHEDULES["vp"](), (1, 2, 2))
    mixture = Mixture(torch.ones(1), normal(1, 4), torch.eye(4)[None])
    y = normal(3, 2, seed=5)
    seen = Observation(lambda x: x.flatten(1)[:, :2], y, 0.2, (1, 2, 2))
    x = normal(3, 1, 2, 2, seed=6)
    found = Posterior(ExactDenoiser(process, mixture), seen).denoised(x, 0.4)
    for i in range(3):
        truth = ExactDenoiser(process, observed(mixture, torch.eye(4)[:2], y[i], 0.2))
        assert torch.allclose(found[i : i + 1], truth.denoised(x[i : i + 1], 0.4), atol=1e-8)


def test_a_curved_observation_is_taken_along_its_slope() -> None:
    """At the point D of its own: the same as the linear one with that slope and offset."""
    process = Diffusion(SCHEDULES["edm"](), (D,))
    prior = ExactDenoiser(process, GAUSSIAN)
    curved = Observation(lambda x: (x**2).sum(1, keepdim=True), torch.tensor([4.0]).double(), 0.5, (D,))
    t = float(process.time_of(0.6))
    x = at(process, GAUSSIAN, t)[:1]
    centre = prior.denoised(x, t)
    slope, offset = 2 * centre, (centre**2).sum() - 2 * (centre**2).sum()
    straight = Observation(Matrix(slope), torch.tensor([4.0]).double() - offset, 0.5, (D,))
    both = (Posterior(prior, one).denoised(x, t) for one in (curved, straight))
    assert torch.allclose(*both, atol=1e-9)


def test_a_factor_that_every_noisy_point_knows_is_exact(process) -> None:
    """Classifier guidance by the exact log p(class | x_t) is the class's own denoiser; half of it is not."""
    labels = torch.tensor([0, 1])
    plain = ExactDenoiser(process, PAIR, labels)

    def log_classifier(x: Tensor, t: Tensor | float) -> Tensor:
        law = PAIR.noised(process.alpha(t), process.sigma(t))
        return law._joint(x, 1.0, 0.0)[0].log_softmax(1)[:, 1]

    found, half = Tilted(plain, log_classifier, noisy=True), Tilted(plain, log_classifier, 0.5, noisy=True)
    for t in (0.1, 0.5, 0.9):
        x = at(process, PAIR, t)
        assert torch.allclose(found.denoised(x, t), plain.given(1).denoised(x, t), rtol=1e-6, atol=1e-6)
    x = at(process, PAIR, 0.5) * 0.1
    assert not torch.allclose(half.denoised(x, 0.5), plain.given(1).denoised(x, 0.5), atol=1e-3)


def test_a_second_density_at_the_denoised_point() -> None:
    """For Gaussian data and a log-density that is linear there, the shift is V times its slope: exact."""
    process = Diffusion(SCHEDULES["edm"](), (D,))
    slope = normal(D, seed=8)
    found = Tilted(ExactDenoiser(process, GAUSSIAN), lambda x: x @ slope)
    tilted = Mixture(torch.ones(1), GAUSSIAN.means + slope @ GAUSSIAN.covariances[0], GAUSSIAN.covariances)
    for ratio in (0.1, 1.0, 10.0):
        t = float(process.time_of(ratio))
        x = at(process, GAUSSIAN, t)
        assert torch.allclose(found.denoised(x, t), ExactDenoiser(process, tilted).denoised(x, t), atol=1e-8)
    assert torch.allclose(found.log_factor(x), x @ slope)
    with torch.no_grad():  # as samplers ask
        assert torch.allclose(found.denoised(x, t), ExactDenoiser(process, tilted).denoised(x, t), atol=1e-8)


def test_beyond_a_noise_the_slope_is_a_gaussians() -> None:
    """Standard normal data have the very derivative that is taken there; GAUSSIAN's is another."""
    process, slope = Diffusion(SCHEDULES["edm"](), (D,)), normal(D, seed=8)
    normal_law = Mixture(torch.ones(1), torch.zeros(1, D), torch.eye(D)[None])
    for law, alike in ((normal_law, True), (GAUSSIAN, False)):
        plain = ExactDenoiser(process, law)
        for ratio in (0.5, 5.0):
            t = float(process.time_of(ratio))
            x = at(process, law, t)
            near, far = (Tilted(plain, lambda x: x @ slope, until=r).denoised(x, t) for r in (math.inf, 2.0))
            assert torch.allclose(near, far, atol=1e-8) == (alike or ratio < 2)


def test_classes_go_on_to_the_denoiser() -> None:
    process = Diffusion(SCHEDULES["edm"](), (D,))
    plain = ExactDenoiser(process, PAIR, torch.tensor([0, 1]))
    x = at(process, PAIR, 0.1)
    for twist in (Posterior(plain, SEEN, Isotropic()), Tilted(plain, lambda x: -(x**2).sum(1))):
        one = type(twist)(
            plain.given(1), *([SEEN, Isotropic()] if isinstance(twist, Posterior) else [twist.log_density])
        )
        assert torch.equal(twist.given(1).denoised(x, 0.1), one.denoised(x, 0.1))


@pytest.mark.parametrize(
    ("log_density", "said"),
    [(lambda x: -(x**2), "gives"), (lambda x: x.detach().sum(1), "without a derivative")],
)
def test_a_second_density_that_is_none_is_refused(log_density, said) -> None:
    process = Diffusion(SCHEDULES["edm"](), (D,))
    with pytest.raises(BadInput, match=said):
        Tilted(ExactDenoiser(process, GAUSSIAN), log_density).denoised(normal(3, D), 0.1)
