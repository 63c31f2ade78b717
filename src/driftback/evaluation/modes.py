"""Where chains have been: which modes they visited, and what share of their draws each mode holds.

A share is the mean of an indicator, so its error is sqrt(p (1 - p) / ESS) with the ESS of that indicator: small where
chains go to and fro, and large where each stays in its mode. The distance between the shares of draws and the true ones
is the total variation, sum |p - q| / 2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from driftback.errors import BadInput
from driftback.evaluation.chain_draws import NAMED, Numbers, known, listed
from driftback.evaluation.convergence import FALSE_ALARM, FEWEST_ESS, ess_of_mean


@dataclass(frozen=True, eq=False)
class Modes:
    """Visits to k modes: how many each chain has seen, and the `shares` (k,) of all draws beside the `true` ones (k,).

    `errors` (k,) are the standard errors of the shares, NaN where nothing can be said (0, 1, and too few draws).
    """

    per_chain: NDArray[np.int64]
    shares: Numbers
    errors: Numbers
    true: Numbers | None = None

    @property
    def visited(self) -> int:
        """How many modes any chain has been in."""
        return int((self.shares > 0).sum())

    @property
    def total_variation(self) -> float | None:
        """The distance of the shares from the true ones, from 0 to 1; None where these are not known."""
        return None if self.true is None else float(np.abs(self.shares - self.true).sum() / 2)

    @property
    def floor(self) -> float | None:
        """What the total variation would be on average if only the errors of the shares made it."""
        return None if self.true is None else known(float(self.errors.sum()) / 2 * math.sqrt(2 / math.pi))

    def as_json(self) -> dict[str, Any]:
        """The numbers for JSON."""
        return {
            "modes": len(self.shares),
            "visited": self.visited,
            "least_per_chain": int(self.per_chain.min()),
            "shares": [float(p) for p in self.shares],
            "errors": [known(e) for e in self.errors],
            "true_shares": None if self.true is None else [float(p) for p in self.true],
            "total_variation": self.total_variation,
            "total_variation_floor": self.floor,
        }

    def sentences(self) -> list[str]:
        """What a person should know."""
        k, said = len(self.shares), []
        never = k - self.visited
        if never:
            said.append(f"{_were(never, k)} never visited by any chain: start chains elsewhere, or temper the target")
        missed = k - self.per_chain
        # What no chain has seen is told above.
        chains = np.flatnonzero(missed > never)
        if 0 < len(chains) <= NAMED:
            said += [f"{_were(missed[c], k)} never visited by chain {c}" for c in chains]
        elif len(chains):
            most = int(missed.argmax())
            said.append(
                f"{len(chains)} of {len(missed)} chains missed modes that others visited; "
                f"{_were(missed[most], k)} never visited by chain {most}"
            )
        return said + self._off()

    def _off(self) -> list[str]:
        if self.true is None:
            return []
        z = np.zeros(len(self.shares))
        np.divide(np.abs(self.shares - self.true), self.errors, out=z, where=self.errors > 0)
        # Student's law, as errors of few effective draws are rough themselves.
        degrees = np.maximum(self.shares * (1 - self.shares) / np.where(self.errors > 0, self.errors, 1) ** 2 - 1, 1)
        wrong = np.flatnonzero(z > student.isf(FALSE_ALARM / 2 / len(z), degrees))
        if not len(wrong):
            return []
        j = int(z.argmax())
        rest = [int(i) for i in wrong if i != j]
        others = f"; {listed('mode', rest)} {'is' if len(rest) == 1 else 'are'} off too" if rest else ""
        return [
            f"the share of mode {j} is {self.shares[j]:.3g} and should be {self.true[j]:.3g}, "
            f"{z[j]:.1f} standard errors away{others}"
        ]


def _were(count: int, of: int) -> str:
    return f"{count} of {of} modes {'was' if count == 1 else 'were'}"


def mode_visits(labels: NDArray[np.generic], true: Numbers | None = None) -> Modes:
    """The visits that `labels` (chains, draws), from 0 on, tell of; `true` (k,) are the shares of the modes.

    Without them there are as many modes as the largest label says. BadInput for labels that are no such numbers.
    """
    if labels.dtype.kind not in "iu" or labels.ndim != 2:
        raise BadInput(f"modes must be one whole number per point, not {labels.dtype} of shape {labels.shape}")
    k = int(labels.max()) + 1 if true is None else len(true)
    if labels.min() < 0 or labels.max() >= k:
        raise BadInput(f"modes must be numbered from 0 to {k - 1}, not from {labels.min()} to {labels.max()}")
    chains, draws = labels.shape
    seen = np.zeros((chains, k), bool)
    shares, errors = np.zeros(k), np.full(k, np.nan)
    for j in range(k):
        inside = labels == j
        seen[:, j] = inside.any(1)
        shares[j] = p = float(inside.mean())
        if 0 < p < 1 and draws >= FEWEST_ESS:
            errors[j] = math.sqrt(p * (1 - p) / ess_of_mean(inside.astype(np.float64)))
    return Modes(seen.sum(1), shares, errors, true)
