"""SDEs whose noise depends on the point, dx = f(x, t) dt + G(x, t) dW in Ito's sense, and their reverse.

With A = G G^T and marginals p_t, every dx = [f - (1 + eta^2)/2 (div A + A grad log p_t)] dt + eta G dW, run with
negative dt, has the same marginals, where (div A)_i = sum_j dA_ij / dx_j: eta = 1 is Anderson's reversal (Anderson
1982), eta = 0 the probability-flow ODE (Song et al. 2021, arXiv 2011.13456, equations 15 to 17 and appendices A and D).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from driftback.errors import BadInput
from driftback.processes.sde import SDE
from driftback.shapes import as_time, per_item

Field = Callable[[Tensor, Tensor], Tensor]


@runtime_checkable
class ItoSDE(Protocol):
    """dx = drift(x, t) dt + dispersion(x, t) dW with k independent Brownian motions W."""

    def drift(self, x: Tensor, t: Tensor) -> Tensor:
        """The drift at points `x` (n, *event) and times `t`, () or (n,): the shape of `x`."""
        ...

    def dispersion(self, x: Tensor, t: Tensor) -> Tensor:
        """G at points `x` (n, *event) and times `t`, () or (n,): what each noise does to each number (n, *event, k)."""
        ...


@dataclass(frozen=True)
class NonlinearSDE:
    """The SDE of two functions of (x, t): `f` returns the shape of `x` (n, *event), `g` returns (n, *event, k).

    They are written in torch, item by item: row i of the result depends on row i of `x` only. `g` is differentiated.
    BadInput where a result has another shape.
    """

    f: Field
    g: Field

    def drift(self, x: Tensor, t: Tensor) -> Tensor:
        drift = self.f(x, as_time(t, x))
        if drift.shape != x.shape:
            raise BadInput(f"f returned {tuple(drift.shape)} for points {tuple(x.shape)}; return the same shape")
        return drift

    def dispersion(self, x: Tensor, t: Tensor) -> Tensor:
        dispersion = self.g(x, as_time(t, x))
        if dispersion.shape[:-1] != x.shape:
            said = f"g returned {tuple(dispersion.shape)} for points {tuple(x.shape)}"
            raise BadInput(f"{said}; return one more axis than the points, one entry per noise")
        return dispersion


@dataclass(frozen=True)
class Isotropic:
    """`sde`, whose one coefficient g(t) serves all numbers, as an ItoSDE: G = g(t) I, d^2 numbers an item."""

    sde: SDE

    def drift(self, x: Tensor, t: Tensor) -> Tensor:
        return self.sde.drift(x, as_time(t, x))

    def dispersion(self, x: Tensor, t: Tensor) -> Tensor:
        d = x[0].numel()
        identity = torch.eye(d, dtype=x.dtype, device=x.device).reshape(1, *x.shape[1:], d)
        return per_item(self.sde.diffusion(as_time(t, x)), identity) * identity.expand(len(x), *identity.shape[1:])


def along(function: Callable[[Tensor], Tensor], x: Tensor, direction: Tensor) -> Tensor:
    """The derivative of `function` at `x` along `direction` (both n, *event), in the shape of its value."""
    # Two reverse passes; torch's forward mode warns about its own internals.
    value, slope = torch.autograd.functional.jvp(function, x, direction, create_graph=torch.is_grad_enabled())
    return slope.to(value.dtype)


def refuse_cut(sde: ItoSDE, x: Tensor, t: Tensor) -> None:
    """BadInput where G changes with the points (n, *event) and torch cannot tell how: its slope would count as 0."""
    with torch.enable_grad():
        g = sde.dispersion(x.detach().requires_grad_(True), t)
    if not g.requires_grad and not torch.equal(g, sde.dispersion(x + 1e-3 * (1 + x.abs()), t)):
        raise BadInput("G depends on the points, but torch cannot differentiate it; write it in torch, without detach")


def covariance_rate(sde: ItoSDE, x: Tensor, t: Tensor) -> Tensor:
    """A = G G^T at `x` (n, *event), d numbers an item: (n, d, d)."""
    g = sde.dispersion(x, t).flatten(1, -2)
    return g @ g.mT


def divergence(sde: ItoSDE, x: Tensor, t: Tensor) -> Tensor:
    """sum_j dA_ij / dx_j at `x` (n, *event), in its shape, exactly: one derivative of G per number."""

    def column(y: Tensor, j: int) -> Tensor:
        return covariance_rate(sde, y, t)[:, :, j]

    refuse_cut(sde, x, t)
    total = torch.zeros_like(x).flatten(1)
    for j, unit in enumerate(torch.eye(x[0].numel(), dtype=x.dtype, device=x.device)):
        total = total + along(partial(column, j=j), x, unit.reshape(1, *x.shape[1:]).expand_as(x))
    return total.reshape(x.shape)


@dataclass(frozen=True)
class ItoReverse:
    """The reverse of `sde` in the forward clock: integrate it from t = 1 down to t = 0.

    `score(x, t)` is grad log p_t; `noise` is eta >= 0 above: 1 Anderson's reversal, 0 the probability-flow ODE.
    """

    sde: ItoSDE
    score: Field
    noise: float = 1.0

    def drift(self, x: Tensor, t: Tensor) -> Tensor:
        t = as_time(t, x)
        pull = covariance_rate(self.sde, x, t) @ self.score(x, t).flatten(1)[:, :, None]
        back = divergence(self.sde, x, t) + pull.reshape(x.shape)
        return self.sde.drift(x, t) - (1 + self.noise**2) / 2 * back

    def dispersion(self, x: Tensor, t: Tensor) -> Tensor:
        return self.noise * self.sde.dispersion(x, t)
