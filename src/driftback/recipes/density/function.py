"""A function that a person wrote: what goes wrong in it is told in one line, and what it returns is made a tensor.

It takes all points at once, or with `single` one point. That is first tried for all points together (torch.func.vmap),
and where it cannot be (an `if` on a value, numpy, plain floats) it is called for one after another.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from driftback.distributions.target import Problem
from driftback.errors import BadInput
from driftback.recipes.python_file import told
from driftback.samplers.markov.energy import BadDensity

NO_GRADIENT = "call numpy() on Tensor that requires grad"
DTYPES = "same dtype", "scalar type"
"""Words of torch's complaints about tensors that are made in numpy, or of another number of bits."""


@dataclass(frozen=True, eq=False)
class Call:
    """A person's `function`, called `name` in messages, from the file at `path` where it is known.

    BadDensity, in one line, for what it raises, for complex numbers, and for what is no tensor and no array.
    """

    function: Callable[..., Any]
    name: str
    single: bool = False
    path: Path | None = None
    no_gradient: str = "hand a gradient in, or take a method that needs none (metropolis, stretch, slice)"
    """What else may be done where a gradient is wanted, and the function has none."""
    one_by_one: list[bool] = field(default_factory=list)
    """Holds something as soon as vmap has failed."""

    def __call__(self, x: Tensor) -> Tensor:
        """What the function says at `x` (n, *event)."""
        return self._tensor(self._said(x), x)

    def both(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What a function of all points says that gives two things."""
        found = self._said(x)
        if not isinstance(found, tuple | list) or len(found) != 2:
            raise BadDensity(f"{self.name} gave a {type(found).__name__}; return two tensors, (n,) and the shape of x")
        return self._tensor(found[0], x), self._tensor(found[1], x)

    def _said(self, x: Tensor) -> Any:
        try:
            return self._each(x) if self.single else self.function(x)
        except BadInput:
            raise
        except Exception as error:  # a person's code may raise anything; it is told with its line
            raise BadDensity(self._told(error, x)) from error

    def _each(self, x: Tensor) -> Any:
        if not self.one_by_one:
            try:
                return torch.func.vmap(self.function)(x)
            except Exception:  # whatever vmap cannot do; what is wrong with the function itself is raised below
                self.one_by_one.append(True)
        found = torch.stack([self._tensor(self.function(one), x) for one in x])
        if x.requires_grad and not found.requires_grad and bool((found == -torch.inf).all()):
            # Points outside of the support, told by a constant: their gradient is 0, not missing.
            return found + 0 * x.reshape(len(x), -1).sum(1)
        return found

    def _tensor(self, value: Any, x: Tensor) -> Tensor:
        if isinstance(value, np.ndarray | np.generic | float | int) and not isinstance(value, bool):
            value = np.asarray(value)
            if value.dtype.kind not in "biufc":
                raise BadDensity(f"{self.name} gave an array of {value.dtype}; return numbers")
            value = torch.as_tensor(value, device=x.device)
        if not isinstance(value, Tensor):
            raise BadDensity(f"{self.name} gave a {type(value).__name__}; return a tensor of shape (n,)")
        if value.is_complex():
            raise BadDensity(f"{self.name} gave complex numbers; return real ones")
        return value

    def works_alone(self, x: Tensor) -> bool:
        """Whether the function gives one number for one point."""
        try:
            with torch.no_grad():
                value = self._tensor(self.function(x[0].detach()), x)
            return value.numel() == 1 and value.ndim == 0
        except Exception:  # it is only asked whether it does; the error that led here is told by the caller
            return False

    def _told(self, error: Exception, x: Tensor) -> str:
        if NO_GRADIENT in str(error):
            return (
                f"{self.name} has no gradient, as it leaves torch for numpy: use torch's operations"
                f"{self.no_gradient and ', '}{self.no_gradient}"
            )
        line = " ".join(str(told(self._file(), error, f"in {self.name}", "draw again")).split())
        if len(line) > 400:
            line = f"{line[:360]} ...; correct it and draw again"
        if any(words in str(error) for words in DTYPES):
            line += f"; points are {str(x.dtype).removeprefix('torch.')}: make your own tensors with dtype=x.dtype"
        elif "validate_args=False" in str(error) or "to be within the support" in str(error):
            line += "; torch's laws give -inf outside of their support only with validate_args=False"
        elif not self.single and self.works_alone(x):
            line += "; it answers one point, so say single=True (in a file: single = True)"
        return line

    def _file(self) -> Path:
        code = getattr(self.function, "__code__", None)
        return self.path or Path(code.co_filename if code else self.name)


def drawing(
    function: Callable[..., Any], name: str, event: tuple[int, ...], path: Path | None
) -> Callable[..., Tensor]:
    """A person's `function(n)`, or `function(n, rng=...)`, that draws points (n, *event), as sources have it.

    BadDensity for what it raises, and for other shapes.
    """
    call, nothing = Call(function, name, path=path), torch.empty(0)
    code = getattr(function, "__code__", None)
    bare = code is not None and "rng" not in code.co_varnames

    def drawn(n: int, *, rng: Any = None) -> Tensor:
        try:
            value = function(n) if bare else function(n, rng=rng)
        except BadInput:
            raise
        except Exception as error:  # a person's code, as above
            raise BadDensity(call._told(error, nothing)) from error
        value = call._tensor(value, nothing)
        if tuple(value.shape) != (n, *event):
            raise BadDensity(f"{name}({n}) gave shape {tuple(value.shape)}; return {n} points, {(n, *event)}")
        return value.double()

    return drawn


@dataclass(frozen=True, eq=False)
class Function:
    """A target from a function; `log_prob` takes all points at once, or with `single` one after another."""

    log_prob_of: Callable[[Tensor], Any]
    event_shape: tuple[int, ...]
    single: bool = False
    path: Path | None = None
    call: Call = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "call", Call(self.log_prob_of, "log_prob", self.single, self.path))

    def log_prob(self, x: Tensor) -> Tensor:
        """What the function says at `x` (n, *event), (n,). BadDensity for another shape."""
        value = self.call(x)
        if value.shape == () and len(x) == 1:
            value = value[None]  # scipy's laws squeeze what they say of one point
        if value.shape == (len(x),):
            return value
        if self.single:
            raise BadDensity(f"log_prob of one point gave shape {tuple(value.shape[1:])}; return one number")
        alone = self.call.works_alone(x)
        raise BadDensity(
            f"log_prob gave shape {tuple(value.shape)} for points of shape {tuple(x.shape)}; return one number per "
            f"point, ({len(x)},){', or say single=True (in a file: single = True) if it takes one' if alone else ''}"
        )


@dataclass(frozen=True, eq=False)
class AsVector:
    """The problem `of` single numbers, event (), as a target on vectors of one coordinate, which kernels move."""

    of: Problem
    event_shape: tuple[int, ...] = (1,)

    def __post_init__(self) -> None:
        for name in ("sample", "start"):
            own = getattr(self.of.target, name, None)
            if own is not None:
                object.__setattr__(self, name, _column(own) if callable(own) else own)
        own = getattr(self.of.target, "score", None)
        if callable(own):
            object.__setattr__(self, "score", scored(own))
        own = getattr(self.of.target, "log_prob_and_score", None)
        if callable(own):
            object.__setattr__(self, "log_prob_and_score", _second_scored(own))

    def log_prob(self, x: Tensor) -> Tensor:
        """The log-density at `x` (n, 1), (n,)."""
        return self.of.log_prob(x[:, 0])


def scored(gradient: Callable[[Tensor], Any]) -> Callable[[Tensor], Any]:
    """A `gradient` of single numbers (n,) as one of vectors of one coordinate (n, 1)."""
    return lambda x: _as_column(gradient(x[:, 0]))


def _second_scored(both: Callable[[Tensor], Any]) -> Callable[[Tensor], Any]:
    def scored_too(x: Tensor) -> tuple[Any, Any]:
        value, slope = both(x[:, 0])
        return value, _as_column(slope)

    return scored_too


def gradient_of(problem: Problem, gradient: Callable[[Tensor], Any], single: bool) -> Callable[[Tensor], Any]:
    """The `gradient` that a person handed in, as kernels call it. BadInput for what is no function."""
    if not callable(gradient):
        raise BadInput(f"gradient is a {type(gradient).__name__}; hand in a function of points, as log_prob is")
    target: Any = problem.target
    if hasattr(target, "pulled"):  # it has bounds
        return target.pulled(gradient_of(target.of, gradient, single))
    call = Call(gradient, "gradient", single)
    return scored(call) if isinstance(target, AsVector) else call


def _column(draws: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda *given, **named: _as_column(draws(*given, **named))


def _as_column(value: Any) -> Any:
    return value[:, None] if isinstance(value, Tensor) and value.ndim == 1 else value
