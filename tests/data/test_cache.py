"""What is kept of decoded pictures is the pictures or nothing: after a change, damage, a kill, a full disk."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from driftback.data import cache, decoding, load, pictures
from driftback.data.rows import Rows

RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (12, 6, 5, 3)).astype(np.uint8)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """Decoded pictures are kept, however few, in a place of their own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(pictures, "IN_MEMORY", -1)
    monkeypatch.setattr(decoding, "BLOCK", 5 * 6 * 5 * 3)  # more than one block
    return tmp_path / "cache" / "driftback" / "pictures"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "photos").mkdir()
    for k, pixels in enumerate(X):
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{k:02d}.png")
    return tmp_path / "photos"


@pytest.fixture
def decoded(monkeypatch):
    """The files that are decoded from here on."""
    seen, usual = [], decoding.decode

    def spied(path, *rest):
        seen.append(path.name)
        return usual(path, *rest)

    monkeypatch.setattr(decoding, "decode", spied)
    return seen


def warnings(dataset):
    return [found.what for found in dataset.findings if found.level == "warning"]


def test_a_folder_is_decoded_once(folder, home, decoded):
    raw = (folder / "00.png").read_bytes()
    (folder / "spoilt.png").write_bytes(raw[:60] + b"\0\0\0" + raw[63:])  # the head is whole, the pixels are not
    first = load(folder)
    assert len(decoded) == 13
    again = load(folder)
    assert len(decoded) == 13
    assert isinstance(again.x, Rows)
    np.testing.assert_array_equal(again.x[:], X)
    assert again.findings == first.findings
    assert len(warnings(again)) == 1
    assert home.stat().st_mode & 0o77 == 0, "private pictures stay private"
    (kept,) = home.iterdir()
    assert any(f"kept in {kept}" in found.what for found in again.findings)


def test_a_file_changed_in_place_is_noticed(folder, decoded):
    """The same size, and the old times put back."""
    load(folder)
    path = folder / "03.png"
    before, other = path.stat(), Image.fromarray(255 - X[3])
    time.sleep(0.02)  # more than the clock of the file system
    other.save(path)
    with path.open("ab") as file:
        file.write(b"\0" * (before.st_size - path.stat().st_size))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    np.testing.assert_array_equal(load(folder).x[3], 255 - X[3])


@pytest.mark.parametrize("change", ["one more", "one less", "another name", "swapped"])
def test_other_files_are_another_set(change, folder):
    load(folder)
    a, b = folder / "00.png", folder / "01.png"
    if change == "one more":
        Image.fromarray(X[5]).save(folder / "99.png")
    elif change == "one less":
        a.unlink()
    elif change == "another name":
        a.rename(folder / "98.png")
    else:
        a.rename(folder / "c"), b.rename(a), (folder / "c").rename(b)
    expected = {
        "one more": [*range(12), 5],
        "one less": range(1, 12),
        "another name": [*range(1, 12), 0],
        "swapped": [1, 0, *range(2, 12)],
    }[change]
    np.testing.assert_array_equal(load(folder).x[:], X[list(expected)])


def test_other_options_are_another_set(folder, home):
    for options in ({}, {"size": 4}, {"size": (4, 5)}, {"channels": 1}, {"size": 4, "aspect": "pad"}):
        load(folder, **options)
    assert len(list(home.iterdir())) == 5
    load(folder, size=4, aspect="crop")
    assert len(list(home.iterdir())) == 5


