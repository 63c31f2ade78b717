"""Every ailment that can be seen before training is planted in healthy data, and the doctor must find it, and nothing
else.
"""

import re
from dataclasses import replace

import numpy as np
import pytest

from driftback.data import check, load
from driftback.data.doctor import refuse_errors
from driftback.errors import BadInput

RNG = np.random.default_rng(0)
POINTS = RNG.normal(size=(2000, 3))
PICTURES = RNG.integers(0, 256, (1200, 6, 6, 3)).astype(np.uint8)


def _with(x, index, value):
    x = x.copy()
    x[index] = value
    return x


HEALTHY = {
    "points": lambda: load(POINTS),
    "pictures": lambda: load(PICTURES),
    "digits": lambda: load("digits"),
    "labels": lambda: load(POINTS, RNG.integers(0, 4, 2000)),
    "moons": lambda: load("two-moons"),
}


@pytest.mark.parametrize("dataset", HEALTHY.values(), ids=HEALTHY)
def test_healthy_data_has_notes_only(dataset):
    findings = check(dataset())
    assert findings
    assert {f.level for f in findings} == {"note"}


AILMENTS = {
    "nan": (lambda: load(_with(POINTS, (5, 1), np.nan)), "error", "item 5 at column 1", 1),
    "infinity": (lambda: load(_with(POINTS, (slice(9, 19), 2), np.inf)), "error", "item 9 at column 2", 10),
    "nan in a picture": (
        lambda: load(_with(PICTURES.astype("f4"), (7, 1, 2, 0), np.nan)),
        "error",
        r"item 7 at \(1, 2, 0\)",
        1,
    ),
    "very few": (lambda: load(POINTS[:9]), "error", "only 9 items: at least 10", 9),
    "few": (lambda: load(POINTS[:999]), "warning", "tends to memorise", 999),
    "all the same": (lambda: load(np.ones((2000, 2))), "error", "all items are the same", 2000),
    "a constant column": (lambda: load(_with(POINTS, (slice(None), 1), 7.0)), "warning", "never change: 1 = 7", 1),
    "copies": (lambda: load(_with(POINTS, slice(100, 150), POINTS[:50])), "warning", r"exact copies .*\(100 = 0", 50),
    "copies with other labels": (
        lambda: load(_with(POINTS, 100, POINTS[0]), np.arange(2000) % 3),
        "warning",
        "copies carry another label",
        1,
    ),
    "strange units": (lambda: load(RNG.random((1200, 4, 4)) * 200), "warning", "neither 0..1 nor 0..255", 0),
    "little contrast": (
        lambda: replace(load(PICTURES // 16), value_range=(0.0, 255.0)),
        "warning",
        "little contrast",
        0,
    ),
    "grey in colour": (lambda: load(PICTURES[..., :1].repeat(3, -1)), "warning", "three equal channels", 1200),
    "a class of one": (lambda: load(POINTS, [1] * 1000 + [2] * 999 + [3]), "warning", r"classes of one item \(3\)", 1),
    "unequal classes": (lambda: load(POINTS, [1] * 1990 + [2] * 10), "warning", "1 has 1990, 2 has 10", 0),
    "one class": (lambda: load(POINTS, [1] * 2000), "warning", "one class only", 2000),
    "labels that are identifiers": (lambda: load(POINTS, np.arange(2000) // 2), "warning", "identifiers", 1000),
    "an outlier": (lambda: load(_with(POINTS, (3, 0), 1e6)), "warning", r"column 0 .* 1e\+06", 1),
    "orders of magnitude": (lambda: load(np.exp(5 * POINTS)), "warning", "take its logarithm", 0),
    "lost digits": (lambda: load(1e12 + POINTS), "warning", "last digits", 3),
}


@pytest.mark.parametrize(("dataset", "level", "what", "count"), AILMENTS.values(), ids=AILMENTS)
def test_every_ailment_is_found(dataset, level, what, count):
    findings = check(dataset())
    found = [f for f in findings if f.level == level and re.search(what, f.what)]
    assert found, findings
    assert found[0].count == count
    assert all("\n" not in f.what for f in findings)


def test_the_worst_comes_first():
    levels = [f.level for f in check(load(POINTS[:9]))]
    assert levels == sorted(levels, key=["error", "warning", "note"].index)


def test_errors_stop_a_fit_and_warnings_do_not():
    with pytest.raises(BadInput, match="array: only 9 items"):
        refuse_errors(load(POINTS[:9]))
    refuse_errors(load(POINTS[:500]))


@pytest.mark.parametrize(
    ("dataset", "what"),
    [
        (lambda: load("digits"), "17 levels 0..16: treated as discrete"),
        (lambda: load("digits"), "range 0..16 is scaled to -1..1"),
        (lambda: load("digits"), "1,437 items to train on, 360 held out"),
        (lambda: load("digits"), "10 classes: 0 178"),
        (lambda: load(PICTURES), "pictures (6, 6, 3) (height, width, channels): (channels, height, width) = (3, 6, 6)"),
        (lambda: load(POINTS), "scaled to mean 0 and deviation 1"),
        (lambda: load(np.arange(2000.0) ** 2), "2000 points with one coordinate"),
        (lambda: load(POINTS > 0), "true and false: read as 1 and 0"),
        (lambda: load(POINTS > 0), "held-out items equal a training item"),
        (lambda: load(np.rint(1e6 * POINTS)), "columns of whole numbers"),
    ],
)
def test_it_says_what_will_be_done(dataset, what):
    assert any(what in f.what for f in check(dataset()))
