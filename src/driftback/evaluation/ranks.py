"""Do posterior draws say the truth as often as they claim: its rank among them must be uniform.

Draw x from the prior and y given x, then L draws after y. If they are draws of p(x | y), x is one more of them, and for
any function of it the number that lie below is uniform on 0 to L (Cook, Gelman and Rubin 2006, 'Validation of software
for Bayesian models using posterior quantiles'; Talts et al. 2018, arXiv 1804.06788, theorem 1). Draws that are too
narrow put it at the ends too often, too wide ones in the middle.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from driftback.errors import BadInput
from driftback.randomness import Rng, as_rng

EXPECTED = 5
"""A bin of the chi-square test is as wide as so many ranks are expected in it."""


@dataclass(frozen=True, eq=False)
class Ranks:
    """`ranks` (n, k) of n truths, each among `draws` of its own, in k quantities."""

    ranks: np.ndarray
    draws: int

    @property
    def p(self) -> float:
        """How probable counts as uneven as these are, were they uniform: the least over the quantities by a chi-square
        test, times their number (Bonferroni), 1 at most.
        """
        n, values = len(self.ranks), self.draws + 1
        bins = max(2, min(values, n // EXPECTED, 20))
        edges = np.round(np.linspace(0, values, bins + 1)).astype(int)
        expected = n * np.diff(edges) / values
        counts = np.stack([np.histogram(column, edges - 0.5)[0] for column in self.ranks.T])
        chi = ((counts - expected) ** 2 / expected).sum(1)
        return min(1.0, float(stats.chi2.sf(chi, bins - 1).min()) * self.ranks.shape[1])

    @property
    def lean(self) -> float:
        """The mean of the ranks, 0 lowest to 1 highest, less a half: above 0 the draws lie too low."""
        return float(self._shares.mean() - 0.5)

    @property
    def excess(self) -> float:
        """The variance of the ranks over that of uniform ones: above 1 the draws are too narrow or lie beside, below 1
        too wide.
        """
        return float(((self._shares - 0.5) ** 2).mean() / (self.draws * (self.draws + 2) / 12 / self.draws**2))

    def covered(self, level: float = 0.9) -> float:
        """The share of truths, over all quantities, within the central interval that claims to hold `level` of them: a
        little more or less where `draws` + 1 ranks do not divide so.
        """
        inside = round(level * (self.draws + 1))
        first = (self.draws + 1 - inside) / 2
        return float(((self.ranks >= first) & (self.ranks < first + inside)).mean())

    @property
    def _shares(self) -> np.ndarray:
        return self.ranks / self.draws


def ranks(truths: np.ndarray, draws: np.ndarray, *, rng: Rng | int | None = None) -> Ranks:
    """How many of its own `draws` (n, L, k) lie below each of `truths` (n, k); of equal ones a random number does.

    BadInput for other shapes, for fewer than 20 truths, and for values that are not finite.
    """
    truths, draws = np.asarray(truths, float), np.asarray(draws, float)
    if truths.ndim != 2 or draws.ndim != 3 or draws.shape[::2] != truths.shape or draws.shape[1] < 1:
        raise BadInput(f"truths {truths.shape} and draws {draws.shape} do not agree; give (n, k) and (n, draws, k)")
    if len(truths) < 20:
        raise BadInput(f"ranks of {len(truths)} truths tell nothing; give at least 20")
    if not np.isfinite(truths).all() or not np.isfinite(draws).all():
        raise BadInput("truths or draws hold values that are not finite; leave those items out and say so")
    below, equal = (draws < truths[:, None]).sum(1), (draws == truths[:, None]).sum(1)
    luck = as_rng(rng).generator().random(truths.shape)
    return Ranks(below + np.floor(luck * (equal + 1)).astype(int), draws.shape[1])
