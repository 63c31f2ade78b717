"""Bounds: the way there and back, the volume, the gradient; laws with walls come out as they are known to be."""

import math

import numpy as np
import pytest
import torch

import driftback as db
from driftback.distributions.target import Problem
from driftback.errors import BadInput
from driftback.recipes.density.bounded import Bounded, within

DOUBLE = torch.float64
INF = math.inf
LOWER, UPPER = torch.tensor([-INF, 0.5, -INF, -2.0], dtype=DOUBLE), torch.tensor([INF, INF, 1.5, 3.0], dtype=DOUBLE)


class Skew:
    """Some smooth density of four numbers."""

    event_shape = (4,)

    def log_prob(self, x):
        return -(x**2).sum(1) / 2 + x[:, 0] * x[:, 3] / 4 - (x[:, 1] - x[:, 2]).cos()

    def score(self, x):
        a, b, c, d = x.unbind(1)
        return torch.stack([-a + d / 4, -b + (b - c).sin(), -c - (b - c).sin(), -d + a / 4], 1)

    def log_prob_and_score(self, x):
        return self.log_prob(x), self.score(x)


def bounded() -> Bounded:
    return Bounded(Problem(Skew(), "skew"), LOWER, UPPER)


Y = torch.randn(50, 4, dtype=DOUBLE, generator=torch.Generator().manual_seed(0)) * 3


def test_the_way_back_is_the_inverse() -> None:
    x = bounded().outward(Y)
    assert bool(((x > LOWER) & (x < UPPER)).all())
    assert torch.allclose(bounded().inward(x), Y, atol=1e-9)


def test_the_volume_is_that_of_the_jacobian() -> None:
    for y, found in zip(Y, bounded().log_volume(Y), strict=True):
        jacobian = torch.autograd.functional.jacobian(lambda one: bounded().outward(one[None])[0], y)
        assert float(torch.linalg.slogdet(jacobian).logabsdet) == pytest.approx(float(found), abs=1e-9)


