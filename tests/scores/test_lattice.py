"""The log of a sum of Gaussians over whole numbers, and its gradient, against the sum itself."""

import pytest
import torch
from torch import Tensor

from driftback.randomness import Rng
from driftback.scores import lattice
from driftback.scores.lattice import log_sum


def parabolas(seed: int, n: int = 6, k: int = 3) -> Tensor:
    """Coefficients (n, k, 3) whose tops are between -8 and 8."""
    top, height = (
        16 * Rng(seed).normal((n, k), dtype=torch.float64).sigmoid() - 8,
        Rng(seed).child("height").normal((n, k)).double(),
    )
    square = -Rng(seed).child("square").normal((n, k), dtype=torch.float64).exp()
    return torch.stack([height + square * top**2, -2 * square * top, square], -1)


def bounds(n: int = 6) -> tuple[Tensor, Tensor]:
    """One interval for each, some of a single number, some beside every top."""
    return torch.tensor([-3.0, 0, -9, 2, 4, -20])[:n].double(), torch.tensor([3.0, 0, 9, 7, 12, -12])[:n].double()


def plain(q: Tensor, low: Tensor, high: Tensor) -> Tensor:
    d = torch.arange(-30, 31).double()
    terms = q[..., 0, None] + q[..., 1, None] * d + q[..., 2, None] * d * d
    inside = (d >= low[..., None]) & (d <= high[..., None])
    return terms.masked_fill(~inside.unsqueeze(-2), -torch.inf).flatten(-2).logsumexp(-1)


@pytest.mark.parametrize("at_once", [1, 40, 1 << 20])
def test_it_is_the_sum_and_its_gradient_that_of_the_sum(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lattice, "AT_ONCE", at_once)
    q, (low, high), weights = parabolas(0), bounds(), Rng(9).normal((6,), dtype=torch.float64)
    ours, theirs = q.clone().requires_grad_(), q.clone().requires_grad_()
    found, expected = log_sum(ours, low, high), plain(theirs, low, high)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    (found * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-10, atol=1e-10)


def test_more_places_than_one_are_places() -> None:
    q, (low, high) = parabolas(1, 12), bounds()
    q, low, high = q.reshape(2, 6, 3, 3), low.expand(2, 6), high.expand(2, 6)
    torch.testing.assert_close(log_sum(q, low, high), plain(q, low, high), rtol=1e-12, atol=1e-12)


def test_numbers_far_from_one_neither_overflow_nor_vanish() -> None:
    q = torch.tensor([[[500.0, 3.0, -0.1]], [[-5e4, 200.0, -9.0]]])
    low, high = torch.tensor([-5.0, -5.0]), torch.tensor([20.0, 1.0])
    found = log_sum(q.requires_grad_(), low, high)
    torch.testing.assert_close(found, plain(q.double(), low.double(), high.double()).float(), rtol=1e-5, atol=1e-3)
    (gradient,) = torch.autograd.grad(found.sum(), q)
    torch.testing.assert_close(gradient[..., 0].sum(-1), torch.ones(2))
