"""A Python file that defines a target: it is run, what it defines is checked, and its mistakes are told in a line."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from driftback.arguments import real, whole
from driftback.distributions.target import Problem, Target, Truth
from driftback.errors import BadInput
from driftback.recipes.density.function import Call, Function, drawing
from driftback.recipes.python_file import line_of, names_in

ABLE = ("sample", "start", "prior", "log_likelihood", "conditional", "flip_differences")
"""What a target may know beside its density and its gradient."""


def event_of(shape: Any) -> tuple[int, ...]:
    """The shape of one point, from a number of coordinates or a shape; () is a single number."""
    try:
        sides = [shape] if isinstance(shape, str) or not hasattr(shape, "__iter__") else list(shape)
        return tuple(whole(side, "shape", 1) for side in sides)
    except BadInput as error:
        raise BadInput(f"{error}; the shape of one point is 2 for points (x, y), or a row as (28, 28)") from None


def function_of(target: Any, path: Path | None = None) -> Function:
    """A person's own `target`, an object with `log_prob` and `event_shape`, with all else that it can do."""
    function = Function(target.log_prob, event_of(target.event_shape), path=path)
    return able(function, {name: getattr(target, name, None) for name in (*ABLE, "score", "log_prob_and_score")}, path)


def able(function: Function, there: dict[str, Any], path: Path | None = None) -> Function:
    """The `function` with what else is `there` by name."""
    for name in ABLE:
        own = there.get(name)
        if callable(own) and name in ("sample", "start"):
            own = drawing(own, name, function.event_shape, path)
        if own is not None:
            object.__setattr__(function, name, own)
    if callable(there.get("score")):
        object.__setattr__(function, "score", Call(there["score"], "gradient", function.single, path))
    if callable(there.get("log_prob_and_score")) and not function.single:
        both = Call(there["log_prob_and_score"], "log_prob_and_score", path=path).both
        object.__setattr__(function, "log_prob_and_score", both)
    return function


def from_file(path: Path, single: bool) -> Problem:
    """The problem that the file at `path` defines. This runs the file. BadInput where it defines none."""
    there = names_in(path, "draw again")
    if "target" in there:
        return _of_object(there["target"], path)
    if not callable(there.get("log_prob")):
        near = next((name for name in there if name.lower().replace("_", "") in NEAR), None)
        what = f", but {near}" if near else ""
        raise BadInput(f"{path} defines no log_prob(x){what}: the log-density of points (n, *event); add it")
    shape = there.get("event_shape", there.get("dimension"))
    if shape is None:
        line = line_of(there["log_prob"])
        raise BadInput(f"{path}, line {line}: the shape of one point is not known; add event_shape = (2,)")
    return _checked(path, lambda: _problem(path, there, shape, single))


NEAR = ("logprob", "logp", "logpdf", "lp", "logdensity", "logposterior", "logpost", "lnprob", "loglikelihood")
"""What people call a log-density elsewhere."""


def _checked(path: Path, make: Callable[[], Problem]) -> Problem:
    try:
        return make()
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from None


def _of_object(target: Any, path: Path) -> Problem:
    if isinstance(target, Problem):
        return target
    if isinstance(target, type) or not isinstance(target, Target):
        what = "a class; make an object of it" if isinstance(target, type) else f"a {type(target).__name__}"
        raise BadInput(f"{path}: target is {what}; it has to be an object with log_prob(x) and event_shape")
    truth = getattr(target, "truth", Truth())
    return _checked(path, lambda: Problem(function_of(target, path), path.stem, truth=truth))


def _problem(path: Path, there: dict[str, Any], shape: Any, single: bool) -> Problem:
    function = Function(there["log_prob"], event_of(shape), single or bool(there.get("single", False)), path)
    able(function, there | {"score": there.get("gradient")}, path)
    for name in ("lower", "upper"):
        object.__setattr__(function, name, there.get(name))
    log_z = there.get("log_z")
    scale = real(there.get("scale", 1.0), "scale")
    if not 0 < scale < math.inf:
        raise BadInput(f"scale is {scale}; give a positive number")
    names = there.get("names", ())
    names = (names,) if isinstance(names, str) else tuple(map(str, names))
    found = Problem(
        function,
        path.stem,
        Truth() if log_z is None else Truth(log_z=real(log_z, "log_z")),
        names,
        values=_values(there.get("values")),
        scale=scale,
    )
    own = there.get("quantities")
    return replace(found, quantities=_quantities(path, own)) if callable(own) else found


def _values(given: Any) -> tuple[float, float] | None:
    if given is None:
        return None
    two = [real(one, "values") for one in given] if isinstance(given, list | tuple) else []
    if len(two) != 2 or two[0] == two[1]:
        raise BadInput(f"values are {given!r}; give the two numbers that a coordinate takes, as (-1.0, 1.0)")
    return two[0], two[1]


def _quantities(path: Path, own: Callable[[Tensor], Any]) -> Callable[[Tensor], Tensor]:
    call = Call(own, "quantities", path=path)

    def quantities(x: Tensor) -> Tensor:
        found = call(x)
        return found[:, None] if found.ndim == 1 and len(found) == len(x) else found

    return quantities
