"""Ranks of the truth among posterior draws: uniform for exact ones, and how each kind of error shows."""

import numpy as np
import pytest
import torch

from driftback.distributions import Mixture
from driftback.distributions.observed import observed
from driftback.errors import BadInput
from driftback.evaluation.ranks import Ranks, ranks

PRIOR = Mixture(
    torch.tensor([0.3, 0.7]),
    torch.tensor([[-1.5, 0.5], [1.0, -0.3]]).double(),
    torch.tensor([[[0.2, 0.1], [0.1, 0.3]], [[0.1, 0.0], [0.0, 0.4]]]).double(),
)
MATRIX, NOISE, N, L = torch.tensor([[1.0, 1.5]]).double(), 0.4, 400, 39


def found(wider: float = 1.0, aside: float = 0.0, seed: int = 0) -> Ranks:
    """Of exact posterior draws, spread about their mean by `wider` and moved by `aside`."""
    x = PRIOR.sample(N, rng=seed)
    y = x @ MATRIX.T + NOISE * torch.randn(N, 1, generator=torch.Generator().manual_seed(seed + 1)).double()
    draws = torch.stack([observed(PRIOR, MATRIX, one, NOISE).sample(L, rng=i) for i, one in enumerate(y)])
    centre = draws.mean(1, keepdim=True)
    return ranks(x.numpy(), (centre + wider * (draws - centre) + aside).numpy(), rng=seed)


def test_exact_draws_have_uniform_ranks() -> None:
    """Four standard errors of a uniform law's moments; p below .001 in one of a thousand seeds."""
    exact = found()
    assert exact.p > 1e-3
    assert abs(exact.lean) < 4 * np.sqrt(1 / 12 / N)
    assert abs(exact.excess - 1) < 4 * np.sqrt(0.8 / N)
    assert abs(exact.covered(0.9) - 0.9) < 4 * np.sqrt(0.09 / N)


def test_what_is_wrong_shows() -> None:
    """Planted faults: draws that are too narrow, too wide, and aside."""
    narrow, wide, aside = found(0.7), found(1.4), found(aside=0.2)
    assert narrow.p < 1e-6
    assert narrow.excess > 1.2
    assert narrow.covered() < 0.85
    assert wide.p < 1e-6
    assert wide.excess < 0.8
    assert wide.covered() > 0.95
    assert aside.p < 1e-6
    assert aside.lean < -0.05


def test_false_alarms_are_as_rare_as_p_says() -> None:
    """Of 400 sets of uniform ranks in three quantities, p < .05 in at most a twentieth, give or take four errors."""
    rng = np.random.default_rng(0)
    ps = np.array([Ranks(rng.integers(0, 32, (300, 3)), 31).p for _ in range(400)])
    assert 0.005 < (ps < 0.05).mean() < 0.05 + 4 * np.sqrt(0.05 * 0.95 / 400)


def test_the_moments_of_uniform_ranks() -> None:
    every = Ranks(np.arange(12)[:, None].repeat(2, 1), 11)
    assert every.lean == pytest.approx(0.0)
    assert every.excess == pytest.approx(1.0)
    assert every.covered(0.5) == 0.5
    assert every.p == 1.0


def test_equal_draws_are_ranked_by_chance() -> None:
    """Truth and draws on three values: ranks are uniform, not heaped at the lower end."""
    rng = np.random.default_rng(0)
    x, draws = rng.integers(0, 3, (2000, 1)), rng.integers(0, 3, (2000, 9, 1))
    assert ranks(x, draws, rng=0).p > 1e-3
    assert Ranks((draws < x[:, None]).sum(1), 9).p < 1e-6


@pytest.mark.parametrize(
    ("truths", "draws", "said"),
    [
        (np.zeros((30, 2)), np.zeros((30, 5, 3)), "do not agree"),
        (np.zeros((30, 2)), np.zeros((30, 2)), "do not agree"),
        (np.zeros((5, 2)), np.zeros((5, 9, 2)), "tell nothing"),
        (np.full((30, 2), np.nan), np.zeros((30, 9, 2)), "not finite"),
    ],
)
def test_what_cannot_be_ranked_is_refused(truths: np.ndarray, draws: np.ndarray, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        ranks(truths, draws)
