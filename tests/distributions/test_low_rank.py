"""A low-rank mixture is a mixture: it agrees with the one of full covariances, and a fit finds what items came from."""

import math

import pytest
import torch
from torch import Tensor

from driftback.distributions import low_rank_fit
from driftback.distributions.low_rank import LowRankMixture
from driftback.distributions.low_rank_fit import Shape, fitted, fitted_on, shape_for
from driftback.distributions.mixture import Mixture

D, R, K = 6, 2, 3


@pytest.fixture
def low_rank() -> LowRankMixture:
    """Three components in two of six directions; class 0 has the first two, class 1 the last."""
    made = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=made, dtype=torch.float64)

    share = torch.tensor([0.5, 0.2, 0.3], dtype=torch.float64)
    rows = torch.stack([share * torch.tensor([1, 1, 0]) / 0.7, share * torch.tensor([0, 0, 1]) / 0.3, share])
    return LowRankMixture(
        normal(D),
        torch.linalg.qr(normal(D, R))[0],
        torch.tensor(0.09, dtype=torch.float64),
        2 * normal(K, R),
        torch.linalg.qr(normal(K, R, R))[0],
        normal(K, R).exp() / 4,
        rows.log(),
    )


def full(mixture: LowRankMixture, row: int) -> Mixture:
    """The same law with a covariance (d, d) for each component."""
    basis, outside = mixture.basis, torch.eye(D, dtype=torch.float64) - mixture.basis @ mixture.basis.T
    inner = mixture.axes @ torch.diag_embed(mixture.variances) @ mixture.axes.mT
    means = mixture.mean + mixture.centres @ basis.T
    return Mixture(mixture.log_weights[row].exp(), means, basis @ inner @ basis.T + mixture.rest * outside)


