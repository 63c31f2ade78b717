"""Captions, numbers and groups beside the items: read, kept in order, split honestly, refused in one line."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from driftback.data import check, load, split
from driftback.data.grouped import grouped, groups_of, joined
from driftback.errors import BadInput

X = np.random.default_rng(0).normal(size=(60, 2))
SAID = [f"thing number {i // 2}" for i in range(60)]


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "items.npz"
    t = np.array(SAID)
    np.savez(path, x=X, t=t, age=np.linspace(0.5, 9, 60), size=np.arange(60), g=np.arange(60) % 3)
    return path


def test_they_come_by_name_or_as_arrays(archive: Path) -> None:
    for named, given in (
        (load(archive, caption="t"), load(X, caption=SAID)),
        (load(archive, caption="t"), load(X, caption=np.array(SAID))),
    ):
        assert named.captions == given.captions == tuple(SAID)
        np.testing.assert_array_equal(named.x, given.x)
    named = load(archive, numbers=("age", "size"))
    assert named.number_names == ("age", "size")
    np.testing.assert_array_equal(named.numbers[:, 1], np.arange(60))
    assert load(archive, numbers="age, size").number_names == ("age", "size")
    assert load(archive, group="g", numbers="age").groups.tolist() == (np.arange(60) % 3).tolist()


def test_they_stay_with_their_items(archive: Path) -> None:
    dataset = load(archive, caption="t", numbers="age", group="g").take(np.array([7, 3]))
    assert dataset.captions == (SAID[7], SAID[3])
    assert dataset.groups.tolist() == [1, 0]
    np.testing.assert_array_equal(dataset.numbers[:, 0], np.linspace(0.5, 9, 60)[[7, 3]])
    some = load(archive, caption="t", numbers="size", n=20)
    assert some.captions == tuple(SAID[int(k)] for k in some.numbers[:, 0])


def test_fractions_are_numbers_and_whole_numbers_are_classes() -> None:
    y = np.linspace(0, 1, 60)
    assert load(X, y).numbers[:, 0].tolist() == y.tolist()
    assert load(X, y).y is None
    assert load(X, np.arange(60.0) % 3).numbers is None
    assert load(X, np.arange(60.0) % 3).classes == ("0", "1", "2")


def test_missing_captions_and_blanks() -> None:
    said = [None, float("nan"), "  a \n b ", *["c"] * 57]
    assert load(X, caption=said).captions[:4] == ("", "", "a b", "c")
    assert "2" in next(f"{f.count}" for f in check(load(X, caption=said)) if "no caption" in f.what)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"caption": SAID[:5]}, "5 captions for 60 items"),
        ({"caption": [""] * 60}, "no caption says a word"),
        ({"caption": "t"}, "caption as a name .* has no meaning"),
        ({"numbers": np.ones((4, 2))}, r"numbers have shape \(4, 2\), but there are 60 items"),
        ({"numbers": np.ones(60)}, "y is 1 for all items"),
        ({"numbers": np.full(60, np.inf)}, "infinite"),
        ({"numbers": np.full(60, np.nan)}, "missing for all items"),
        ({"group": [1, 2]}, "give one label per item"),
    ],
)
def test_refused_in_one_line(options: dict, told: str) -> None:
    with pytest.raises(BadInput, match=told) as caught:
        load(X, **options)
    assert "\n" not in str(caught.value)


def test_a_misspelt_array_is_told(archive: Path) -> None:
    with pytest.raises(BadInput, match="has nothing named agee: did you mean age"):
        load(archive, numbers="agee")


def assert_honest(dataset, train: np.ndarray, held: np.ndarray) -> None:
    assert sorted([*train, *held]) == list(range(len(dataset)))
    assert not {dataset.captions[i].lower() for i in train} & {dataset.captions[i].lower() for i in held}
    assert len(held) <= 0.2 * len(dataset) + 1


def test_no_caption_is_on_both_sides() -> None:
    dataset = load(X, caption=SAID)
    train, held = split(dataset)
    assert_honest(dataset, train, held)
    assert len(held) == 12
    assert [part.tolist() for part in split(dataset)] == [train.tolist(), held.tolist()]
    # The fault that this is for: a split that knows no captions.
    with pytest.raises(AssertionError):
        assert_honest(dataset, *split(load(X)))


def test_few_captions_are_classes_and_are_not_held_out_whole() -> None:
    dataset = load(X, caption=["red", "blue", "Red"] * 20)
    train, held = split(dataset)
    assert {dataset.captions[i] for i in held} <= {dataset.captions[i] for i in train}
    assert len(held) == 12


def test_groups_come_first_and_copies_join_them() -> None:
    dataset = load(X, caption=SAID, group=np.arange(60) // 10)
    train, held = split(dataset)
    assert not set(dataset.groups[train]) & set(dataset.groups[held])
    assert len(held) == 10
    x = X.copy()
    x[:] = np.round(x, 3)
    x[59] = x[0]
    train, held = split(load(x, group=np.arange(60) // 10))
    assert (0 in held) == (59 in held) == (5 in held) == (55 in held)


def test_joined_is_the_finest_that_keeps_both() -> None:
    codes, first = np.array([0, 0, 1, 1, 2, 3]), np.array([0, 1, 1, 3, 4, 5])
    found = joined(codes, first)
    assert found[0] == found[1] == found[2] == found[3]
    assert len(set(found.tolist())) == 3


def test_groups_larger_than_the_share() -> None:
    train, held = grouped(np.array([0] * 50 + [1] * 30), 5, seed=0)
    assert (len(train), len(held)) == (50, 30), "the smallest, where none fits"
    train, held = grouped(np.zeros(10, np.int64), 5, seed=0)
    assert (len(train), len(held)) == (10, 0)


def test_other_data_is_split_as_ever() -> None:
    assert groups_of(load("digits")) is None


def test_columns_of_a_table_go_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "houses.csv"
    path.write_text(
        "area,rooms,price,town,about\n"
        + "\n".join(
            f"{50.5 + i},{i % 4},{'' if i == 3 else 1.5 * i},{i % 3},{'NA' if i == 4 else f'house {i}'}"
            for i in range(30)
        )
    )
    dataset = load(path, numbers="price", caption="about", group="town")
    assert dataset.columns == ("area", "rooms")
    assert dataset.number_names == ("price",)
    assert np.isnan(dataset.numbers[3, 0])
    assert dataset.numbers[7, 0] == 10.5
    assert dataset.captions[4:6] == ("", "house 5")
    assert dataset.groups[:4].tolist() == [0, 1, 2, 0]
    frame = pd.read_csv(path).drop(columns="about")
    assert load(frame, numbers="price").number_names == ("price",)
    assert load(frame[["area", "rooms"]], frame["price"].fillna(0.5)).number_names == ("price",)
    with pytest.raises(BadInput, match="has nothing named prize: did you mean price"):
        load(path, numbers="prize")
    with pytest.raises(BadInput, match="must be numbers"):
        load(path, numbers="about")
