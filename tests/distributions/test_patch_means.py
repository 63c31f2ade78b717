"""Sums over patches in parts: the same numbers as all at once, the gradient of the formula, and no more memory."""

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from driftback.distributions import patch_means
from driftback.distributions.patches import Patches


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


PICTURES, Y = normal(5, 2, 6, 4), normal(3, 2, 6, 4, seed=1)
PRECISION = torch.tensor([0.1, 0.4, 2.0], dtype=torch.float64)


def moved(shift: int) -> Iterator[Tensor]:
    wider = F.pad(PICTURES, (shift, shift, shift, shift), mode="replicate")
    for up in range(2 * shift + 1):
        for left in range(2 * shift + 1):
            yield wider[..., up : up + 6, left : left + 4]


def dense(y: Tensor, precision: Tensor, size: int, shift: int) -> Tensor:
    """Every difference at once, followed by torch."""
    x = torch.cat(list(moved(shift)))
    apart = F.unfold((y[:, None] - x).flatten(0, 1), size, padding=size // 2).square().sum(1)
    weights = (-precision[:, None, None] / 2 * apart.reshape(len(y), len(x), -1)).softmax(1)
    return torch.einsum("nmp,mcp->ncp", weights, x.flatten(2)).reshape(y.shape)


@pytest.mark.parametrize("entries", [1 << 23, 300])
@pytest.mark.parametrize(("size", "shift"), [(1, 0), (3, 0), (3, 1), (7, 0), (11, 1)])
def test_the_gradient_is_that_of_the_dense_formula(
    size: int, shift: int, entries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patch_means, "ENTRIES", entries)
    asked, vectors = (Y.clone().requires_grad_(True), PRECISION.clone().requires_grad_(True)), normal(4, *Y.shape)
    found, exact = Patches(PICTURES, shift).mean(*asked, size), dense(*asked, size, shift)
    assert torch.allclose(found, exact, atol=1e-12)
    for v in vectors[:2]:
        ours, theirs = (torch.autograd.grad(one, asked, v, retain_graph=True) for one in (found, exact))
        assert all(torch.allclose(a, b, rtol=1e-9, atol=1e-11) for a, b in zip(ours, theirs, strict=True))
        assert float(ours[0].abs().max()) > 1e-3
    ours, theirs = (
        torch.autograd.grad(one, asked[0], vectors, is_grads_batched=True, retain_graph=True) for one in (found, exact)
    )
    assert torch.allclose(ours[0], theirs[0], rtol=1e-9, atol=1e-11)


def test_second_derivatives_are_those_of_the_formula() -> None:
    y, v = Y[:2].clone().requires_grad_(True), normal(2, 2, 6, 4, seed=3)
    slopes = []
    for function in (lambda y: Patches(PICTURES).mean(y, PRECISION[:2], 3), lambda y: dense(y, PRECISION[:2], 3, 0)):
        (slope,) = torch.autograd.grad(function(y), y, v, create_graph=True)
        slopes.append(torch.autograd.grad(slope.square().sum(), y)[0])
    assert torch.allclose(*slopes, rtol=1e-9, atol=1e-11)
    assert float(slopes[0].abs().max()) > 1e-3


def test_a_gradient_holds_no_part() -> None:
    """500 pictures of 12 x 12, asked for patches of 25 numbers, have 4 million distances."""
    x, y = normal(500, 1, 12, 12).float(), normal(50, 1, 12, 12, seed=1).float().requires_grad_(True)
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        Patches(x).mean(y, torch.ones(50, dtype=torch.float64), 5).sum()
    assert sum(kept.values()) < 2 * x.untyped_storage().nbytes()


@pytest.mark.parametrize(("size", "shift"), [(5, 0), (5, 1), (13, 0), (27, 1)])
def test_no_more_numbers_are_held_than_are_allowed(size: int, shift: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the patches of one picture have more: 14 x 14 of 507 numbers are 99,372."""
    x, y, held, squares = normal(4, 3, 14, 14), normal(2, 3, 14, 14, seed=1), [0], patch_means.squares

    def counted(own: Tensor, others: Tensor, half: Tensor) -> Tensor:
        far = squares(own, others, half)
        held.extend(part.numel() for part in (own, others, far))
        return far

    monkeypatch.setattr(patch_means, "squares", counted)
    precision = torch.full((2,), 0.1, dtype=torch.float64)
    whole = Patches(x, shift).mean(y, precision, size)
    monkeypatch.setattr(patch_means, "ENTRIES", 1 << 13)
    held[:] = [0]
    slope = torch.autograd.grad(
        Patches(x, shift).mean(leaf := y.clone().requires_grad_(True), precision, size).sum(), leaf
    )
    assert max(held) <= 1 << 13
    assert torch.allclose(Patches(x, shift).mean(y, precision, size), whole, atol=1e-11)
    assert slope[0].isfinite().all()


def test_no_queries_have_no_means() -> None:
    assert Patches(PICTURES).mean(Y[:0], PRECISION[:0], 3).shape == (0, 2, 6, 4)
