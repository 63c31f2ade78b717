"""Damaged, foreign and unsuitable .npy, .npz and IDX files are refused in one line; sound ones are read in full."""

import gzip

import numpy as np
import pytest

from driftback.data import load
from driftback.data.idx import TYPES
from driftback.errors import BadInput

X = np.random.default_rng(0).integers(0, 100, (20, 4, 5))


def _idx(code, x):
    return bytes([0, 0, code, x.ndim]) + np.array(x.shape, ">u4").tobytes() + x.astype(TYPES[code]).tobytes()


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("code", TYPES)
def test_every_idx_type(code, packed, tmp_path):
    path = tmp_path / ("x-idx3" + ".gz" * packed)
    path.write_bytes(gzip.compress(_idx(code, X)) if packed else _idx(code, X))
    dataset = load(path)
    assert dataset.kind == "pictures"
    assert dataset.x.dtype == np.dtype(TYPES[code]).newbyteorder("=")
    np.testing.assert_array_equal(dataset.x, X)


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        ("a-images-idx3-ubyte", "a-labels-idx1-ubyte"),
        ("a-images.idx3-ubyte.gz", "a-labels.idx1-ubyte"),
        ("a-images-idx3-ubyte", "a-labels-idx1-ubyte.gz"),
    ],
)
def test_labels_beside_are_found(images, labels, tmp_path):
    for name, x in ((images, X), (labels, np.arange(20) % 2)):
        raw = _idx(8, x)
        (tmp_path / name).write_bytes(gzip.compress(raw) if name.endswith("gz") else raw)
    assert load(tmp_path / images).y.tolist() == [0, 1] * 10
    with pytest.raises(BadInput, match="holds labels"):
        load(tmp_path / labels)


GOOD = _idx(8, X)
DAMAGED = {
    "empty": (b"", "starts with nothing"),
    "other magic": (b"abcd" + GOOD[4:], "no IDX file"),
    "unknown type": (b"\0\0\x0a\x03" + GOOD[4:], "no IDX file"),
    "cut header": (GOOD[:7], "ends within its header"),
    "cut body": (GOOD[:-1], "and has 399"),
    "longer body": (GOOD + b"x", "and has more"),
    "lying header": (b"\0\0\x08\x03" + b"\xff" * 12 + b"abc", "and has 3"),
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("raw", "expected"), DAMAGED.values(), ids=DAMAGED)
def test_damaged_idx_files_are_refused(raw, expected, packed, tmp_path):
    path = tmp_path / ("x-idx3-ubyte" + ".gz" * packed)
    path.write_bytes(gzip.compress(raw) if packed else raw)
    with pytest.raises(BadInput, match=expected):
        load(path)


def test_a_cut_gzip_file_is_refused(tmp_path):
    (tmp_path / "x-idx3-ubyte.gz").write_bytes(gzip.compress(GOOD)[:60])
    with pytest.raises(BadInput, match="not a complete gzip file"):
        load(tmp_path / "x-idx3-ubyte.gz")


def _npz(path, **arrays):
    np.savez(path, **arrays)
    return path.read_bytes()


def test_damaged_numpy_files_are_refused(tmp_path):
    path = tmp_path / "x.npz"
    whole = _npz(path, x=X)
    flipped = bytearray(whole)
    flipped[300] ^= 255
    np.save(tmp_path / "objects.npy", np.array([{}]), allow_pickle=True)
    objects = (tmp_path / "objects.npy").read_bytes()
    for name, raw, expected in (
        ("x.npz", whole[:200], "cannot read"),
        ("x.npz", b"", "cannot read"),
        ("x.npz", bytes(flipped), "CRC"),
        ("x.npy", b"", "cannot read"),
        ("x.npy", b"\x80\x04K\x01.", "Python objects"),
        ("x.npy", objects, "Python objects"),
    ):
        (tmp_path / name).write_bytes(raw)
        with pytest.raises(BadInput, match=expected) as caught:
            load(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_npz_keys(tmp_path):
    path = tmp_path / "x.npz"
    _npz(path, x=X, y=list("ab" * 10), more=1)
    assert load(path).classes == ("a", "b")
    _npz(path, pictures=X, kind=list("ab" * 10))
    assert load(path, "kind").y.tolist() == [0, 1] * 10
    with pytest.raises(BadInput, match=r"it holds pictures \(20, 4, 5\), kind \(20,\)"):
        load(path)
    with pytest.raises(BadInput, match="no array named colour"):
        load(path, "colour")