def points(n: int = 40) -> Tensor:
    return 2 * torch.randn(n, D, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("row", [0, 1, 2])
def test_it_is_the_mixture_of_full_covariances(low_rank: LowRankMixture, row: int) -> None:
    y, rows = points(), torch.full((40,), row)
    for ratio in (1e-3, 0.3, 2.0, 50.0):
        each = torch.full((40,), ratio, dtype=torch.float64)
        exact = full(low_rank, row)
        assert torch.allclose(low_rank.denoised(y, each, rows), exact.denoised(y, 1.0, ratio), atol=1e-9)
        noisy = exact.noised(1.0, ratio).log_prob(y)
        assert torch.allclose(low_rank.log_prob(y, rows, ratio), noisy, atol=1e-9)
    assert torch.allclose(low_rank.log_prob(y, rows), full(low_rank, row).log_prob(y), atol=1e-9)
    # A planted fault: the weights of another row.
    assert not torch.allclose(low_rank.log_prob(y, (rows + 1) % 3), full(low_rank, row).log_prob(y), atol=1e-2)


def test_items_have_noise_and_class_of_their_own(low_rank: LowRankMixture) -> None:
    y, ratio, rows = points(3), torch.tensor([0.1, 1.0, 5.0], dtype=torch.float64), torch.tensor([2, 0, 1])
    alone = [low_rank.denoised(y[i : i + 1], ratio[i : i + 1], rows[i : i + 1]) for i in range(3)]
    assert torch.allclose(low_rank.denoised(y, ratio, rows), torch.cat(alone), atol=1e-12)


@pytest.mark.parametrize("row", [1, -1])
def test_draws_have_its_moments(low_rank: LowRankMixture, row: int) -> None:
    """Means and second moments of 40,000 draws, within 4.5 standard errors (27 numbers: by chance once in 5,000)."""
    n, exact = 40_000, full(low_rank, row)
    x = low_rank.sample(n, row, rng=0)
    second = (exact.covariances + exact.means[:, :, None] * exact.means[:, None]).flatten(1)
    below = torch.tril_indices(D, D)
    told = (x[:, :, None] * x[:, None])[:, below[0], below[1]]
    truth = (exact.weights @ second).view(D, D)[below[0], below[1]]
    errors = torch.cat([x - exact.weights @ exact.means, told - truth], 1)
    far = errors.mean(0).abs() / (errors.std(0) / math.sqrt(n))
    assert float(far.max()) < 4.5


def test_a_fit_finds_the_law(low_rank: LowRankMixture) -> None:
    """4,000 items: fresh ones are as likely under the fit as under the truth, but for .05 nats (.02 measured)."""
    rows = (torch.rand(4000, generator=torch.Generator().manual_seed(2)) < 0.3).long()
    x = torch.where(rows[:, None] == 0, low_rank.sample(4000, 0, rng=1), low_rank.sample(4000, 1, rng=2)).float()
    found = fitted(x, rows, 2, Shape(R, 4, False), rng=0)
    for row in (0, 1):
        fresh = low_rank.sample(4000, row, rng=3)
        here = torch.full((4000,), row)
        gap = float((low_rank.log_prob(fresh, here) - found.log_prob(fresh.float(), here)).mean())
        assert -0.01 < gap < 0.05
        # Planted faults: the other class, and one direction too few.
        assert float((low_rank.log_prob(fresh, here) - found.log_prob(fresh.float(), 1 - here)).mean()) > 0.05
    small = fitted(x, rows, 2, Shape(1, 4, False), rng=0)
    assert float((low_rank.log_prob(fresh, here) - small.log_prob(fresh.float(), here)).mean()) > 0.05


def test_a_part_of_the_items_is_enough(low_rank: LowRankMixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounds over a third of the items find a law nearly as good, and only they decide it."""
    x = low_rank.sample(6000, 2, rng=1).float()
    monkeypatch.setattr(low_rank_fit, "MOST_SEEN", 6000)
    found = fitted(x, None, 0, Shape(R, 3, True), rng=0)
    fresh, here = low_rank.sample(4000, 2, rng=3), torch.full((4000,), 2)
    gap = float((low_rank.log_prob(fresh, here) - found.log_prob(fresh.float(), torch.zeros(4000).long())).mean())
    assert -0.01 < gap < 0.05
    monkeypatch.setattr(low_rank_fit, "MOST_SEEN", 1_000_000)
    assert not torch.equal(fitted(x, None, 0, Shape(R, 3, True), rng=0).centres, found.centres)


def test_classes_may_share_components(low_rank: LowRankMixture) -> None:
    """Common components with weights by class tell the classes apart as well as the truth does, up to .1 nats."""
    x = torch.cat([low_rank.sample(2000, 0, rng=1), low_rank.sample(2000, 1, rng=2)]).float()
    rows = torch.arange(2).repeat_interleave(2000)
    found = fitted(x, rows, 2, Shape(R, 6, True), rng=0)
    assert found.log_weights.shape == (3, 6)
    assert torch.allclose(found.log_weights.exp().sum(1), torch.ones(3), atol=1e-4)
    for row in (0, 1):
        fresh, here = low_rank.sample(2000, row, rng=4), torch.full((2000,), row)
        gap = float((low_rank.log_prob(fresh, here) - found.log_prob(fresh.float(), here)).mean())
        assert -0.01 < gap < 0.1
        assert float((low_rank.log_prob(fresh, here) - found.log_prob(fresh.float(), 1 - here)).mean()) > 0.3


def test_what_is_told_moves_the_law() -> None:
    """x = m + U (B f + e): B within a tenth of its size (.03 measured), and fresh items as likely as under the truth
    but for .08 nats (.03 measured).
    """
    made = torch.Generator().manual_seed(3)
    basis = torch.linalg.qr(torch.randn(D, R, generator=made))[0]
    moves, told = (
        torch.tensor([[2.0, 0.0], [0.0, 3.0], [-2.0, 1.0]]),
        (torch.rand(4000, 3, generator=made) < 0.4).float(),
    )
    inner = torch.tensor([0.6, 0.4])
    x = (told @ moves + inner * torch.randn(4000, R, generator=made)) @ basis.T
    x = x + 0.1 * torch.randn(x.shape, generator=made)
    law, found = fitted_on(x[:3000], told[:3000], Shape(R, 4, True), rng=0)
    turned = found @ law.basis.T @ basis
    assert float((turned - moves).abs().max()) < 0.1
    fresh, shift = x[3000:], told[3000:] @ found @ law.basis.T
    rows = torch.zeros(1000, dtype=torch.int64)
    truth = full_gaussian(basis, inner**2 + 0.01, 0.01)
    exact = truth.log_prob((fresh - told[3000:] @ moves @ basis.T).double())
    gap = float((exact - law.log_prob(fresh - shift, rows)).mean())
    assert -0.02 < gap < 0.08
    # Planted faults: what is told is left out, or moves the other way; and the law without it is wider.
    assert float((exact - law.log_prob(fresh, rows)).mean()) > 2
    assert float((exact - law.log_prob(fresh + shift, rows)).mean()) > 2
    assert float((exact - law.log_prob(fresh, rows + 1)).mean()) > 0.3


def full_gaussian(basis: Tensor, inside: Tensor, outside: float) -> Mixture:
    b = basis.double()
    cov = b @ torch.diag(inside.double()) @ b.T + outside * (torch.eye(D, dtype=torch.float64) - b @ b.T)
    return Mixture(torch.ones(1, dtype=torch.float64), torch.zeros(1, D, dtype=torch.float64), cov[None])


def test_directions_of_wide_items_are_found_from_inner_products() -> None:
    """More numbers than items: the same law along a few long directions as from the covariance."""
    made = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(300, 3, generator=made))[0]
    x = (torch.randn(200, 3, generator=made) * torch.tensor([5.0, 3.0, 2.0])) @ basis.T
    x = x + 0.1 * torch.randn(200, 300, generator=made)
    found = fitted(x, None, 0, Shape(3, 1, True), rng=0)
    angles = torch.linalg.svdvals(found.basis.T @ basis)
    assert float(angles.min()) > 0.995
    # 297 directions of variance .01 are outside; the estimate's own error is under 2 %.
    assert math.isclose(float(found.rest), 0.01, rel_tol=0.06)


def test_the_size_follows_the_items() -> None:
    assert shape_for(60_000, 784, [6_000] * 10) == Shape(96, 100, False)
    # A class with too few items for components of its own shares those of all.
    assert shape_for(60_000, 784, [6_600] * 9 + [600]) == Shape(96, 64, True)
    assert shape_for(60_000, 784) == Shape(96, 64, True)
    assert shape_for(4_800, 784, [480] * 10) == Shape(96, 9, True)
    assert shape_for(1_000, 784) == Shape(50, 2, True)
    assert shape_for(100_000, 3072, [100] * 1000) == Shape(96, 64, True)
    assert shape_for(10, 784).rank == 0
