"""The exact posterior of a mixture against sums over a grid, and observations that are none."""

import math

import pytest
import torch
from torch import Tensor

from driftback.distributions import Mixture
from driftback.distributions.observation import Observation
from driftback.distributions.observed import evidence, observed
from driftback.distributions.operators import Blur, Downsample, Grey, Mask, Matrix
from driftback.errors import BadInput

MEANS = torch.tensor([[-1.5, 0.5], [1.0, -0.3], [0.2, 2.0]]).double()
ROOTS = torch.tensor([[[0.5, 0.0], [0.3, 0.4]], [[0.3, 0.1], [0.0, 0.6]], [[0.7, 0.0], [-0.2, 0.2]]]).double()
PRIOR = Mixture(torch.tensor([0.2, 0.5, 0.3]), MEANS, ROOTS @ ROOTS.mT)
SIDE = torch.linspace(-6, 6, 481, dtype=torch.float64)
GRID = torch.stack(torch.meshgrid(SIDE, SIDE, indexing="ij"), -1).reshape(-1, 2)
CELL = float((SIDE[1] - SIDE[0]) ** 2)
SEEN = {
    "one number": (torch.tensor([[1.0, -0.5]]), torch.tensor([0.4]), 0.3),
    "both": (torch.tensor([[1.0, 0.0], [0.5, 2.0]]), torch.tensor([0.4, 1.0]), 0.5),
    "three": (torch.tensor([[1.0, 0.0], [0.5, 2.0], [1.0, 1.0]]), torch.tensor([0.4, 1.0, 0.0]), 0.7),
}


def on_a_grid(matrix: Tensor, y: Tensor, noise: float) -> tuple[Tensor, float]:
    """Posterior densities at the points of the grid, and the evidence."""
    missed = (GRID @ matrix.double().T - y.double()) / noise
    log_likelihood = -(missed**2).sum(1) / 2 - len(y) * math.log(noise * math.sqrt(2 * math.pi))
    joint = (PRIOR.log_prob(GRID) + log_likelihood).exp() * CELL
    return joint / joint.sum(), float(joint.sum())


@pytest.mark.parametrize("name", SEEN)
def test_the_posterior_is_the_product_normalised(name: str) -> None:
    shares, total = on_a_grid(*SEEN[name])
    posterior = observed(PRIOR, *SEEN[name])
    assert evidence(PRIOR, *SEEN[name]) == pytest.approx(math.log(total), abs=1e-6)
    assert torch.allclose(posterior.log_prob(GRID).exp() * CELL, shares, atol=1e-9)
    mean = shares @ GRID
    assert torch.allclose(posterior.weights @ posterior.means, mean, atol=1e-6)
    off = observed(PRIOR, SEEN[name][0], SEEN[name][1] + 0.1, SEEN[name][2])
    assert not torch.allclose(off.log_prob(GRID).exp() * CELL, shares, atol=1e-6)


def test_shapes_and_noise_are_refused_by_name() -> None:
    with pytest.raises(BadInput, match="do not fit"):
        observed(PRIOR, torch.ones(1, 3), torch.ones(1), 0.1)
    with pytest.raises(BadInput, match="do not fit"):
        observed(PRIOR, torch.ones(1, 2), torch.ones(2), 0.1)
    with pytest.raises(BadInput, match="above 0"):
        observed(PRIOR, torch.ones(1, 2), torch.ones(1), 0.0)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


PICTURES = {
    "mask": Mask(torch.arange(3 * 8 * 8).reshape(3, 8, 8) % 3 > 0),
    "matrix": Matrix(normal(5, 192)),
    "downsample": Downsample(2),
    "grey": Grey(),
    "blur": Blur(0.8),
}


@pytest.mark.parametrize("name", PICTURES)
def test_operators_are_linear_and_their_products_agree(name: str) -> None:
    """<A u, v> = <u, A^T v>, for each item of a batch by itself."""
    operator, x = PICTURES[name], normal(4, 3, 8, 8)
    y = operator(x[0:1])[0]
    seen = Observation(operator, y, 0.1, (3, 8, 8))
    assert seen.linear
    assert seen.seen == y.shape
    u, v = normal(4, 3, 8, 8, seed=1), normal(4, *y.shape, seed=2)
    left, right = (seen.pushed(x, u) * v).flatten(1).sum(1), (u * seen.pulled(x, v)).flatten(1).sum(1)
    assert torch.allclose(left, right, rtol=1e-9)
    assert torch.allclose(seen.pushed(x, u), operator(u), atol=1e-12)


