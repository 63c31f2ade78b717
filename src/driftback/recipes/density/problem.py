"""Whatever a person calls a target, made into a `Problem`: a name, a function, an object, a Python file, a model.

Before anything is drawn the density is tried out: whether it answers each point for itself, has any shape at all, and
falls fast enough far out. Along a ray at x + r u a density that can be normalised falls faster than r^-d.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from driftback.arguments import whole
from driftback.distributions.energies import TARGETS
from driftback.distributions.target import Problem, Target, Truth
from driftback.errors import BadInput
from driftback.randomness import Rng
from driftback.recipes.python_file import line_of, names_in, told
from driftback.samplers.markov.energy import BadDensity, Energy
from driftback.samplers.markov.energy import told as told_point

FAR, RAYS, AXES, ROOM = (1e6, 1e8), 32, 64, 1e-3
"""Radii between which a density's fall is measured, along how many rays and axes, and what rounding may hide."""
LOST = 100.0
"""A density that is so many nats lower, beyond a fall as r^-d, is nowhere that chains come, whatever it does there."""
TRIES = 100
"""So often is a start looked for that has a density."""


@dataclass(frozen=True, eq=False)
class Function:
    """A target from a function; `log_prob` takes all points at once, or with `single` one after another."""

    log_prob_of: Callable[[Tensor], Any]
    event_shape: tuple[int, ...]
    single: bool = False

    def log_prob(self, x: Tensor) -> Tensor:
        """What the function says at `x` (n, *event)."""
        return torch.func.vmap(self.log_prob_of)(x) if self.single else self.log_prob_of(x)


def problem_of(
    target: Any, *, shape: int | Sequence[int] | None = None, single: bool = False, scale: float | None = None
) -> Problem:
    """The `Problem` of a name in `TARGETS`, a Python file, the folder of a model, a `Target`, or a function.

    `shape` is that of one point and is needed for a function alone, which takes all points (n, *shape) at once or, with
    `single`, one point. `scale` is about how far from 0 the mass lies. BadInput for what is none of these.
    """
    found = _problem_of(target, shape, single)
    if not found.event_shape:
        raise BadInput("one point has to have a shape; for a single number take shape=1, points (n, 1)")
    if scale is None:
        return found
    if not 0 < scale < math.inf:
        raise BadInput(f"scale is {scale}; give a positive number")
    return replace(found, scale=float(scale))


def _problem_of(target: Any, shape: int | Sequence[int] | None, single: bool) -> Problem:
    if isinstance(target, Problem):
        return target
    if isinstance(target, str | Path):
        return _named(str(target), single)
    if isinstance(target, Target):
        return Problem(target, type(target).__name__.lower(), truth=_truth(target))
    if not callable(target):
        raise BadInput(
            f"a {type(target).__name__} is no target; give a name, a file or a function of points (n, *shape)"
        )
    if shape is None:
        raise BadInput("the shape of one point is not known; say shape=2 for points (x, y), or shape=(28, 28)")
    return Problem(Function(target, event_of(shape), single), getattr(target, "__name__", "target"))


def event_of(shape: int | Sequence[int]) -> tuple[int, ...]:
    """The shape of one point, from a number of coordinates or a shape."""
    sides = [shape] if isinstance(shape, int) else list(shape)
    return tuple(whole(side, "shape", 1) for side in sides)


def _truth(target: Target) -> Truth:
    return getattr(target, "truth", Truth())


def _named(text: str, single: bool) -> Problem:
    if text in TARGETS:
        return TARGETS[text]()
    path = Path(text).expanduser()
    if path.suffix == ".py":
        if not path.is_file():
            raise BadInput(f"there is no file {text}; give the name of a target or a Python file with log_prob")
        return _from_file(path, single)
    if (path / "config.json").is_file():
        from driftback.recipes.density.fitted import fitted_problem

        return fitted_problem(path)
    raise BadInput(
        f"there is no target '{text}'; choose one of {', '.join(TARGETS)}, a Python file, or a model's folder"
    )


