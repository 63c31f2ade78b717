"""One entrance: every accepted source gives the same items, and every refusal is one line that names the culprit."""

import numpy as np
import pandas as pd
import pytest
import torch

from driftback.data import Dataset, load
from driftback.data.builtin import names
from driftback.data.loading import READERS
from driftback.errors import BadInput

POINTS = np.random.default_rng(0).normal(size=(30, 3))


def _npy(folder):
    np.save(folder / "x.npy", POINTS)
    return folder / "x.npy"


def _npz(folder):
    np.savez(folder / "x.npz", x=POINTS)
    return str(folder / "x.npz")


def _npz_single(folder):
    np.savez(folder / "x.npz", points=POINTS)
    return folder / "x.npz"


def _csv(folder):
    np.savetxt(folder / "x.csv", POINTS, delimiter=",", fmt="%.17g")
    return folder / "x.csv"


def _idx(folder):
    head = b"\0\0\x0e\x02" + np.array(POINTS.shape, ">u4").tobytes()
    (folder / "points.idx").write_bytes(head + POINTS.astype(">f8").tobytes())
    return folder / "points.idx"


SOURCES = {
    "array": lambda folder: POINTS,
    "big-endian": lambda folder: POINTS.astype(">f8"),
    "objects": lambda folder: POINTS.astype(object),
    "tensor": lambda folder: torch.tensor(POINTS, requires_grad=True),
    "lists": lambda folder: POINTS.tolist(),
    "data frame": lambda folder: pd.DataFrame(POINTS),
    "a Dataset": lambda folder: load(POINTS),
    "npy": _npy,
    "npz": _npz,
    "npz of one": _npz_single,
    "csv": _csv,
    "idx": _idx,
}


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_every_source_gives_the_same_items(source, tmp_path):
    dataset = load(source(tmp_path))
    assert dataset.kind == "points"
    assert dataset.x.dtype == np.float64
    assert dataset.x.dtype.isnative
    np.testing.assert_array_equal(dataset.x, POINTS)


@pytest.mark.parametrize("name", names())
def test_every_built_in_name_loads(name):
    dataset = load(name, n=50, seed=1)
    assert len(dataset) == 50
    np.testing.assert_array_equal(dataset.x, load(name.replace("-", "_").upper(), n=50, seed=1).x)
    assert (dataset.x != load(name, n=50, seed=2).x).any()


def test_digits_come_as_they_are():
    digits = load("digits")
    assert digits.x.shape == (1797, 8, 8)
    assert (digits.x.min(), digits.x.max()) == (0, 16)
    assert digits.classes == tuple("0123456789")


def test_shapes_carry_their_density():
    moons = load("two-moons")
    assert moons.x.shape == (10_000, 2)
    assert torch.isfinite(moons.density.log_prob(torch.tensor(moons.x[:10]))).all()


def test_item_i_of_a_shape_is_the_same_for_every_n():
    np.testing.assert_array_equal(load("rings", n=200).x[:100], load("rings", n=100).x)


@pytest.mark.parametrize(
    ("y", "classes", "codes"),
    [
        ([3, 1, 3], ("1", "3"), [1, 0, 1]),
        (["b", "a", "b"], ("a", "b"), [1, 0, 1]),
        ([2.0, 10.0, 2.0], ("2", "10"), [0, 1, 0]),
        (torch.tensor([True, False, True]), ("False", "True"), [1, 0, 1]),
        (np.array([b"b", b"a", b"b"]), ("a", "b"), [1, 0, 1]),
        (np.array([[5], [4], [5]]), ("4", "5"), [1, 0, 1]),
    ],
)
def test_labels_become_indices(y, classes, codes):
    dataset = load([[1.0], [2.0], [3.0]], y)
    assert dataset.classes == classes
    assert dataset.y.tolist() == codes


@pytest.mark.parametrize(
    ("source", "options", "expected"),
    [
        ("digit", {}, "did you mean digits"),
        ("two-mons", {}, "did you mean two-moons"),
        ("nothing.csv", {}, "there is no file or folder nothing.csv"),
        ("no/such/x.npy", {}, "the folder no/such does not exist either"),
        ("\0", {}, "built in are"),
        ("a" * 5000, {}, "cannot read"),
        (3, {}, "an object of type int"),
        (None, {}, "an object of type NoneType"),
        (np.array(3.0), {}, "single number"),
        (np.empty((0, 3)), {}, "empty (shape (0, 3))"),
        (np.empty((3, 0)), {}, "items without values"),
        (np.array([["a"]]), {}, "holds text"),
        (np.ones((3, 2), complex), {}, "complex numbers"),
        (np.array(["2020-01-01"], "M8[D]"), {}, "holds dates"),
        (np.ma.masked_less(POINTS, 0), {}, "masked values"),
        ([[1], [2, 3]], {}, "ragged"),
        ([[1, None], [2, "a"]], {}, "objects that are not all numbers"),
        (np.zeros((9, 9, 9, 9)), {}, "which axis"),
        (np.zeros((2, 2, 2, 2, 2)), {}, "neither points (d,) nor pictures"),
        (POINTS, {"y": [1, 2]}, "one label per item"),
        (POINTS, {"y": np.full(30, 0.5)}, "y is 0.5 for all items"),
        (POINTS, {"y": np.full(30, np.nan)}, "30 labels are NaN"),
        (POINTS, {"y": "species"}, "has no meaning"),
        (POINTS, {"size": 8}, "size ((8, 8)) has no meaning"),
        ("digits", {"channels": 1}, "channels (1) has no meaning"),
        (POINTS, {"n": 31}, "n must be from 1 to the 30 items"),
        ("two-moons", {"n": 0}, "n must be at least 1"),
        (".", {"size": 0}, "size must be from 1"),
    ],
)
def test_refusals_are_one_clear_line(source, options, expected):
    with pytest.raises(BadInput) as caught:
        load(source, **options)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_misspelt_file_name_is_recognised(tmp_path):
    (tmp_path / "measurements.csv").write_text("1,2\n")
    with pytest.raises(BadInput, match=r"did you mean .*measurements\.csv"):
        load(tmp_path / "mesurements.csv")


@pytest.mark.parametrize(
    ("name", "expected"), [("x.parquet", "save it as .csv"), ("x.pkl", "save it as .npy"), ("x.png", "one picture")]
)
def test_other_files_say_what_to_do(name, expected, tmp_path):
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(BadInput, match=expected):
        load(tmp_path / name)


def test_n_keeps_a_stable_choice():
    some = load("digits", n=100, seed=3)
    assert len(some) == 100
    np.testing.assert_array_equal(some.x, load("digits", n=100, seed=3).x)
    whole = {row.tobytes() for row in load("digits").x}
    assert {row.tobytes() for row in some.x} <= whole


def test_a_new_kind_is_one_reader():
    assert len({reader.what for reader in READERS}) == len(READERS)
    assert sum(reader.accepts(POINTS) for reader in READERS) == 1
    assert not any(reader.accepts(object()) for reader in READERS)


def test_home_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    np.save(tmp_path / "x.npy", POINTS)
    assert isinstance(load("~/x.npy"), Dataset)


def test_a_pair_of_items_and_labels_is_told_apart():
    with pytest.raises(BadInput, match=r"fit\(X, y\), not fit\(\(X, y\)\)"):
        load((np.zeros((20, 2)), np.zeros(20, int)))
    assert load((np.zeros(3), np.ones(3))).x.shape == (2, 3)
