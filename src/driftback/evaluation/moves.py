"""What happened while chains moved: how often they accepted, whether they diverged, and whether their energies moved.

    E-BFMI = sum_n (E_n - E_(n-1))^2 / sum_n (E_n - mean E)^2,    chain by chain

is small where momenta change the energy by little at a time, so that a chain goes slowly from one energy to others
(Betancourt 2016, arXiv 1604.00695, equation 7).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from arviz_stats.base import array_stats

from driftback.errors import BadInput
from driftback.evaluation.chain_draws import Array, Numbers, listed, per_draw

BFMI = 0.3
"""Below this energies move too slowly (Betancourt 2016, section 6; Stan's warning)."""
WALL = 0.1
"""A larger share of divergent moves is no matter of the step: however short, some cross a bound."""
RARE = 0.02
"""Acceptance below which a random walk keeps less than a third of its best efficiency (Roberts, Gelman and Gilks 1997,
Annals of Applied Probability 7: l^2 a(l) is .43 at a = .02, and 1.33 at best).
"""


@dataclass(frozen=True, eq=False)
class Moves:
    """Per chain (chains,): mean acceptance, divergent moves, E-BFMI (NaN where the energy never changed), and movement.

    None stands for what was not recorded.
    """

    draws: int
    moved: np.ndarray
    acceptance: Numbers | None = None
    divergent: np.ndarray | None = None
    bfmi: Numbers | None = None

    @property
    def stuck(self) -> tuple[int, ...]:
        """The chains that never moved; with one draw each, none can be told to be so."""
        return tuple(int(c) for c in np.flatnonzero(~self.moved)) if self.draws > 1 else ()

    @property
    def divergences(self) -> int | None:
        """How many moves diverged."""
        return None if self.divergent is None else int(self.divergent.sum())

    @property
    def least_bfmi(self) -> float | None:
        """The smallest E-BFMI of the chains whose energy changed."""
        return None if self.bfmi is None or np.isnan(self.bfmi).all() else float(np.nanmin(self.bfmi))

    def sentences(self) -> list[str]:
        """What a person should know."""
        said = []
        if self.stuck:
            said.append(f"{listed('chain', self.stuck)} never moved")
        if self.divergences:
            moves = len(self.moved) * self.draws
            what = "raise the target acceptance (aim=0.95) or reparametrise"
            if self.divergences > WALL * moves:
                what = "most often at a bound where the density is not 0: take the log or the logit of such coordinates"
            said.append(f"{self.divergences} of {moves} moves diverged: {what}")
        if self.acceptance is not None:
            rare = [int(c) for c in np.flatnonzero(self.acceptance < RARE) if c not in set(self.stuck)]
            if rare:
                verb = "accepts" if len(rare) == 1 else "accept"
                said.append(f"{listed('chain', rare)} {verb} less than {RARE:.0%} of the moves: take smaller steps")
        if self.bfmi is not None:
            low = [int(c) for c in np.flatnonzero(self.bfmi < BFMI)]
            if low:
                said.append(
                    f"the E-BFMI of {listed('chain', low)} is below {BFMI:g} (the least is {self.least_bfmi:.2g}): "
                    "energies move slowly; reparametrise, or draw longer"
                )
        return said


def read_moves(
    points: np.ndarray, energy: Array | None = None, accepted: Array | None = None, divergent: Array | None = None
) -> Moves:
    """What happened to chains at `points` (chains, draws, *event).

    All (chains, draws): their `energy`, what they `accepted` (yes or no, or its probability), and what was `divergent`.
    BadInput for other shapes, for values that are not finite, and for probabilities outside of [0, 1].
    """
    chains, draws = shape = (points.shape[0], points.shape[1])
    moved = (points[:, 1:] != points[:, :1]).reshape(chains, -1).any(1)
    given = {
        name: None if x is None else per_draw(x, shape, name)
        for name, x in (("energy", energy), ("accepted", accepted), ("divergent", divergent))
    }
    for name in ("accepted", "divergent"):
        x = given[name]
        if x is not None and (x.min() < 0 or x.max() > 1):
            raise BadInput(f"{name} must lie between 0 and 1, not between {x.min():g} and {x.max():g}")
    took, split = given["accepted"], given["divergent"]
    return Moves(
        draws,
        moved,
        None if took is None else took.mean(1),
        None if split is None else (split > 0).sum(1),
        None if given["energy"] is None else e_bfmi(given["energy"]),
    )


def e_bfmi(energy: Numbers) -> Numbers:
    """The E-BFMI of each chain of `energy` (chains, draws); NaN where it never changed."""
    found = np.full(len(energy), np.nan)
    changes = (energy != energy[:, :1]).any(1)
    if changes.any():
        found[changes] = array_stats.bfmi(energy[changes])
    return found
