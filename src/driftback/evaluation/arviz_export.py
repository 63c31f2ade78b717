"""Chains for ArviZ: their draws and what happened to them, in the groups and under the names that its plots look for.

The groups are `posterior` and `sample_stats` of ArviZ's schema for InferenceData; with the extra `arviz` they become
one DataTree.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from driftback.distributions.target import Problem
from driftback.errors import BadInput
from driftback.evaluation.chain_draws import Array, per_draw, read_draws


def arviz_groups(
    draws: Array,
    *,
    names: Sequence[str] = (),
    problem: Problem | None = None,
    log_prob: Array | None = None,
    energy: Array | None = None,
    accepted: Array | None = None,
    divergent: Array | None = None,
    leaps: Array | None = None,
) -> dict[str, dict[str, NDArray[np.generic]]]:
    """The groups of `draws` (chains, draws, *event), each variable (chains, draws) or (chains, draws, *event).

    With `names`, or a `problem` that has some, there is one variable per quantity, else all are one variable `x`. What
    was recorded, (chains, draws) each, becomes `lp`, `energy`, `acceptance_rate`, `diverging` and `n_steps`. BadInput
    for other shapes, and for values that are not finite.
    """
    read = read_draws(draws, names, problem)
    values = [read.quantity(j) for j in range(len(read.names))]
    if names or (problem is not None and problem.names):
        posterior: dict[str, NDArray[np.generic]] = dict(zip(read.names, values, strict=True))
        if len(posterior) < len(values):
            raise BadInput("two quantities have the same name; give each its own")
    elif problem is None or problem.quantities is Problem.quantities:
        posterior = {"x": read.points}
    else:
        posterior = {"x": read.values}
    recorded = {"lp": log_prob, "energy": energy, "acceptance_rate": accepted, "diverging": divergent, "n_steps": leaps}
    kept = {name: per_draw(x, read.shape, name) for name, x in recorded.items() if x is not None}
    kinds = {"diverging": np.bool_, "n_steps": np.int64}
    stats: dict[str, NDArray[np.generic]] = {name: x.astype(kinds.get(name, np.float64)) for name, x in kept.items()}
    return {"posterior": posterior, **({"sample_stats": stats} if stats else {})}


def to_arviz(draws: Array, **given: Any) -> Any:
    """`draws` (chains, draws, *event) as a DataTree for ArviZ, with all arguments of `arviz_groups`.

    BadInput without the extra `arviz`.
    """
    groups = arviz_groups(draws, **given)
    try:
        from arviz_base import from_dict
    except ImportError as error:
        raise BadInput("ArviZ's data format needs its package: pip install 'driftback[arviz]'") from error
    # Its convention that chains are fewer than draws does not bind those who run thousands at once.
    return from_dict(groups, check_conventions=False)
