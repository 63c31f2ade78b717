"""The split is scikit-learn's, is stratified where it can be, and never puts copies on both sides."""

import numpy as np
import pytest
from sklearn.model_selection import train_test_split

from driftback.data import load, split
from driftback.errors import BadInput


def leaks(x, train, held):
    """How many held-out items are equal to a training item."""
    return sum(row.tobytes() in {r.tobytes() for r in x[train]} for row in x[held])


def test_digits_are_split_as_published():
    digits = load("digits")
    train, held = split(digits)
    theirs = train_test_split(np.arange(1797), test_size=0.2, random_state=0, stratify=digits.y)
    assert (len(train), len(held)) == (1437, 360)
    np.testing.assert_array_equal(train, theirs[0])
    np.testing.assert_array_equal(held, theirs[1])


@pytest.mark.parametrize("n", [2, 3, 10, 999])
@pytest.mark.parametrize("held_out", [0.01, 0.2, 0.9])
def test_every_item_is_on_one_side(n, held_out):
    train, held = split(load(np.random.default_rng(0).normal(size=(n, 2))), held_out)
    assert sorted([*train, *held]) == list(range(n))
    assert len(train) >= 1
    assert len(held) >= 1


def test_at_most_ten_thousand_are_held_out():
    assert len(split(load(np.random.default_rng(0).random((60_000, 1))))[1]) == 10_000


def test_copies_do_not_lift_the_limit():
    x = np.random.default_rng(0).random((60_000, 1))
    x[30_000:30_400] = x[:400]
    train, held = split(load(x))
    assert len(held) == 10_000
    assert not np.isin(x[held], x[train]).any()


def test_nothing_held_out_on_request():
    train, held = split(load("digits"), 0.0)
    assert (len(train), len(held)) == (1797, 0)


def test_copies_stay_together():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(100, 3))[rng.integers(0, 100, 300)]
    dataset = load(x)
    train, held = split(dataset)
    assert leaks(x, train, held) == 0
    assert len(train) + len(held) == 300
    # The fault that this is for: scikit-learn's split alone leaks.
    assert leaks(x, *train_test_split(np.arange(300), test_size=0.2, random_state=0)) > 0


def test_discrete_points_repeat_by_chance_and_are_left_alone():
    bits = np.random.default_rng(0).integers(0, 2, (500, 3))
    train, held = split(load(bits))
    assert (len(train), len(held)) == (400, 100)


def test_a_class_of_one_item_does_not_stop_it():
    train, held = split(load(np.random.default_rng(0).normal(size=(20, 2)), [0] * 19 + [1]))
    assert (len(train), len(held)) == (16, 4)


def test_all_items_equal():
    train, held = split(load(np.full((10, 2), 0.5)))
    assert (len(train), len(held)) == (8, 2)


@pytest.mark.parametrize(
    ("n", "held_out", "expected"), [(1, 0.2, "at least 2"), (10, 1.0, "share"), (10, -0.1, "share")]
)
def test_refusals(n, held_out, expected):
    with pytest.raises(BadInput, match=expected):
        split(load(np.random.default_rng(0).random((n, 2))), held_out)


def test_groups_leave_something_to_train_on():
    dataset = load(np.random.default_rng(0).normal(size=(200, 2)), caption=[f"thing {k}" for k in range(200)])
    for share in (0.95, 0.996):
        train, held = split(dataset, share)
        assert len(train) >= 1
        assert len(train) + len(held) == 200
