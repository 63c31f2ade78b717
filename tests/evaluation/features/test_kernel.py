"""The kernel distance is the unbiased MMD^2 of the cubic kernel, in all and class by class."""

from __future__ import annotations

import numpy as np
import pytest

from driftback.evaluation import pairwise
from driftback.evaluation.features.kernel import CUBIC, Unit, by_class, kernel_distance
from driftback.evaluation.metric import INSIDE, WORSE
from driftback.evaluation.permutation import splits
from driftback.evaluation.points import Points


def direct(x: Points, y: Points) -> float:
    """By the definition, pair by pair."""

    def k(a: Points, b: Points) -> float:
        return float((a @ b / len(a) + 1) ** 3)

    within = [np.mean([k(a, b) for i, a in enumerate(z) for j, b in enumerate(z) if i != j]) for z in (x, y)]
    return float(sum(within) - 2 * np.mean([k(a, b) for a in x for b in y]))


def sets(n: int, m: int, seed: int = 0, d: int = 6) -> tuple[Points, Points]:
    generator = np.random.default_rng(seed)
    return generator.standard_normal((n, d)), generator.standard_normal((m, d))


def test_it_is_the_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairwise, "BLOCK", 8)
    x, y = sets(13, 21)
    z, ways = np.concatenate([x, y + 0.5]), splits(13, 21, np.random.default_rng(0), shuffles=3, groups=4)
    values = CUBIC(z, ways)
    alone = [direct(z[a == 1], z[b == 1]) for a, b in zip(ways.first.T, ways.second.T, strict=True)]
    np.testing.assert_allclose(values, alone, rtol=1e-10)


def test_it_is_unbiased() -> None:
    """The mean of 400 values of one law is 0 within four standard errors; with the pairs of an item and itself not."""
    values, biased = [], []
    for s in range(400):
        x, y = sets(12, 15, s)
        values.append(direct(x, y))
        itself = [(np.square(z).sum(1) / 6 + 1) ** 3 for z in (x, y)]
        biased.append(values[-1] + sum(k.mean() / len(k) for k in itself))
    assert abs(np.mean(values)) < 4 * np.std(values) / 20
    assert abs(np.mean(biased)) > 4 * np.std(biased) / 20


def test_the_unit_makes_scale_and_place_of_features_mean_nothing() -> None:
    x, y = sets(60, 60)
    one, two = (kernel_distance(scale * x + shift, scale * y + shift, of="x") for scale, shift in ((1, 0), (50, 9)))
    assert one.value == pytest.approx(two.value, rel=1e-9)
    assert Unit.of(np.ones((5, 3))).size == 1.0
    raw = kernel_distance(50 * x, 50 * y, of="x", unit=Unit())
    assert raw.value != pytest.approx(one.value, rel=0.5)


def test_faults_leave_the_floor() -> None:
    x, y = sets(200, 200, 7)
    other = sets(200, 1, 5)[0]
    assert kernel_distance(x, y, other, of="x").verdict.startswith(INSIDE)
    for wrong in (x + 0.3, 1.4 * x, x * np.array([1, 1, 1, 1, 1, 0])):
        assert kernel_distance(wrong, y, other, of="x").verdict.startswith(WORSE)


def test_classes_are_told_apart() -> None:
    x, y = sets(120, 150, 7)
    asked, truth = np.repeat(["cat", "dog", "few"], [60, 50, 10]), np.repeat(["cat", "dog", "few"], [60, 50, 40])
    x[asked == "dog"] += 1
    found = {m.name: m for m in by_class(x, asked, y, truth, of="these", unit=Unit())}
    assert list(found) == ["kernel distance: cat (these features)", "kernel distance: dog (these features)"]
    assert found["kernel distance: cat (these features)"].verdict.startswith(INSIDE)
    assert found["kernel distance: dog (these features)"].verdict.startswith(WORSE)
