"""The tree's means against looking at every point: they are off by no more than it says, and it says little."""

import math
import tracemalloc

import numpy as np
import pytest
import torch

from driftback.distributions import recall
from driftback.distributions.hermite import ORDER, moments
from driftback.distributions.recall import Recall
from driftback.distributions.tree import FEW, SHARE, Tree, _Asked, _Sums
from driftback.errors import BadInput


def spiral(m: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    angle = rng.uniform(0, 12, m)
    return np.stack([angle * np.cos(angle), angle * np.sin(angle)], 1) / 6 + 0.05 * rng.normal(size=(m, 2))


def clusters(m: int, d: int) -> np.ndarray:
    """Tight and wide ones, far apart."""
    rng = np.random.default_rng(d)
    centres, widths = 3 * rng.normal(size=(5, d)), 10.0 ** rng.uniform(-4, 0, 5)
    which = rng.integers(0, 5, m)
    return centres[which] + widths[which, None] * rng.normal(size=(m, d))


def cloud(m: int, d: int, outlier: float = 0.0) -> np.ndarray:
    points = np.random.default_rng(0).normal(size=(m, d))
    points[0] += outlier
    return points


CLOUDS = {
    "spiral": spiral(5000),
    "one number": clusters(4000, 1),
    "clusters": clusters(4000, 2),
    "three numbers": clusters(3000, 3),
    "copies": np.repeat(clusters(50, 2), 80, axis=0),
    "a grid": np.stack(np.meshgrid(np.arange(60.0), np.arange(60.0)), -1).reshape(-1, 2) / 30,
    "an outlier": np.concatenate([clusters(3000, 2), [[1e6, 0.0]]]),
    "far from the origin": 1e4 + spiral(3000),
}


def asked(points: np.ndarray, ratio: float, n: int = 60) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(3)
    y = points[rng.integers(0, len(points), n)] + ratio * rng.normal(size=(n, points.shape[1]))
    return torch.from_numpy(y), torch.full((n,), ratio**-2, dtype=torch.float64)


@pytest.mark.parametrize("ratio", [1e-4, 3e-3, 0.05, 0.3, 1.0, 5.0, 80.0])
@pytest.mark.parametrize("name", CLOUDS)
def test_the_tree_is_off_by_no_more_than_it_says(name: str, ratio: float) -> None:
    points = torch.from_numpy(CLOUDS[name])
    y, precision = asked(CLOUDS[name], ratio)
    exact = Recall(points).mean(y, precision)
    rounding = 1e-12 * float(points.abs().max()) / ratio
    for tolerance in (1e-2, 1e-4):
        found, bound = Recall(points, tolerance).bounded(y, precision)
        off = (found - exact).norm(dim=1) / ratio
        assert (off <= bound + rounding + 1e-9).all(), "the bound holds"
        assert (bound <= 2 * tolerance).all(), "and it is about what was asked for"


def test_each_query_has_a_noise_of_its_own() -> None:
    y, _ = asked(CLOUDS["spiral"], 0.3)
    precision = torch.logspace(-3, 6, len(y), dtype=torch.float64)
    tree, points = Recall(torch.from_numpy(CLOUDS["spiral"]), 1e-3), torch.from_numpy(CLOUDS["spiral"])
    exact = Recall(points).mean(y, precision)
    off = (tree.mean(y, precision) - exact).norm(dim=1) * precision.sqrt()
    assert float(off.max()) < 2e-3


def test_a_gradient_goes_the_whole_way_round() -> None:
    """The tree has none, so where one is asked for every point is looked at."""
    points = torch.from_numpy(CLOUDS["spiral"])
    y, precision = asked(CLOUDS["spiral"], 0.3, 4)
    y.requires_grad_(True)
    (slope,) = torch.autograd.grad(Recall(points, 1e-3).mean(y, precision).sum(), y)
    (exact,) = torch.autograd.grad(Recall(points).mean(y, precision).sum(), y)
    assert torch.allclose(slope, exact)
    assert float(slope.abs().min()) > 0


def dense(y: torch.Tensor, points: torch.Tensor, precision: torch.Tensor) -> torch.Tensor:
    far = (y[:, None] - points).square().sum(-1)
    return (-precision[:, None] / 2 * far).softmax(1) @ points


@pytest.mark.parametrize("entries", [1 << 22, 700])
@pytest.mark.parametrize(("ratio", "origin"), [(0.3, 0.0), (1.0, 0.0), (0.3, 1e4)])
def test_the_streamed_gradient_is_that_of_the_dense_formula(
    ratio: float, origin: float, entries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recall, "ENTRIES", entries)
    points = torch.from_numpy(clusters(200, 3))
    y, precision = asked(points.numpy(), ratio, 9)
    v = torch.from_numpy(np.random.default_rng(0).normal(size=(4, 9, 3)))
    y, precision = y.requires_grad_(True), precision.requires_grad_(True)
    found = Recall(points + origin).mean(y + origin, precision)
    exact = dense(y, points, precision)
    assert torch.allclose(found - origin, exact, atol=1e-8)
    for one in v:
        ours = torch.autograd.grad(found, (y, precision), one, retain_graph=True)
        theirs = torch.autograd.grad(exact, (y, precision), one, retain_graph=True)
        assert all(torch.allclose(a, b, rtol=1e-6, atol=1e-7) for a, b in zip(ours, theirs, strict=True))
    at_once = torch.autograd.grad(found, y, v, is_grads_batched=True, retain_graph=True)[0]
    assert torch.allclose(at_once, torch.autograd.grad(exact, y, v, is_grads_batched=True)[0], rtol=1e-6, atol=1e-7)


def test_a_gradient_far_away_has_no_slope_from_rounding() -> None:
    """A point alone has none, and squares of large numbers are no reason for one."""
    points = torch.tensor([[1e6 / 3, 2e6 / 7]], dtype=torch.float64).expand(50, 2).clone()
    y = (points[:3] + 0.1).requires_grad_(True)
    precision = torch.full((3,), 1e4, dtype=torch.float64)
    v = torch.ones_like(y) / 3
    (slope,) = torch.autograd.grad(Recall(points).mean(y, precision), y, v)
    assert float(slope.abs().max()) < 1e-6


def test_second_derivatives_are_those_of_the_formula() -> None:
    points = torch.from_numpy(clusters(60, 2))
    y, precision = asked(points.numpy(), 0.5, 5)
    y.requires_grad_(True)
    assert torch.autograd.gradgradcheck(lambda y: Recall(points).mean(y, precision), y)
    points.requires_grad_(True)
    assert torch.autograd.gradcheck(lambda points: Recall(points).mean(y.detach(), precision), points)


def test_a_gradient_holds_no_chunk() -> None:
    points = torch.from_numpy(cloud(3000, 2))
    y, precision = asked(points.numpy(), 0.5, 200)
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        Recall(points).mean(y.requires_grad_(True), precision).sum()
    assert sum(kept.values()) < 3 * points.untyped_storage().nbytes()


def test_far_away_it_is_the_nearest_point() -> None:
    """Where every weight would be 0 in floating point."""
    points = torch.from_numpy(CLOUDS["spiral"])
    y = torch.tensor([[50.0, 40.0], [-1e4, 3.0]], dtype=torch.float64)
    precision = torch.full((2,), 1e6, dtype=torch.float64)
    nearest = points[torch.cdist(y, points).argmin(1)]
    assert torch.allclose(Recall(points, 1e-3).mean(y, precision), nearest, atol=1e-9)


@pytest.mark.parametrize("ratio", [1e-9, 1e-10])
def test_far_away_at_hardly_any_noise_it_is_the_nearest_point(ratio: float) -> None:
    """Where rounding changes an exponent by more than it may be below the largest."""
    points, angle = torch.from_numpy(spiral(4000)), np.random.default_rng(1).uniform(0, 2 * np.pi, 64)
    y = 3 * float(points.std()) * torch.from_numpy(np.stack([np.cos(angle), np.sin(angle)], 1))
    precision = torch.full((64,), (ratio * float(points.std())) ** -2, dtype=torch.float64)
    found, bound = Recall(points, 2e-4).bounded(y, precision)
    assert torch.allclose(found, points[torch.cdist(y, points).argmin(1)], rtol=0, atol=1e-9)
    assert float(bound.max()) == 0
    assert Tree(points.numpy()).mean(y.numpy(), precision.numpy(), 2e-4)[2].all(), "looked at point by point"


def test_what_is_not_bounded_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    points, said = torch.from_numpy(spiral(4000)), _Sums.result
    y, precision = asked(points.numpy(), 0.003)

    def loose(self: _Sums, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mean, bound = said(self, y)
        bound[:7] += 0.003 * np.array([11, 1, np.nan, np.inf, 1e50, 0, 12]) * 1e-3
        return mean, bound

    monkeypatch.setattr(_Sums, "result", loose)
    left = Tree(points.numpy()).mean(y.numpy(), precision.numpy(), 1e-3)[2]
    assert left[:7].tolist() == [True, False, True, True, True, False, True]


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_a_query_that_is_no_number_has_no_mean(wrong: float) -> None:
    points = torch.from_numpy(spiral(4000))
    y, precision = asked(points.numpy(), 0.3, 4)
    y[2, 1] = wrong
    found = Recall(points, 1e-3).mean(y, precision)
    assert found.isfinite().all(1).tolist() == [True, True, False, True]
    assert torch.allclose(found, Recall(points).mean(y, precision), equal_nan=True)


def test_the_tree_cuts_cells_until_they_hold_few() -> None:
    tree = Tree(CLOUDS["spiral"])
    for level in tree.levels:
        assert (level.end > level.first).all()
        assert (level.whole | (level.end - level.first > FEW)).all()
        for i in range(0, len(level.first), 37):
            mine = tree.points[level.first[i] : level.end[i]]
            assert np.allclose(level.centre[i], mine.mean(0))
            assert np.isclose(level.radius[i], np.sqrt(((mine - mine.mean(0)) ** 2).sum(1)).max(), atol=1e-12)
            u, alone = mine - mine.mean(0), np.zeros(1, np.int64)
            assert np.allclose(level.moment[:, [i]], moments(u, alone, np.array([len(u)])), atol=1e-12)
            assert np.isclose(level.beyond[i], (np.linalg.norm(u, axis=1) ** (ORDER + 1)).mean(), atol=1e-12)
    assert sum(int((level.end - level.first)[level.whole].sum()) for level in tree.levels) == len(tree.points)


@pytest.mark.parametrize("ratio", [0.1, 0.3, 1.0])
def test_what_needs_many_cells_is_given_up(ratio: float) -> None:
    """No query looks at many more cells than pay, and one that is not given up has its bound."""
    points = cloud(20_000, 3)
    tree, seen, (y, precision) = Tree(points), np.zeros(60), asked(points, ratio)
    summed = _Asked.summed

    def counted(self: _Asked, level: object, query: np.ndarray, node: np.ndarray) -> tuple:
        nonlocal seen
        seen = seen + np.bincount(query, minlength=60)
        return summed(self, level, query, node)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_Asked, "summed", counted)
        mean, bound, left = tree.mean(y.numpy(), precision.numpy(), 1e-3)
    assert seen.max() <= len(points) / SHARE + 1
    assert left.any() or ratio == 0.1
    assert not left.all() or ratio > 0.1
    off = np.linalg.norm(mean - Recall(torch.from_numpy(points)).mean(y, precision).numpy(), axis=1)
    assert (off <= bound + 1e-9)[~left].all()


@pytest.mark.parametrize("outlier", [0.0, 1e12])
@pytest.mark.parametrize("d", [2, 3])
def test_memory_is_bounded(d: int, outlier: float) -> None:
    """An outlier puts all others into one cell, which is not cut."""
    for m in (5_000, 40_000):
        points = cloud(m, d, outlier)
        tree, (y, precision) = Tree(points), asked(points, 0.5, 1024)
        tracemalloc.start()
        tree.mean(y.numpy(), precision.numpy(), 1e-3)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 64 * 2**20


def test_points_that_are_all_one() -> None:
    points = torch.full((3000, 2), 0.7, dtype=torch.float64)
    y, precision = torch.zeros(3, 2, dtype=torch.float64), torch.ones(3, dtype=torch.float64)
    assert torch.allclose(Recall(points, 1e-3).mean(y, precision), points[:3], atol=1e-12)


def test_few_points_and_many_numbers_need_no_tree() -> None:
    assert Recall(torch.zeros(100, 2), 1e-3)._tree is None
    assert Recall(torch.zeros(3000, 4), 1e-3)._tree is None
    assert Recall(torch.zeros(3000, 2))._tree is None


@pytest.mark.parametrize("scale", [1.0, 1e3])
def test_squares_are_expanded_only_where_the_digits_suffice(scale: float, monkeypatch: pytest.MonkeyPatch) -> None:
    points = scale + torch.from_numpy(clusters(300, 20))
    y = points[:10] + 1e-3
    for sharp in (1e-2, 1.0, 1e4, 1e9):
        precision = torch.full((10,), sharp, dtype=torch.float64)
        found = Recall(points).mean(y, precision)
        monkeypatch.setattr(recall, "DIGITS", 0.0)
        assert torch.allclose(found, Recall(points).mean(y, precision), rtol=1e-7, atol=1e-7)
        monkeypatch.undo()


def test_where_digits_are_lost_the_nearest_are_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Near-duplicates far from the origin, told apart by differences of few pairs, and not of all."""
    rng = np.random.default_rng(0)
    points = torch.from_numpy(1e2 + rng.normal(size=(40, 1, 30)) + 1e-4 * rng.normal(size=(40, 3, 30))).flatten(0, 1)
    y, precision = points[::7] + 2e-5 * torch.from_numpy(rng.normal(size=(18, 30))), torch.full((18,), 1e8).double()
    exact, every = dense(y, points, precision), torch.cdist(y, points, compute_mode="donot_use_mm_for_euclid_dist") ** 2
    shift = 1e5  # where no digit is left
    assert torch.allclose(Recall(points + shift).mean(y + shift, precision) - shift, exact, rtol=0, atol=1e-6)
    monkeypatch.setattr(torch, "cdist", None)
    with monkeypatch.context() as patch:
        patch.setattr(recall, "ENTRIES", 90)
        far, close = recall.squares(y, points, precision[:, None] / 2), every < 1e-6
    assert torch.allclose(far[close], every[close], rtol=1e-9, atol=0)
    assert not torch.allclose(far, every, rtol=1e-12, atol=0), "and no others"
    assert torch.allclose(Recall(points).mean(y, precision), exact, rtol=0, atol=1e-9)
    y.requires_grad_(True)
    v = torch.from_numpy(rng.normal(size=y.shape))
    (slope,) = torch.autograd.grad(Recall(points).mean(y, precision), y, v)
    (slowly,) = torch.autograd.grad(dense(y, points, precision), y, v)
    assert torch.allclose(slope, slowly, rtol=1e-6, atol=1e-6)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(BadInput, match="at least one point"):
        Recall(torch.zeros(0, 2))
    with pytest.raises(BadInput, match="tolerance"):
        Recall(torch.zeros(5, 2), -1.0)
