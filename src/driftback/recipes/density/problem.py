"""Whatever a person calls a target, made into a `Problem`: a name, a function, an object, a Python file, a model.

A target on single numbers, whose event is (), is moved as a vector of one coordinate and handed back as it was.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution

from driftback.arguments import near, real
from driftback.distributions.energies import TARGETS
from driftback.distributions.target import Problem, Target, Truth
from driftback.errors import BadInput
from driftback.randomness import Rng
from driftback.recipes.density.bounded import Bounded, within
from driftback.recipes.density.function import AsVector, Function
from driftback.recipes.density.laws import Law
from driftback.recipes.density.own_file import event_of, from_file, function_of
from driftback.samplers.markov.energy import BadDensity, Energy

TRIES = 100
"""So often is a start looked for that has a density."""


def problem_of(
    target: Any,
    *,
    shape: int | Sequence[int] | None = None,
    single: bool = False,
    scale: float | None = None,
    lower: Any = None,
    upper: Any = None,
) -> Problem:
    """The `Problem` of a name in `TARGETS`, a Python file, the folder of a model, a `Target`, or a function.

    `shape` is that of one point and is needed for a function alone, which takes all points (n, *shape) at once or, with
    `single`, one point. `scale` is about how far from 0 the mass lies, `lower` and `upper` are its bounds. BadInput for
    what is none of these.
    """
    found = _problem_of(target, shape, single)
    if shape is not None and event_of(shape) != tuple(found.event_shape):
        own = tuple(found.event_shape)
        raise BadInput(f"points of {found.name} have shape {own}, not {event_of(shape)}; leave shape out")
    if found.event_shape == ():
        asked = found.quantities
        found = replace(found, target=AsVector(found), quantities=lambda x: asked(x[:, 0]))
    function = found.target.of.target if isinstance(found.target, AsVector) else found.target
    if isinstance(function, Function):  # a file may tell bounds
        lower = getattr(function, "lower", None) if lower is None else lower
        upper = getattr(function, "upper", None) if upper is None else upper
    found = within(found, lower, upper)
    if scale is None:
        return found
    if not 0 < real(scale, "scale") < math.inf:
        raise BadInput(f"scale is {scale}; give a positive number")
    return replace(found, scale=float(scale))


def _problem_of(target: Any, shape: int | Sequence[int] | None, single: bool) -> Problem:
    if isinstance(target, Problem):
        return target
    if isinstance(target, str | Path):
        return _named(str(target), single)
    if isinstance(target, Distribution):
        return Problem(Law(target), type(target).__name__.lower(), Truth(log_z=0.0))
    if isinstance(target, Target):
        ours = type(target).__module__.partition(".")[0] == "driftback"
        own = target if ours else function_of(target)
        return Problem(own, type(target).__name__.lower(), truth=getattr(target, "truth", Truth()))
    if not callable(target):
        raise BadInput(
            f"a {type(target).__name__} is no target; give a name, a file or a function of points (n, *shape)"
        )
    if shape is None:
        raise BadInput("the shape of one point is not known; say shape=2 for points (x, y), or shape=(28, 28)")
    return Problem(Function(target, event_of(shape), single), getattr(target, "__name__", "target"))


def _named(text: str, single: bool) -> Problem:
    if text in TARGETS:
        return TARGETS[text]()
    path = Path(text).expanduser()
    if path.suffix == ".py":
        if not path.is_file():
            raise BadInput(f"there is no file {text}; give the name of a target or a Python file with log_prob")
        return from_file(path, single)
    if (path / "config.json").is_file():
        from driftback.recipes.density.fitted import fitted_problem

        return fitted_problem(path)
    raise BadInput(f"there is no target '{text}'{near(text, TARGETS)}, a Python file, or a model's folder")


def starts(problem: Problem, chains: int, given: Any, rng: Rng, dtype: torch.dtype, energy: Energy) -> Tensor:
    """Where chains begin, (chains, *event): as `given`, as the problem knows, or spread over (-2, 2) times its scale.

    A start that is not given and has no density is drawn again, 100 times at most. BadInput where none has.
    """
    event = problem.event_shape
    if given is not None:
        return _given(given, chains, problem.target, dtype)
    own = getattr(problem.target, "start", None)
    if problem.values is not None:
        low, high = problem.values
        return torch.where(rng.child("start").uniform((chains, *event)) < 0.5, low, high).to(dtype)
    if callable(own):
        return own(chains, rng=rng.child("start")).to(dtype)
    if own is not None:
        return _given(own, chains, problem.target, dtype)
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
    raise BadDensity(
        f"no point with a density was found in {TRIES} tries of coordinates within {wide:g}; give "
        "another scale, or a start (start=, in a file start = (1.0, 2.0))"
    )


def _given(given: Any, chains: int, target: Any, dtype: torch.dtype) -> Tensor:
    """A `start` as (chains, *event). BadInput for another shape, for numbers that are none, and outside of bounds."""
    if isinstance(target, Bounded):
        return target.inward(_given(given, chains, target.of.target, dtype))
    event, single = tuple(target.event_shape), isinstance(target, AsVector)
    try:
        x = torch.as_tensor(np.asarray(given) if isinstance(given, list | tuple) else given, dtype=dtype)
    except (TypeError, ValueError, RuntimeError):
        raise BadInput("start is no array of numbers; give one point, or one per chain") from None
    one, all_ = ((), (chains,)) if single else (event, (chains, *event))
    x = x.expand(all_) if tuple(x.shape) == one else x
    if tuple(x.shape) != all_:
        raise BadInput(f"start has shape {tuple(x.shape)}; give one point {one}, or one per chain {all_}")
    odd = (~torch.isfinite(x.reshape(chains, -1))).any(1).nonzero()
    if len(odd):
        raise BadInput(f"the start of chain {int(odd[0, 0])} is not finite; give numbers")
    return x.reshape(chains, *event).clone()
