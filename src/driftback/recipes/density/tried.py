"""A density is tried out before anything is drawn from it: whether it answers each point for itself, whether a gradient
that was given is its own, and whether it falls fast enough far out to have an integral.

Along a ray at x + r u a density that can be normalised falls faster than r^-d.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from driftback.distributions.target import Problem
from driftback.errors import BadInput
from driftback.randomness import Rng
from driftback.recipes.density.bounded import Bounded
from driftback.recipes.density.function import AsVector, Function
from driftback.samplers.markov.energy import BadDensity, Energy
from driftback.samplers.markov.energy import told as told_point

FAR, RAYS, AXES, ROOM = (1e6, 1e8), 32, 64, 1e-3
"""Radii between which a density's fall is measured, along how many rays and axes, and what rounding may hide."""
LOST = 100.0
"""A density that is so many nats lower, beyond a fall as r^-d, is nowhere that chains come, whatever it does there."""
STEP, PLACES, OFF = 1e-3, 4, 0.05
"""The step of the differences that a given gradient is held to, at how many points, and how far off it may be."""


def described(problem: Problem, x: Tensor) -> None:
    """Ask for the quantities at `x` (n, *event), so that no finished run fails on them. BadInput where it would."""
    found = problem.quantities(x)
    if not isinstance(found, Tensor) or found.shape[:1] != (len(x),):
        got = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else f"a {type(found).__name__}"
        raise BadInput(f"quantities of {len(x)} points gave {got}; return a tensor ({len(x)}, q)")
    count = found.reshape(len(x), -1).shape[1]
    if problem.names and len(problem.names) != count:
        raise BadInput(f"there are {len(problem.names)} names for {count} quantities; give one for each")


def tried(problem: Problem, x: Tensor, rng: Rng, gradient: Callable[[Tensor], Any] | None = None) -> None:
    """Try the density out at the starts `x` (n, *event) and far away, and the `gradient`, if one was given. BadDensity
    if it cannot be drawn from.
    """
    energy, before = Energy(problem.target), x.clone()
    together = energy.value(x)
    if not torch.equal(x, before):
        raise BadDensity("log_prob changes the points that it is given; let it work on a copy, x.clone()")
    alone = torch.cat([energy.value(one[None]) for one in x[:2]])
    if not torch.allclose(together[: len(alone)], alone, rtol=1e-4, atol=1e-4):
        raise BadDensity(
            f"log_prob of a point hangs on its neighbours: {together[0]:.6g} among {len(x)} points, {alone[0]:.6g} "
            "alone; sum over the event only, not over the points"
        )
    if gradient is not None:
        _own(energy, gradient, x[:PLACES], rng)
    if problem.values is None:
        _normalisable(energy, x, rng)


def given_by(problem: Problem) -> Callable[[Tensor], Any] | None:
    """The gradient that a person's own target brings along, or None."""
    target: Any = problem.target
    inner = target
    while isinstance(inner, AsVector | Bounded):
        inner = inner.of.target
    if not isinstance(inner, Function):
        return None
    together = getattr(target, "log_prob_and_score", None)
    return getattr(target, "score", None) if together is None else lambda x: together(x)[1]


def same(now: Tensor, before: Tensor | None, x: Tensor) -> None:
    """See that log_prob at the chains' places `x` is what it was when they were saved. BadInput where it is not."""
    if before is None:
        return
    off = (~torch.isclose(now.double(), before.to(now).double(), rtol=1e-4, atol=1e-3)).nonzero()
    if len(off):
        row = int(off[0, 0])
        raise BadInput(
            f"the density is another one than that which this run was begun with: in chain {row}, at "
            f"{told_point(x[row])}, log_prob was {float(before[row]):.6g} and is {float(now[row]):.6g}; draw anew in "
            "another folder"
        )


def _own(energy: Energy, gradient: Callable[[Tensor], Any], x: Tensor, rng: Rng) -> None:
    """Along one direction a gradient has to say what differences of the density say; at one point at least."""
    slope = Energy(energy.target, gradient).slope(x)[1].flatten(1).double()
    u = rng.child("gradient").normal(tuple(x.shape), dtype=torch.float64).to(x)
    u = u / u.flatten(1).norm(dim=1).reshape(-1, *[1] * (x.ndim - 1))
    energy.lenient = True
    steps = STEP * (1 + x.abs().flatten(1).amax(1)).reshape(-1, *[1] * (x.ndim - 1))
    near, far = energy.value(x - steps * u).double(), energy.value(x + steps * u).double()
    energy.lenient = False
    width = 2 * steps.flatten().double()
    rise, said = (far - near) / width, (slope * u.flatten(1).double()).sum(1)
    # A log-density in float32 is known to seven digits only.
    room = OFF * torch.maximum(rise.abs(), said.abs()) + 1e-3 + 1e-6 * (near.abs() + far.abs()) / width
    judged = torch.isfinite(rise)
    if not bool(judged.any()) or bool(((rise - said).abs() <= room)[judged].any()):
        return
    row = int(judged.nonzero()[0, 0])
    raise BadDensity(
        f"the gradient that was given is not that of log_prob: at {told_point(x[row])}, along {told_point(u[row])}, it "
        f"says {float(said[row]):.4g} and log_prob changes by {float(rise[row]):.4g}; mend it (unchecked draws all the "
        "same)"
    )


def _normalisable(energy: Energy, x: Tensor, rng: Rng) -> None:
    """Along rays in all directions a density has to fall faster than r^-d, along the axes, alone, faster than 1 / r."""
    event, centre = x.shape[1:], x.double()[:1]
    d = centre.numel()
    rays = rng.child("rays").normal((RAYS, d), dtype=torch.float64)
    rays = rays / rays.norm(dim=1, keepdim=True)
    axes = torch.eye(d, dtype=torch.float64)[:AXES]
    u = torch.cat([rays, axes, -axes]).reshape(-1, *event)
    least = torch.tensor([float(d)] * RAYS + [1.0] * (2 * len(axes)))
    energy.lenient = True
    try:
        near, far = (energy.value((centre + r * u).to(x.dtype)) for r in FAR)
        here = energy.value(centre.to(x.dtype))
    except Exception:
        return  # so far out a density may refuse to answer
    falls = (near - far).double() / math.log(FAR[1] / FAR[0])
    flat = (falls < least - ROOM) & torch.isfinite(falls) & (here - far < least * math.log(FAR[1]) + LOST)
    if not bool(flat.any()):
        return
    if bool((falls == 0).all()) and bool((near == near[0]).all()):
        raise BadDensity(
            "log_prob is the same number everywhere far out: such a density has no finite integral; let it be -inf "
            "outside of some bounds (unchecked draws all the same)"
        )
    worst = int(torch.where(flat, falls - least, torch.inf).argmin())
    raise BadDensity(
        f"log_prob falls by {float(falls[worst]):.3g} log r far out along {told_point(u[worst])}, where "
        f"{float(least[worst]):.3g} is too little: it has no finite integral; add a prior or bounds (unchecked draws "
        "all the same)"
    )
