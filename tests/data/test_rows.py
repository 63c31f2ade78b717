"""Rows of a file are to all who ask what the same array in memory is, and hold no more than was asked for."""

import os
import subprocess
import sys

import numpy as np
import pytest

from driftback.data import Dataset, Preprocessing, check, rows, split
from driftback.data.dataset import first_copies
from driftback.data.rows import Rows, blocks
from driftback.errors import BadInput

RNG = np.random.default_rng(0)
X = RNG.integers(0, 250, (60, 5, 4, 3)).astype(np.uint8)
X[[7, 30]] = X[3]


@pytest.fixture
def stored(tmp_path, monkeypatch):
    np.save(tmp_path / "x.npy", X)
    monkeypatch.setattr(rows, "SMALL", 0)
    return Rows.of(tmp_path / "x.npy", X.shape)


SHUFFLED = RNG.permutation(60)[:50]


@pytest.mark.parametrize("index", [None, SHUFFLED, SHUFFLED[::-1]], ids=["all", "some", "back"])
def test_rows_are_the_array(stored, index):
    seen, x = (stored, X) if index is None else (stored.take(index), X[index])
    assert (seen.shape, seen.dtype, seen.ndim, seen.nbytes, len(seen)) == (x.shape, x.dtype, x.ndim, x.nbytes, len(x))
    for key in (slice(3, 9), slice(None), np.array([5, 0, 5]), -1, (slice(None), 2), (slice(1, 4), slice(None), 3, 0)):
        np.testing.assert_array_equal(seen[key], x[key])
    np.testing.assert_array_equal(np.asarray(seen), x)
    np.testing.assert_array_equal(np.asarray(seen, np.float32), x)
    np.testing.assert_array_equal(seen.take(np.array([4, 1])), x[[4, 1]])
    np.testing.assert_array_equal(seen.take(np.arange(len(x)) % 2 == 0), x[::2])
    assert (seen.min(), seen.max()) == (x.min(), x.max())
    np.testing.assert_array_equal(seen.min(0), x.min(0))
    np.testing.assert_array_equal(seen.max(0), x.max(0))


def test_what_is_asked_for_is_no_view_of_the_file(stored):
    stored[:3][...] = 0
    np.testing.assert_array_equal(stored[:3], X[:3])


def test_few_items_are_an_array(stored, monkeypatch):
    assert isinstance(stored.take(np.arange(2)), Rows)
    monkeypatch.setattr(rows, "SMALL", 1 << 20)
    assert isinstance(stored.take(np.arange(2)), np.ndarray)


def test_a_file_that_is_cut_short_is_refused(tmp_path):
    np.save(tmp_path / "x.npy", X)
    whole = (tmp_path / "x.npy").read_bytes()
    for other in (b"", whole[:5], whole[:200], whole[:-1], whole + b"x", whole.replace(b"60", b"61", 1)):
        (tmp_path / "x.npy").write_bytes(other)
        with pytest.raises(ValueError, match=r".+"):
            Rows.of(tmp_path / "x.npy", X.shape)


def test_a_file_that_is_cut_short_later_is_told_in_one_line(stored):
    os.truncate(stored.file.path, 200)
    with pytest.raises(BadInput, match="was cut short while it was read"):
        stored[np.array([50])]


def test_everything_before_training_is_the_same(stored):
    y = np.arange(60) % 3
    held, here = (
        Dataset(x, y, "pictures", ("a", "b", "c"), value_range=(0.0, 255.0), captions=tuple(map(str, range(60))))
        for x in (stored, X)
    )
    assert check(held) == check(here)
    assert Preprocessing.fit(held) == Preprocessing.fit(here)
    for one, other in zip(split(held), split(here), strict=True):
        np.testing.assert_array_equal(one, other)
    some = held.take(SHUFFLED)
    np.testing.assert_array_equal(some.x[:], X[SHUFFLED])
    assert some.captions == tuple(str(i) for i in SHUFFLED)
    prepared = Preprocessing.fit(held)
    assert (prepared.encode(some.x) == prepared.encode(X[SHUFFLED])).all()


@pytest.mark.parametrize("width", [8, 200], ids=["as they are", "by digest"])
def test_copies_are_found(width):
    x = RNG.integers(0, 250, (40, width)).astype(np.uint8)
    x[[9, 33]] = x[2]
    expected = np.arange(40)
    expected[[9, 33]] = 2
    np.testing.assert_array_equal(first_copies(x), expected)


def test_blocks_cover_every_item_once():
    assert np.concatenate([np.arange(60)[part] for part in blocks(X, 7 * 60)]).tolist() == list(range(60))


PASS = """
import sys
from pathlib import Path
import numpy as np
from driftback.data import rows

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

rows.RESIDENT, rows.SMALL = 1 << 23, 0
seen = rows.Rows.of(Path(sys.argv[1]), (500, 1024, 200))
before, grown = resident(), []
for each in (seen, seen.take(np.random.default_rng(0).permutation(500))):
    total = sum(int(each[part].sum()) for part in rows.blocks(each, 1 << 20)) + int(each.max())
    grown.append((resident() - before) >> 20)
print(max(grown))
"""


def test_a_pass_holds_little_of_a_large_file(tmp_path):
    """98 MiB are read twice, in order and in another, by a process that grows by a fraction of them."""
    with (tmp_path / "x.npy").open("wb") as file:
        file.write(rows.head_of((500, 1024, 200)))
        file.truncate(file.tell() + 500 * 1024 * 200)
    found = subprocess.run([sys.executable, "-c", PASS, tmp_path / "x.npy"], capture_output=True, text=True, check=True)
    assert int(found.stdout) < 49