def test_the_gradient_is_torchs() -> None:
    y = Y.clone().requires_grad_()
    (known,) = torch.autograd.grad(bounded().log_prob(y).sum(), y)
    assert torch.allclose(bounded().score(Y), known, rtol=1e-9, atol=1e-9)
    value, slope = bounded().log_prob_and_score(Y)
    assert torch.allclose(value, bounded().log_prob(Y))
    assert torch.allclose(slope, known, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
def test_rounding_puts_nothing_on_a_bound(dtype) -> None:
    far = torch.tensor([[0.0, -800, -800, -800], [0.0, -40, -40, 800], [0.0, 80, 80, 40]], dtype=dtype)
    x = bounded().outward(far)
    assert x.dtype == dtype
    assert bool(((x > LOWER.to(dtype)) & (x < UPPER.to(dtype))).all())
    y = far.clone().requires_grad_()
    (slope,) = torch.autograd.grad(bounded().log_prob(y)[:2].sum(), y)
    assert bool(torch.isfinite(slope).all())


def gamma(x):
    return 3 * x[:, 0].log() - 2 * x[:, 0]


def arcsine(x):
    return -(x[:, 0].log() + (-x[:, 0]).log1p()) / 2


def half(x):
    return -(x[:, 0] - 1).square() / 2


BELOW = 1 - math.exp(-0.5) / math.sqrt(2 * math.pi) / (0.5 * math.erfc(1 / math.sqrt(2)))
"""The mean of N(1, 1) below 0."""
LAWS = {
    "gamma": (gamma, {"lower": 0.0}, 2.0),
    "arcsine": (arcsine, {"lower": 0.0, "upper": 1.0}, 0.5),
    "normal below 0": (half, {"upper": 0.0}, BELOW),
}


def off(log_prob, bounds, mean, seed=3) -> float:
    """How many standard errors the mean of 32 chains is off, the error being that between chains."""
    found = db.draw(log_prob, 32 * 150, shape=1, chains=32, seed=seed, **bounds)
    means = found.chains[..., 0].mean(1)
    return abs(float(means.mean()) - mean) / (float(means.std()) / math.sqrt(32))


@pytest.mark.parametrize("law", LAWS)
def test_laws_with_walls_have_the_means_that_are_known(law) -> None:
    """Within 4 standard errors of 32 chains: a false alarm in 3,000 seeds of each."""
    assert off(*LAWS[law]) < 4


def test_without_the_volume_another_law_is_drawn(monkeypatch) -> None:
    monkeypatch.setattr(Bounded, "log_volume", lambda self, y: y.new_zeros(len(y)))
    assert off(*LAWS["gamma"]) > 10


def test_a_gradient_that_is_handed_in_is_that_of_x() -> None:
    found = db.draw(half, 32 * 150, shape=1, upper=0.0, chains=32, seed=3, gradient=lambda x: 1 - x)
    means = found.chains[..., 0].mean(1)
    assert abs(float(means.mean()) - BELOW) < 4 * float(means.std()) / math.sqrt(32)
    with pytest.raises(BadInput, match="is not that of log_prob"):
        db.draw(half, 100, shape=1, upper=0.0, gradient=lambda x: x - 1)


def test_log_z_is_that_of_x() -> None:
    """The square, by SMC: log 2, and its particles lie in it."""
    found = db.draw(lambda x: 0 * x.sum(1), 2000, shape=2, lower=[0, -1], upper=1.0, method="smc", seed=1)
    assert found.log_z == pytest.approx(math.log(2), abs=5 * found.log_z_error)
    assert found.x.min(0) == pytest.approx([0, -1], abs=0.05)
    assert all(bool((frame.x >= torch.tensor([0, -1])).all() and (frame.x <= 1).all()) for frame in found.frames())


def test_what_is_told_is_told_of_x() -> None:
    found = db.draw(gamma, 200, shape=1, lower=0.0, chains=4, seed=0)
    assert found.problem.event_shape == (1,)
    x = torch.from_numpy(found.x)
    told = found.stats["log_prob"].transpose(0, 1).reshape(-1)
    assert torch.allclose(told, gamma(x), atol=1e-8)
    assert float(found.quantities.min()) > 0
    alone = db.draw(lambda x: -x, 400, shape=(), lower=0.0, seed=0)
    assert alone.x.shape == (400,)
    assert alone.x.min() > 0


def test_starts_are_points_between_the_bounds() -> None:
    found = db.draw(gamma, 4, shape=1, lower=0.0, chains=4, seed=0, warmup=0, start=[3.0], method="metropolis")
    assert found.x.std() < 3
    with pytest.raises(BadInput, match="chain 0 starts outside of lower and upper; start it between them"):
        db.draw(gamma, 4, shape=1, lower=0.0, start=[-3.0])


def test_a_file_may_tell_its_bounds(tmp_path) -> None:
    path = tmp_path / "law.py"
    path.write_text("dimension = 2\nlower = 0.0\nupper = (None, 1.0)\ndef log_prob(x):\n    return -x.sum(1)\n")
    found = db.draw(path, 2000, seed=0)
    assert found.x.min() > 0
    assert found.x[:, 1].max() < 1 < found.x[:, 0].max()
    # What is said at the call goes before it.
    assert db.draw(path, 200, seed=0, lower=0.5).x.min() > 0.5


def test_another_bound_is_another_run(tmp_path) -> None:
    db.draw(gamma, 64, shape=1, lower=0.0, seed=0, out=tmp_path / "run")
    with pytest.raises(BadInput, match=r"was begun with lower \[0.0\], not \[-1.0\]"):
        db.draw(gamma, 128, shape=1, lower=-1.0, seed=0, out=tmp_path / "run", resume=True)
    once = db.draw(gamma, 128, shape=1, lower=0.0, seed=0)
    assert np.array_equal(db.draw(gamma, 128, shape=1, lower=0.0, seed=0, out=tmp_path / "run", resume=True).x, once.x)


@pytest.mark.parametrize(
    ("bounds", "said"),
    [
        ({"lower": 1.0, "upper": [2.0, 0.0]}, "lower is not below upper in coordinate 2"),
        ({"lower": [0.0, 1.0, 2.0]}, r"lower is \[0.0, 1.0, 2.0\]; give a number, or one per coordinate"),
        ({"upper": "wide"}, "upper is 'wide'; give a number"),
        ({"upper": math.nan}, "upper is nan; give numbers, and None where there is no bound"),
        ({"lower": math.inf}, "lower is inf; give numbers"),
    ],
)
def test_bounds_that_do_not_fit_are_told(bounds, said) -> None:
    with pytest.raises(BadInput, match=said):
        db.draw(lambda x: -x.sum(1), 100, shape=2, **bounds)


def test_where_bounds_make_no_sense_they_are_refused() -> None:
    with pytest.raises(BadInput, match="take two values; leave lower and upper out"):
        db.draw("ising-4", 10, method="gibbs", lower=0.0)
    with pytest.raises(BadInput, match="refined proposes points where they are; leave lower and upper out"):
        db.draw(gamma, 10, shape=1, lower=0.0, method="refined", source=object())
    plain = Problem(Skew(), "skew")
    assert within(plain, None, None) is plain