def test_operators_do_what_they_are_called() -> None:
    x = normal(2, 3, 8, 8)
    assert torch.equal(PICTURES["mask"](x)[0], x[0][PICTURES["mask"].seen])
    assert torch.allclose(Downsample(2)(x)[1, 2, 1, 3], x[1, 2, 2:4, 6:8].mean())
    assert torch.allclose(Grey()(x)[0, 0], 0.299 * x[0, 0] + 0.587 * x[0, 1] + 0.114 * x[0, 2])
    flat = torch.full((1, 3, 8, 8), 0.3, dtype=torch.float64)
    assert torch.allclose(Blur(0.8)(flat), flat, atol=1e-12), "what is flat stays flat, at the edges too"
    point = torch.zeros(1, 1, 17, 17, dtype=torch.float64)
    point[0, 0, 8, 8] = 1.0
    row = Blur(1.5)(point)[0, 0].sum(0)
    place = torch.arange(17) - 8.0
    assert float(row.sum()) == pytest.approx(1.0)
    assert float(row @ place.double() ** 2) == pytest.approx(1.5**2, rel=0.05)


def test_a_curved_operator_is_followed_along_its_slope() -> None:
    seen = Observation(lambda x: (x**2).sum(1, keepdim=True), torch.tensor([2.0]).double(), 0.1, (3,))
    x, u = normal(4, 3), normal(4, 3, seed=1)
    assert not seen.linear
    assert torch.allclose(seen.pushed(x, u), 2 * (x * u).sum(1, keepdim=True))
    assert torch.allclose(seen.pulled(x, torch.ones(4, 1).double()), 2 * x)


def test_the_likelihood_is_a_density_in_y() -> None:
    side = torch.linspace(-8, 8, 4001, dtype=torch.float64)
    x = torch.tensor([[0.3]], dtype=torch.float64)
    values = torch.cat([Observation(lambda x: 2 * x, y.reshape(1), 0.7, (1,)).log_prob(x) for y in side[::50]])
    assert float(values.exp().sum() * (side[50] - side[0])) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize(
    ("operator", "y", "noise", "said"),
    [
        (lambda x: x[:, :1], [1.0, 2.0], 0.1, r"shape \(2,\).*\(1,\)"),
        (lambda x: x[:, :1], [1.0], 0.0, "above 0"),
        (lambda x: x[:, :1], [1.0], -1.0, "above 0"),
        (lambda x: x[:, :1], [math.nan], 0.1, "not finite"),
        (lambda x: x.detach()[:, :1], [1.0], 0.1, "differentiated"),
        (lambda x: x[:, :1] - x[:, :1].mean(), [1.0], 0.1, "mixes the items"),
        (lambda x: x.sum(), [1.0], 0.1, "first axis"),
        (lambda x: x[:, 7], [1.0], 0.1, "operator fails on items of"),
        (lambda x: x.numpy(), [1.0], 0.1, "operator fails on items of"),
        (lambda x: "seen", [1.0], 0.1, "returns a str"),
        (lambda x: (x[:, :1] * 0 - 1).sqrt(), [1.0], 0.1, "not finite"),
    ],
)
def test_an_observation_that_is_none_is_refused_in_a_line(operator, y, noise, said) -> None:
    with pytest.raises(BadInput, match=said) as error:
        Observation(operator, torch.tensor(y).double(), noise, (3,))
    assert "\n" not in str(error.value)


def test_an_operator_that_draws_is_refused() -> None:
    with pytest.raises(BadInput, match="something else each time"):
        Observation(lambda x: x + torch.randn_like(x), torch.zeros(3), 0.1, (3,))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Mask(torch.zeros(3, dtype=torch.bool)), "hides everything"),
        (lambda: Mask(torch.ones(3, dtype=torch.bool)), "hides nothing"),
        (lambda: Downsample(1), "factor of 2"),
        (lambda: Downsample(3)(torch.zeros(1, 1, 8, 8)), "does not divide"),
        (lambda: Grey()(torch.zeros(1, 1, 8, 8)), "no colours"),
        (lambda: Blur(0.0), "positive"),
        (lambda: Blur(4.0)(torch.zeros(1, 1, 8, 8)), "13 a side"),
    ],
)
def test_operators_refuse_what_they_cannot_do(make, said) -> None:
    with pytest.raises(BadInput, match=said):
        make()
