"""Can these chains be believed? All diagnostics of Markov chains in one call, as numbers and as plain sentences.

No diagnostic can prove that chains have been everywhere (Vehtari et al. 2021, arXiv 1903.08008): start several, from
places far apart, and give the modes where they are known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from driftback.arguments import real, whole
from driftback.distributions.target import Problem, Truth
from driftback.errors import BadInput
from driftback.evaluation.chain_draws import Array, Numbers, known, plain, read_draws
from driftback.evaluation.convergence import FEWEST, Convergence, Row, convergence
from driftback.evaluation.modes import Modes, mode_visits
from driftback.evaluation.moves import Moves, read_moves


@dataclass(frozen=True, eq=False)
class Diagnostics:
    """What is known of `chains` with `draws` each: about their quantities, their moves, and the modes they visited.

    The numbers of all quantities are arrays in `quantities`; `rows` are those to look at. `ess_per_...` is the smallest
    bulk ESS over a second, a gradient, and an evaluation of the density. None stands for what nothing is known of.
    """

    quantities: Convergence
    moves: Moves
    modes: Modes | None = None
    ess_per_second: float | None = None
    ess_per_gradient: float | None = None
    ess_per_evaluation: float | None = None

    @property
    def chains(self) -> int:
        """How many chains there are."""
        return self.quantities.chains

    @property
    def draws(self) -> int:
        """How many draws each chain has."""
        return self.quantities.draws

    @property
    def rows(self) -> tuple[Row, ...]:
        """All quantities where they are few, else the worst ones."""
        return self.quantities.rows()

    @property
    def rhat(self) -> Row | None:
        """The quantity with the largest R-hat."""
        return self._row(self.quantities.rhat)

    @property
    def ess_bulk(self) -> Row | None:
        """The quantity with the smallest bulk ESS."""
        return self._row(-self.quantities.ess_bulk)

    @property
    def ess_tail(self) -> Row | None:
        """The quantity with the smallest tail ESS."""
        return self._row(-self.quantities.ess_tail)

    @property
    def sentences(self) -> tuple[str, ...]:
        """What a person should know, the gravest first; that all looks well where it does."""
        if self.draws < FEWEST:
            return tuple(self.quantities.sentences())
        modes = [] if self.modes is None else self.modes.sentences()
        said = (*self.moves.sentences(), *modes, *self.quantities.sentences())
        bulk, tail, rhat = self.ess_bulk, self.ess_tail, self.rhat
        if said or bulk is None or tail is None or rhat is None:
            return said
        return (
            f"all looks well: R-hat is at most {rhat.rhat:.3f}, the bulk ESS at least {bulk.ess_bulk:.0f} "
            f"and the tail ESS at least {tail.ess_tail:.0f}",
        )

    def as_json(self) -> dict[str, Any]:
        """All of it for JSON: the worst of each number and of which quantity it is, the rows, and the sentences."""
        acceptance = self.moves.acceptance
        worst = (("rhat", self.rhat), ("ess_bulk", self.ess_bulk), ("ess_tail", self.ess_tail))
        return {
            "chains": self.chains,
            "draws": self.draws,
            **{f"worst_{name}": None if row is None else row.as_json()[name] for name, row in worst},
            **{f"worst_{name}_of": None if row is None else row.name for name, row in worst},
            "acceptance": None if acceptance is None else float(acceptance.mean()),
            "least_acceptance": None if acceptance is None else float(acceptance.min()),
            "divergences": self.moves.divergences,
            "e_bfmi": self.moves.least_bfmi,
            "never_moved": list(self.moves.stuck),
            "ess_per_second": self.ess_per_second,
            "ess_per_gradient": self.ess_per_gradient,
            "ess_per_evaluation": self.ess_per_evaluation,
            "modes": None if self.modes is None else self.modes.as_json(),
            "quantities": len(self.quantities.names),
            "rows": [row.as_json() for row in self.rows],
            "sentences": list(self.sentences),
        }

    def _row(self, of: Numbers) -> Row | None:
        j = self.quantities.largest(of)
        return None if j is None else self.quantities.row(j)


def diagnose(
    draws: Array,
    *,
    names: Sequence[str] = (),
    problem: Problem | None = None,
    truth: Truth | None = None,
    energy: Array | None = None,
    accepted: Array | None = None,
    divergent: Array | None = None,
    density_evaluations: int | None = None,
    gradient_evaluations: int | None = None,
    seconds: float | None = None,
) -> Diagnostics:
    """The diagnostics of `draws` (chains, draws, *event), without their warm-up.

    The quantities are those of the `problem`, or else all numbers of an event; `names` are told for them. `truth`, or
    else the problem's, gives true means and modes. All (chains, draws): `energy`, `accepted` (yes or no, or its
    probability) and `divergent`. Evaluations and `seconds` are totals over all chains. BadInput for draws that are not
    finite, which it names, and for what does not fit together.
    """
    read = read_draws(draws, names, problem)
    truth = truth or (problem.truth if problem is not None else Truth())
    mean = None if truth.mean is None else _numbers(truth.mean, "true means")
    found = convergence(read, mean)
    modes = None
    if truth.mode is not None:
        shares = None if truth.shares is None else _numbers(truth.shares, "true shares")
        modes = mode_visits(read.of_points(truth.mode), shares)
    j = found.largest(-found.ess_bulk)
    least = None if j is None else float(found.ess_bulk[j])
    return Diagnostics(
        found,
        read_moves(read.points, energy, accepted, divergent),
        modes,
        _per(least, None if seconds is None else real(seconds, "seconds"), "seconds"),
        _per(least, _count(gradient_evaluations, "gradient_evaluations"), "gradient_evaluations"),
        _per(least, _count(density_evaluations, "density_evaluations"), "density_evaluations"),
    )


def _numbers(x: Array, name: str) -> Numbers:
    return np.asarray(plain(x, name), dtype=np.float64).reshape(-1)


def _count(value: int | None, name: str) -> int | None:
    return None if value is None else whole(value, name)


def _per(ess: float | None, cost: float | None, name: str) -> float | None:
    if cost is not None and cost < 0:
        raise BadInput(f"{name} must be positive, not {cost}")
    return None if ess is None or not cost else known(ess / cost)