def _from_file(path: Path, single: bool) -> Problem:
    there = names_in(path, "draw again")
    if "target" in there and isinstance(there["target"], Target):
        return replace(problem_of(there["target"]), name=path.stem)
    if not callable(there.get("log_prob")):
        raise BadInput(f"{path} defines no log_prob(x), the log-density of points (n, *event); add it")
    shape = there.get("event_shape", there.get("dimension"))
    if shape is None:
        line = line_of(there["log_prob"])
        raise BadInput(f"{path}, line {line}: the shape of one point is not known; add event_shape = (2,)")

    def log_prob(x: Tensor) -> Any:
        try:
            return there["log_prob"](x)
        except BadInput:
            raise
        except Exception as error:
            raise told(path, error, "in log_prob", "draw again") from error

    function = Function(log_prob, event_of(shape), single or bool(there.get("single", False)))
    for name in ("sample", "prior", "conditional", "flip_differences"):
        if name in there:
            object.__setattr__(function, name, there[name])
    if callable(there.get("gradient")):
        object.__setattr__(function, "score", there["gradient"])
    truth = Truth(log_z=float(there["log_z"])) if "log_z" in there else Truth()
    quantities = there.get("quantities")
    more: dict[str, Any] = {"quantities": quantities} if callable(quantities) else {}
    more["scale"] = float(there.get("scale", 1.0))
    return Problem(function, path.stem, truth, tuple(there.get("names", ())), values=there.get("values"), **more)


def starts(problem: Problem, chains: int, given: Any, rng: Rng, dtype: torch.dtype, energy: Energy) -> Tensor:
    """Where chains begin, (chains, *event): as `given`, as the problem knows, or spread over (-2, 2) times its scale.

    A start that is not given and has no density is drawn again, 100 times at most. BadInput where none has.
    """
    event = problem.event_shape
    if given is not None:
        x = torch.as_tensor(given, dtype=dtype)
        x = x.expand(chains, *event) if tuple(x.shape) == event else x
        if tuple(x.shape) != (chains, *event):
            raise BadInput(
                f"start has shape {tuple(x.shape)}; give one point {event}, or one per chain {(chains, *event)}"
            )
        return x.clone()
    own = getattr(problem.target, "start", None)
    if problem.values is not None:
        low, high = problem.values
        return torch.where(rng.child("start").uniform((chains, *event)) < 0.5, low, high).to(dtype)
    if callable(own):
        return own(chains, rng=rng.child("start")).to(dtype)
    wide = 2 * problem.scale
    x = wide * (2 * rng.child("start").uniform((chains, *event), dtype=torch.float64).to(dtype) - 1)
    energy.lenient, before = True, energy.lenient
    try:
        for again in range(TRIES):
            outside = energy.value(x) == -torch.inf
            if not bool(outside.any()):
                return x
            fresh = wide * (2 * rng.child("start", again).uniform(x.shape, dtype=torch.float64).to(dtype) - 1)
            x = torch.where(outside.reshape(-1, *[1] * len(event)), fresh, x)
    finally:
        energy.lenient = before
    raise BadDensity(f"no point with a density was found in {TRIES} tries of coordinates within {wide:g}; say start=")


def tried(problem: Problem, x: Tensor, rng: Rng) -> None:
    """Try the density out at the starts `x` (n, *event) and far away. BadDensity if it cannot be drawn from."""
    energy = Energy(problem.target)
    together = energy.value(x)
    alone = torch.cat([energy.value(one[None]) for one in x[:2]])
    if not torch.allclose(together[: len(alone)], alone, rtol=1e-4, atol=1e-4):
        raise BadDensity(
            f"log_prob of a point hangs on its neighbours: {together[0]:.6g} among {len(x)} points, {alone[0]:.6g} "
            "alone; sum over the event only, not over the points"
        )
    if problem.values is None:
        _normalisable(energy, x, rng)


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
