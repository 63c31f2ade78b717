"""Weighted draws: weights with tails that are known, errors beside their spread, and what is said of either."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from driftback.distributions.target import Truth
from driftback.errors import BadInput
from driftback.evaluation.weights import Weighted, khat_limit, weighted


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("alpha", [0.8, 1.25, 2.0, 4.0])
def test_khat_is_the_shape_of_the_tail(alpha: float) -> None:
    """Of Pareto weights it is 1 / alpha, with deviations of .04 to .08 (measured), and .79 on average for 1.25.

    So the first bound is left in fewer than 1 of 100 seeds, and at 1.25 the second in 7.
    """
    found = weighted(np.log(rng(1).pareto(alpha, 80_000) + 1))
    assert found.khat == pytest.approx(1 / alpha, abs=0.2)
    assert (found.khat < found.limit) == (alpha > 1 / 0.7)


def test_weights_are_told_whether_to_trust() -> None:
    def said(khat: float, n: int = 1000) -> str:
        return Weighted(n, 500.0, 0.01, khat, ()).sentences[0]

    assert said(0.21) == "k-hat is 0.21, below 0.67: the weighted means can be trusted"
    # 10^(1 / (1 - .69)) = 1681.2 and up.
    assert said(0.69) == "k-hat is 0.69, above 0.67 for 1000 draws: draw at least 1682"
    assert said(0.69, 1700).endswith("can be trusted")
    assert said(0.82) == (
        "k-hat is 0.82, not below 0.7: do not trust the weighted means, a few draws carry too much; "
        "bring the proposal nearer to the target"
    )
    assert "their mean itself need not exist" in said(1.3)
    assert khat_limit(100) == 0.5
    assert khat_limit(10**6) == 0.7


def test_equal_weights_are_plain_draws() -> None:
    x = rng(2).standard_normal((400, 2))
    found = weighted(np.full(400, -700.0), x)
    assert found.ess == pytest.approx(400)
    assert found.khat is None
    assert found.sentences == ("the largest weights are equal, so they have no k-hat: judge by the ESS, 400 of 400",)
    assert [row.mean for row in found.rows] == pytest.approx(list(x.mean(0)))
    assert [row.error for row in found.rows] == pytest.approx(list(x.std(0) / 20))
    assert [row.name for row in found.rows] == ["x[0]", "x[1]"]


def test_ess_and_means_by_hand() -> None:
    found = weighted(torch.tensor([3.0, 1.0]).log(), torch.tensor([[0.0], [4.0]]), names=["a"])
    assert found.ess == pytest.approx(16 / 10)
    assert found.largest == pytest.approx(0.75)
    assert found.rows[0].mean == pytest.approx(1.0)
    # .75^2 1^2 + .25^2 3^2
    assert found.rows[0].error == pytest.approx((0.5625 + 0.5625) ** 0.5)


def test_errors_are_the_spread_over_replications() -> None:
    """Draws of N(0, 1.5^2), weighted to N(0, 1)."""
    generator, trials = rng(3), 400
    means, errors, beyond = [], [], 0
    for _ in range(trials):
        x = 1.5 * generator.standard_normal(300)
        (row,) = weighted(-(x**2) / 2 + (x / 1.5) ** 2 / 2, x, truth=Truth(mean=torch.zeros(1))).rows
        means.append(row.mean)
        errors.append(row.error)
        beyond += abs(row.z) > 1.96
    # The spread has a relative error of 3.5 %; of 400 intervals of 95 %, 8 to 36 leave the truth out but in 1 of 1,000.
    assert np.mean(errors) == pytest.approx(np.std(means), rel=0.14)
    assert 8 <= beyond <= 36


def test_copies_are_worth_their_families() -> None:
    """100 draws, five copies of each: the error and the ESS of 100, to rounding; one family says nothing."""
    x = rng(7).standard_normal((100, 1))
    kin = np.repeat(np.arange(100), 5)
    found = weighted(np.zeros(500), x[kin], families=kin)
    assert found.rows[0].error == pytest.approx(x.std(ddof=1) / 10)
    assert found.ess == pytest.approx(99)
    assert "worth 99.0 independent ones, as the spread between 100 families tells" in found.sentences[0]
    assert weighted(np.zeros(500), x[kin]).ess == pytest.approx(500)
    alone = weighted(np.zeros(500), x[kin], truth=Truth(mean=torch.zeros(1)), families=torch.zeros(500).long())
    assert (alone.ess, alone.rows[0].error, alone.rows[0].z) == (None, None, None)
    assert "of one family" in alone.sentences[0]
    json.dumps(alone.as_json(), allow_nan=False)
    with pytest.raises(BadInput, match="families have the shape"):
        weighted(np.zeros(500), x[kin], families=kin[1:])


def test_weights_of_zero_change_nothing_but_the_number() -> None:
    logs = rng(4).standard_normal(1000)
    with_zeros = np.concatenate([logs, np.full(9000, -np.inf)])
    plain, found = weighted(logs), weighted(with_zeros)
    assert found.n == 10_000
    assert (found.ess, found.khat) == pytest.approx((plain.ess, plain.khat))


def test_one_draw_that_carries_all_is_told() -> None:
    found = weighted(1e4 * rng(5).standard_normal(1000))
    assert found.khat == np.inf
    assert found.ess == pytest.approx(1)
    assert "one draw carries 100.0%" in found.sentences[1]
    json.dumps(found.as_json(), allow_nan=False)


@pytest.mark.parametrize("n", [1, 2, 24])
def test_few_weights_have_no_khat(n: int) -> None:
    found = weighted(rng(6).standard_normal(n))
    assert found.khat is None
    assert "too few for a k-hat: draw at least 25" in found.sentences[0]
    json.dumps(found.as_json(), allow_nan=False)


@pytest.mark.parametrize(
    ("logs", "draws", "said"),
    [
        ([0.0, np.nan], None, "the log-weight of draw 1 is nan"),
        ([np.inf, 0.0], None, "the log-weight of draw 0 is inf"),
        ([-np.inf, -np.inf], None, "all weights are 0"),
        ([], None, r"the shape \(0,\)"),
        ([[0.0]], None, r"the shape \(1, 1\)"),
        ([0.0, 0.0], np.zeros(3), "2 log-weights"),
        ([0.0, 0.0], np.array([1.0, np.nan]), "x is nan in draw 1"),
    ],
)
def test_what_is_no_weight_is_refused(logs: list, draws: np.ndarray | None, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        weighted(np.array(logs), draws)


def test_copies_are_worth_what_their_islands_say() -> None:
    """20 of 400 draws, each copied 20 times: the weights are equal, and the errors are those of 20 draws, not of 400.
    Of 400 repetitions the mean of z^2 with 4 islands, Student's with 3 degrees, is 3, with a deviation of the
    mean of about .5 (its law has no fourth moment); independent errors would give 20.
    """
    normal, squares, worth, islands = rng().standard_normal, [], [], np.repeat(np.arange(4), 100)
    for _ in range(400):
        x = np.repeat(normal((4, 5)), 20, axis=1).reshape(-1)
        found = weighted(np.zeros(400), x, families=islands)
        squares.append(min((found.rows[0].mean / found.rows[0].error) ** 2, 50))
        worth.append(found.ess)
    assert 1 < np.mean(squares) < 4
    assert 12 < np.median(worth) < 36
    assert "the spread between 4 families" in weighted(np.zeros(400), x, families=islands).sentences[0]
    assert weighted(np.zeros(400), x).ess == pytest.approx(400)


def test_equal_weights_have_no_tail_of_rounding() -> None:
    """Of a uniform density all weights are the same, to the last digits."""
    found = weighted(1.8 + 4e-16 * rng(2).integers(0, 3, 1000))
    assert found.khat is None
    assert "judge by the ESS, 1000 of 1000" in found.sentences[0]


def test_families_that_agree_by_chance_make_no_error_small() -> None:
    """Pairs of x and -x have the same mean: the error is that of independent draws, not 0."""
    x = np.repeat(rng(3).standard_normal(100), 2) * np.tile([1, -1], 100)
    found = weighted(np.zeros(200), x, families=np.arange(200) // 2)
    assert found.rows[0].error == weighted(np.zeros(200), x).rows[0].error > 0
    assert found.ess == pytest.approx(200)


def test_weights_before_a_resampling_are_judged() -> None:
    x, before = rng(1).standard_normal(400), 3 * rng(2).standard_normal(400)
    found, bare = weighted(np.zeros(400), x, before=before), weighted(np.zeros(400), x)
    assert found.ess == weighted(before).ess < 40
    assert found.khat == weighted(before).khat
    assert found.rows[0].error == pytest.approx(bare.rows[0].error * math.sqrt(400 / found.ess))
    kin = weighted(np.zeros(400), x, before=before, families=np.arange(400))
    assert (kin.khat, kin.largest, kin.ess_before) == (found.khat, found.largest, found.ess)
    assert kin.ess == pytest.approx(399), "moves may have made copies independent again"
    assert any("before copies were made the weights were worth" in said for said in kin.sentences)


def test_modes_without_a_draw_are_told() -> None:
    truth = Truth(
        mode=lambda x: (x[:, 0] > 0).long() + 2 * (x[:, 0] > 5).long(), shares=torch.tensor([0.4, 0.4, 0.1, 0.1])
    )
    x = np.linspace(-1, 1, 300)[:, None]
    found = weighted(np.zeros(300), x, truth=truth)
    assert (found.modes, found.visited) == (4, 2)
    assert "2 of 4 modes hold no draw" in found.sentences[0]
    half = weighted(np.where(x[:, 0] > 0, -np.inf, 0.0), x, truth=truth)
    assert half.visited == 1
