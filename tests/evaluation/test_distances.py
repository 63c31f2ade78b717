"""The distances are what they say, by hand and beside scipy, and their shuffles are real shuffles."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from scipy.stats import energy_distance as scipy_energy
from scipy.stats import wasserstein_distance

from driftback.evaluation import pairwise
from driftback.evaluation.moments import moment_statistic
from driftback.evaluation.pairwise import InverseMultiquadric, Pairwise, energy_statistic
from driftback.evaluation.permutation import Splits, Statistic, band, jackknife, p_value, splits
from driftback.evaluation.points import Points
from driftback.evaluation.prdc import prdc_statistic, prdc_values
from driftback.evaluation.sliced import directions, sliced

KERNEL = InverseMultiquadric((0.5, 2.0))
STATISTICS: dict[str, Statistic] = {
    "sliced": sliced(directions(3, 5, np.random.default_rng(0))),
    "energy": energy_statistic,
    "mmd": Pairwise(KERNEL, unbiased=True),
    "prdc": prdc_statistic,
    "moments": moment_statistic,
}


def two_sets(n: int, m: int, d: int, seed: int = 0) -> tuple[Points, Points]:
    generator = np.random.default_rng(seed)
    return generator.standard_normal((n, d)), 0.5 + generator.standard_normal((m, d))


def value(statistic: Statistic, x: Points, y: Points) -> np.ndarray:
    return statistic(np.concatenate([x, y]), splits(len(x), len(y), np.random.default_rng(0), shuffles=1))[0]


@pytest.mark.parametrize(("n", "m"), [(7, 7), (5, 12), (40, 3)])
def test_on_the_line_they_are_scipys(n: int, m: int) -> None:
    x, y = two_sets(n, m, 1)
    one = sliced(directions(1, 9, np.random.default_rng(0)))
    assert value(one, x, y) == pytest.approx(wasserstein_distance(x[:, 0], y[:, 0]), rel=1e-12)
    energy = value(STATISTICS["energy"], x, y)
    assert energy == pytest.approx(scipy_energy(x[:, 0], y[:, 0]), rel=1e-12)
    assert energy != pytest.approx(scipy_energy(x[:, 0], 1.01 * y[:, 0]), rel=1e-6)


def test_sliced_wasserstein_of_a_shift_is_its_mean_length_along_the_lines() -> None:
    x, _ = two_sets(30, 1, 4)
    lines = directions(4, 11, np.random.default_rng(1))
    shift = np.array([3.0, 0.0, -4.0, 0.0])
    np.testing.assert_allclose(np.linalg.norm(lines, axis=1), 1.0)
    assert value(sliced(lines), x + shift, x) == pytest.approx(np.abs(lines @ shift).mean(), rel=1e-12)


def test_energy_by_hand() -> None:
    # x = {0, 1}, y = {3, 4}: the root of 2 * 3 - 1/2 - 1/2.
    assert value(STATISTICS["energy"], np.array([[0.0], [1.0]]), np.array([[3.0], [4.0]])) == pytest.approx(5.0**0.5)


def test_mmd_by_hand() -> None:
    # One length 1: k(1) = 1/2 within both sets, and k(3), k(4), k(2), k(3) between them.
    between = (1 / 10 + 1 / 17 + 1 / 5 + 1 / 10) / 4
    one = Pairwise(InverseMultiquadric((1.0,)), unbiased=True)
    found = value(one, np.array([[0.0], [1.0]]), np.array([[3.0], [4.0]]))
    assert found == pytest.approx(1 / 2 + 1 / 2 - 2 * between)


def test_mmd_is_unbiased() -> None:
    # The mean of 400 values for one law has standard error sd / 20: beyond 4 of them by chance 6 times in 100,000.
    values = [
        value(STATISTICS["mmd"], *np.split(np.random.default_rng(s).standard_normal((24, 3)), [10])) for s in range(400)
    ]
    assert abs(np.mean(values)) < 4 * np.std(values) / 20
    biased = [v + 1 / 10 for v in values]
    assert abs(np.mean(biased)) > 4 * np.std(biased) / 20


def test_prdc_by_hand() -> None:
    # One nearest neighbour: real balls reach 1, 1, 7 around 0, 1, 8; sample balls reach 2, 2, 97 around 0.5, 2.5, 99.5.
    x, y = np.array([[0.5], [2.5], [99.5]]), np.array([[0.0], [1.0], [8.0]])
    pooled = np.concatenate([x, y])
    found = prdc_values(cdist(pooled, pooled), np.arange(3), np.arange(3, 6), nearest=1)
    # Samples in real balls: 0.5 in two, 2.5 in the third's, 99.5 in none. 99.5's ball of reach 97 holds 8.
    np.testing.assert_allclose(found, [2 / 3, 1, 3 / 3, 1])


def test_prdc_by_hand_where_all_four_differ() -> None:
    # Real balls reach 1, 1, 1, 6 around 0, 1, 2, 8; sample balls 0.1 three times, 1 twice, and 1.4 around 2.1.
    x, y = np.array([[0.5], [0.6], [0.7], [50.0], [51.0], [2.1]]), np.array([[0.0], [1.0], [2.0], [8.0]])
    pooled = np.concatenate([x, y])
    found = prdc_values(cdist(pooled, pooled), np.arange(6), np.arange(6, 10), nearest=1)
    # 0.5, 0.6 and 0.7 lie in two balls, 2.1 in those of 2 and 8; that of 2.1 alone holds real items, 1 and 2.
    np.testing.assert_allclose(found, [4 / 6, 2 / 4, 8 / 6, 4 / 4])


def test_moments_by_hand() -> None:
    x, y = two_sets(30, 20, 3)
    gap, ratio = value(moment_statistic, x, y)
    assert gap == pytest.approx(np.linalg.norm(x.mean(0) - y.mean(0)), rel=1e-12)
    assert ratio == pytest.approx(np.sqrt(x.var(0).sum() / y.var(0).sum()), rel=1e-12)
    assert value(moment_statistic, 3 * x, x)[1] == pytest.approx(3.0, rel=1e-12)


def test_prdc_by_hand_with_two_neighbours() -> None:
    # Real balls reach 3, 2, 3, 7 around 0, 1, 3, 8; sample balls 2, 1, 2, 7.1 around 0.5, 1.5, 2.5, 8.6.
    x, y = np.array([[0.5], [1.5], [2.5], [8.6]]), np.array([[0.0], [1.0], [3.0], [8.0]])
    pooled = np.concatenate([x, y])
    found = prdc_values(cdist(pooled, pooled), np.arange(4), np.arange(4, 8), nearest=2)
    # The samples lie in 3, 4, 4 and 1 of the real balls.
    np.testing.assert_allclose(found, [1, 1, (3 + 4 + 4 + 1) / 4 / 2, 1])


@pytest.mark.parametrize("name", STATISTICS)
def test_every_column_is_the_statistic_of_its_own_two_sets(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairwise, "BLOCK", 16)
    x, y = two_sets(23, 18, 3)
    z = np.concatenate([x, y])
    ways = splits(23, 18, np.random.default_rng(3), shuffles=4, groups=5)
    values = STATISTICS[name](z, ways)
    assert len(values) == 1 + 4 + 5
    alone = [value(STATISTICS[name], z[a == 1], z[b == 1]) for a, b in zip(ways.first.T, ways.second.T, strict=True)]
    np.testing.assert_allclose(values, alone, rtol=1e-9, atol=1e-12)
    assert not np.allclose(values[1:5], values[0])


@pytest.mark.parametrize("name", STATISTICS)
def test_the_order_of_items_means_nothing(name: str) -> None:
    x, y = two_sets(20, 25, 3)
    np.testing.assert_allclose(value(STATISTICS[name], x, y), value(STATISTICS[name], x[::-1], y[::-1]), rtol=1e-9)


def test_splits_keep_the_numbers_and_deletions_leave_every_item_out_once() -> None:
    ways: Splits = splits(8, 6, np.random.default_rng(0), shuffles=3, groups=4)
    assert (ways.first.sum(0)[:4] == 8).all()
    assert (ways.second.sum(0)[:4] == 6).all()
    assert ((ways.first + ways.second)[:, 4:].sum(1) == 3).all()
    np.testing.assert_allclose(ways.signed().sum(0), 0, atol=1e-15)
    assert len({tuple(column) for column in ways.first.T[:4]}) == 4


def test_p_value_counts_itself_and_band_takes_order_statistics() -> None:
    null = np.arange(199.0)
    assert p_value(1000.0, null) == 1 / 200
    assert p_value(-1.0, null) == 1
    assert p_value(198.0, null) == 2 / 200
    assert band(null) == (4.0, 194.0)
    assert band(np.arange(39.0)) == (0.0, 38.0)


def test_jackknife_of_a_mean_is_its_standard_error() -> None:
    x = np.random.default_rng(0).standard_normal(20)
    deleted = (x.sum() - x) / 19
    low, high = jackknife(x.mean(), deleted)
    assert (high - low) / 2 == pytest.approx(2.0930240544 * x.std(ddof=1) / np.sqrt(20), rel=1e-8)


def test_kernels_in_tensors() -> None:
    d = torch.tensor([0.0, 2.0], dtype=torch.float64)
    np.testing.assert_allclose(KERNEL(d), [1.0, (0.25 / 4.25 + 4 / 8) / 2])
