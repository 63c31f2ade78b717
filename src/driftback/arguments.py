"""Arguments as people give them: a number that is none, a name that is misspelt, told in one line.

Checks stand where a person calls the library; below, types are as the annotations say.
"""

from __future__ import annotations

import difflib
import math
import operator
from collections.abc import Callable, Iterable
from functools import wraps
from inspect import signature
from numbers import Real
from typing import Any, ParamSpec, TypeVar

from pydantic import ValidationError

from driftback.errors import BadInput

Given = ParamSpec("Given")
Back = TypeVar("Back")


def whole(value: Any, name: str, least: int | None = None) -> int:
    """`value` as an int: a whole number of Python's or numpy's. Raises BadInput for others, and below `least`."""
    try:
        number = operator.index(value)
    except TypeError:
        raise BadInput(f"{name} must be a whole number, not {value!r}") from None
    if least is not None and number < least:
        raise BadInput(f"{name} must be at least {least}, not {number}")
    return number


def real(value: Any, name: str) -> float:
    """`value` as a float: a number, not a text and not NaN. Raises BadInput for others."""
    if not isinstance(value, Real) or math.isnan(value):
        raise BadInput(f"{name} must be a number, not {value!r}")
    return float(value)


def near(name: str, known: Iterable[str]) -> str:
    """What to say after "there is no such thing as `name`": what was perhaps meant, and what there is."""
    by_lower = {one.lower(): one for one in known}
    found = difflib.get_close_matches(str(name).lower(), by_lower, 1)
    hint = f" (did you mean {by_lower[found[0]]}?)" if found else ""
    return f"{hint}; choose one of {', '.join(by_lower.values())}"


def told(function: Callable[Given, Back]) -> Callable[Given, Back]:
    """`function`, with unknown arguments and records that pydantic refuses told as BadInput, and near misses named."""
    known = list(signature(function).parameters)

    @wraps(function)
    def wrapped(*args: Given.args, **given: Given.kwargs) -> Back:
        for name in given:
            if name not in known:
                near = difflib.get_close_matches(name, known, 1)
                hint = f"did you mean {near[0]}?" if near else f"it takes {', '.join(known)}"
                raise BadInput(f"{function.__name__} has no argument {name}: {hint}")
        try:
            return function(*args, **given)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or error.title
            raise BadInput(f"{where} cannot be {str(first['input'])[:40]}: {first['msg'].lower()}") from error

    return wrapped
