"""Muon: steps of equal size in every direction of a matrix, against singular values computed outright."""

from __future__ import annotations

import copy
import math
from typing import Literal

import pytest
import torch
from torch import Tensor, nn

import driftback as db
from driftback.networks.presets import NetworkSpec, build
from driftback.training.muon import Muon, hidden_matrices, orthogonal
from driftback.training.optimisers import OPTIMISERS, refuse_unknown
from driftback.training.plan import Plan

PLAN = Plan(steps=10, learning_rate=0.01, weight_decay=0.1, optimiser="muon")


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(1, 16, 16), (2, 16, 144), (1, 128, 32), (3, 24, 40)])
def test_singular_values_become_nearly_one(shape: tuple[int, ...]) -> None:
    m = drawn(*shape)
    u, s, v = torch.linalg.svd(m, full_matrices=False)
    # Down to a hundredth of the largest, as a network's gradients have them.
    m = u @ torch.diag_embed(torch.logspace(0, -2, s.shape[-1]).expand_as(s)) @ v
    found = orthogonal(m)
    assert found.shape == m.shape
    core = u.mT @ found @ v.mT
    assert (torch.linalg.svdvals(found) - 1).abs().max() < 0.35
    # The singular vectors are those of the gradient: what is left in their frame is a diagonal.
    assert (core - torch.diag_embed(core.diagonal(dim1=-2, dim2=-1))).abs().max() < 1e-4


def test_nothing_is_made_of_nothing_but_weights_decay() -> None:
    assert torch.equal(orthogonal(torch.zeros(2, 4, 8)), torch.zeros(2, 4, 8))
    layer = nn.Linear(32, 16, bias=False)
    before = layer.weight.detach().clone()
    layer.weight.grad = torch.zeros(16, 32)
    OPTIMISERS["muon"](layer, PLAN).step()
    assert torch.allclose(layer.weight, before * (1 - 0.01 * 0.1), rtol=1e-6)


def test_a_step_is_as_large_as_adams_and_decays() -> None:
    layer = nn.Linear(48, 32)
    before, gradient = layer.weight.detach().clone(), drawn(32, 48)
    optimiser = OPTIMISERS["muon"](layer, PLAN)
    layer.weight.grad, layer.bias.grad = gradient, torch.ones(32)
    optimiser.step()
    u, _, v = torch.linalg.svd(gradient, full_matrices=False)
    moved = (before * (1 - 0.01 * 0.1) - layer.weight.detach()) / 0.01
    exact = 0.2 * math.sqrt(48) * (u @ v)
    assert (moved - exact).norm() < 0.35 * exact.norm()
    assert moved.square().mean().sqrt() == pytest.approx(0.2, rel=0.2)


def test_the_running_mean_looks_ahead() -> None:
    layer = nn.Linear(16, 16, bias=False)
    optimiser = OPTIMISERS["muon"](layer, PLAN.model_copy(update={"weight_decay": 0.0}))
    one, two = drawn(16, 16), drawn(16, 16, seed=1)
    for gradient in (one, two):
        before = layer.weight.detach().clone()
        layer.weight.grad = gradient
        optimiser.step()
    mean = 0.95 * 0.05 * one + 0.05 * two
    expected = before - 0.01 * 0.2 * 4 * orthogonal((0.05 * two + 0.95 * mean)[None])[0]
    assert torch.allclose(layer.weight.detach(), expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["unet", "dit", "mlp"])
def test_first_and_last_layers_and_embeddings_are_adams(kind: Literal["unet", "dit", "mlp"]) -> None:
    """Of many channels too, as colour pictures that are folded have them."""
    event = (3, 8, 8) if kind != "mlp" else (20,)
    spec = NetworkSpec(kind=kind, widths=(16, 32) if kind == "unet" else (32,), depth=1)
    network = build(spec, 20 if kind == "mlp" else 24, 20 if kind == "mlp" else 24, event, 10)
    hidden = {id(p) for p in hidden_matrices(network)}
    outer = {name for name, p in network.named_parameters() if p.ndim > 1 and id(p) not in hidden}
    inner = {name for name, p in network.named_parameters() if id(p) in hidden}
    assert {"body.enter.weight", "body.leave.weight"} <= outer
    assert any("film" in name for name in outer)
    assert any(part in name for name in outer for part in ("label", "embed", "class")), outer
    assert any("first" in name or "wide" in name for name in inner), inner
    # What is not hidden is stepped as AdamW alone steps it, and everything is stepped once.
    alone = copy.deepcopy(network)
    both, adam = OPTIMISERS["muon"](network, PLAN), OPTIMISERS["adamw"](alone, PLAN)
    for p, q in zip(network.parameters(), alone.parameters(), strict=True):
        p.grad = drawn(*p.shape) if p.ndim else torch.ones(())
        q.grad = p.grad.clone()
    both.step()
    adam.step()
    same = {n for (n, p), q in zip(network.named_parameters(), alone.parameters(), strict=True) if torch.equal(p, q)}
    assert same == {name for name, p in network.named_parameters() if id(p) not in hidden}


def test_an_optimiser_must_be_known() -> None:
    with pytest.raises(db.BadInput, match="no optimiser 'sgd'; choose one of adamw, muon"):
        refuse_unknown("sgd")


def test_a_layer_without_a_gradient_stays() -> None:
    layer = nn.Linear(16, 16, bias=False)
    before = layer.weight.detach().clone()
    optimiser = OPTIMISERS["muon"](layer, PLAN)
    assert isinstance(optimiser, Muon)
    optimiser.step()
    assert torch.equal(before, layer.weight.detach())