@pytest.mark.parametrize("name", [cache.PIXELS, cache.INDEX])
def test_damage_is_noticed_and_mended(name, folder, home, decoded):
    load(folder)
    (kept,) = home.iterdir()
    whole = (kept / name).read_bytes()
    for place in [*range(0, len(whole), max(1, len(whole) // 40)), len(whole) - 1]:
        spoilt = bytearray(whole)
        spoilt[place] ^= 4
        (kept / name).write_bytes(spoilt)
        found = load(folder)
        np.testing.assert_array_equal(found.x[:], X)
        assert not warnings(found)
    for cut in (0, 20, len(whole) // 2, len(whole) - 1):
        (kept / name).write_bytes(whole[:cut])
        np.testing.assert_array_equal(load(folder).x[:], X)
    (kept / name).unlink()
    np.testing.assert_array_equal(load(folder).x[:], X)
    before = len(decoded)
    load(folder)
    assert len(decoded) == before


def test_damage_that_no_checksum_saw_would_be_read(folder, home, monkeypatch):
    """Planted fault: what the test above must reject."""
    load(folder)
    (kept,) = home.iterdir()
    raw = bytearray((kept / cache.PIXELS).read_bytes())
    raw[-1] ^= 4
    (kept / cache.PIXELS).write_bytes(raw)
    sealed = json.loads((kept / cache.INDEX).read_text())["checksum"]
    monkeypatch.setattr(cache, "_checksum", lambda about, parts: sealed)
    assert (load(folder).x[:] != X).any()


SLOW = pytest.mark.slow
KILLED = """
import os, signal, sys
from pathlib import Path
from driftback.data import cache, decoding, load, pictures
pictures.IN_MEMORY, decoding.BLOCK = -1, 450
moment, usual = sys.argv[2], {"write": cache.Building.add, "fsync": os.fsync, "rename": Path.rename}
count = 0

def killed(*given, **options):
    global count
    count += 1
    if count == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
    return usual[moment](*given, **options)

{"write": lambda: setattr(cache.Building, "add", killed), "fsync": lambda: setattr(os, "fsync", killed),
 "rename": lambda: setattr(Path, "rename", killed)}[moment]()
load(sys.argv[1])
"""


@pytest.mark.parametrize(
    "moment",
    [
        ("write", 1),
        pytest.param(("write", 2), marks=SLOW),
        pytest.param(("fsync", 1), marks=SLOW),
        ("fsync", 2),
        ("rename", 1),
    ],
)
def test_a_kill_leaves_nothing_that_is_taken_for_whole(moment, folder, home, decoded):
    command = [sys.executable, "-c", KILLED, str(folder), moment[0], str(moment[1])]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    (left,) = home.iterdir()
    assert left.suffix == cache.PART
    assert cache.sets() == []
    np.testing.assert_array_equal(load(folder).x[:], X)
    assert len(decoded) == 12
    (kept,) = home.iterdir()
    assert kept.suffix == "", "what the kill left over is gone"


def test_what_another_process_is_writing_is_left_alone(folder, home):
    with cache.building("f" * 32, (2, 2), 100) as building:
        load(folder)
        assert len(list(home.glob(f"*{cache.PART}"))) == 1
        building.add(np.zeros((1, 2, 2), np.uint8))
        building.finish(["a.png"], [])
    assert cache.find("f" * 32).x[:].tolist() == [[[0, 0], [0, 0]]]


def test_a_set_that_was_not_finished_is_not_kept(home):
    with cache.building("f" * 32, (2, 2), 100) as building:
        building.add(np.zeros((1, 2, 2), np.uint8))
    assert list(home.iterdir()) == []


@pytest.mark.parametrize("trouble", ["a file in the way", "no permission", "full", "full in the middle", "too large"])
def test_a_place_that_cannot_be_written_costs_only_the_speed(trouble, folder, home, monkeypatch):
    home.parent.mkdir(parents=True)
    if trouble == "a file in the way":
        home.write_text("")
    elif trouble == "no permission":
        monkeypatch.setattr(Path, "mkdir", lambda *given, **options: _raise(errno.EACCES))
    elif trouble == "full":
        monkeypatch.setattr(cache.Building, "add", lambda *given: _raise(errno.ENOSPC))
    elif trouble == "full in the middle":
        usual, calls = cache.Building.add, []
        monkeypatch.setattr(
            cache.Building,
            "add",
            lambda *given: usual(*given) if not calls.append(0) and len(calls) < 2 else _raise(28),
        )
    else:
        monkeypatch.setattr(cache.shutil, "disk_usage", lambda path: os.terminal_size((0, 0)) and _Free(free=10))
    dataset = load(folder)
    assert isinstance(dataset.x, np.ndarray)
    np.testing.assert_array_equal(dataset.x, X)
    (said,) = warnings(dataset)
    assert "cannot be kept in" in said
    assert "set XDG_CACHE_HOME" in said
    assert not home.is_dir() or list(home.iterdir()) == []


class _Free:
    def __init__(self, free):
        self.free = free


def _raise(number):
    raise OSError(number, os.strerror(number))


def test_the_sets_used_longest_ago_make_room(folder, home, monkeypatch):
    sizes = [(4, 4), (4, 5), (5, 4), (5, 5)]
    named = []
    for size in sizes[:3]:
        load(folder, size=size)
        named += [path for path in home.iterdir() if path not in named]
        time.sleep(0.01)
    load(folder, size=sizes[0])  # used again: now the second is the oldest
    taken = sum(size for _, size, _ in cache.sets())
    monkeypatch.setattr(cache, "MOST", taken)
    load(folder, size=sizes[3])
    assert [path.exists() for path in named] == [True, False, True]
    monkeypatch.setattr(cache, "MOST", 0)
    load(folder, size=(3, 3))
    assert len(list(home.iterdir())) == 1, "the newest stays, however large"


def test_small_sets_are_kept_where_decoding_took_long(folder, home, decoded, monkeypatch):
    monkeypatch.setattr(pictures, "IN_MEMORY", 1 << 20)
    load(folder)
    assert not home.exists()
    monkeypatch.setattr(pictures, "WORTH", 0.0)
    load(folder)
    before = len(decoded)
    again = load(folder)
    assert len(decoded) == before
    assert isinstance(again.x, np.ndarray)
    np.testing.assert_array_equal(again.x, X)


def test_a_folder_may_be_moved(folder, decoded):
    load(folder)
    load(folder.rename(folder.with_name("pictures")))
    assert len(decoded) == 12


def test_the_bytes_in_memory_are_bounded(folder, monkeypatch):
    """No block is larger than asked for, whatever the folder's size."""
    seen, usual = [], cache.Building.add
    monkeypatch.setattr(cache.Building, "add", lambda self, x: (seen.append(x.nbytes), usual(self, x)))
    load(folder)
    assert max(seen) <= decoding.BLOCK
    assert sum(seen) == X.nbytes


@pytest.mark.parametrize("limit", [-1, 1 << 20], ids=["on the disk", "in memory"])
def test_decoding_says_how_far_it_is(limit, folder, monkeypatch):
    monkeypatch.setattr(pictures, "IN_MEMORY", limit)
    told = []
    load(folder, progress=lambda done, total: told.append((done, total)))
    assert told == [(5, 12), (10, 12), (12, 12)]
    if limit < 0:
        load(folder, progress=lambda done, total: told.append((done, total)))
        assert len(told) == 3, "what is kept is not decoded"


def test_names_that_are_no_text_are_kept(folder):
    (folder / "00.png").rename(os.fsdecode(os.fsencode(folder) + b"/zz\xff.png"))
    first, again = load(folder), load(folder)
    np.testing.assert_array_equal(again.x[:], X[[*range(1, 12), 0]])
    assert first.findings == again.findings
