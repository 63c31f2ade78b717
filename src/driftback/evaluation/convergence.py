"""Do chains agree, and how many independent draws are theirs worth? R-hat, effective sample sizes, and errors of means.

All chains are split into halves, and their values replaced by normal scores of their ranks; with the variances W within
and B / n between the halves of n draws,

    R-hat = sqrt((n - 1) / n + B / (n W)),    the larger one of the values and of their distances from the median
    ESS = S / (1 + 2 sum_t rho_t),            bulk: of the normal scores, tail: of x <= its 5 % and 95 % quantiles

(Vehtari et al. 2021, arXiv 1903.08008, sections 3 and 4). arviz-stats computes them. Its error of a deviation takes the
ESS of x, which is far too large where chains are antithetic; here it is that of the squared distances from the mean.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np
from arviz_stats.base import array_stats
from scipy.special import ndtri
from scipy.stats import rankdata
from scipy.stats import t as student

from driftback.errors import BadInput
from driftback.evaluation.chain_draws import Draws, Numbers, known

RHAT = 1.01
"""Above this chains disagree (Vehtari et al. 2021, section 5)."""
ENOUGH = 400.0
"""An ESS below this makes means rough, and R-hat and the ESS themselves (Vehtari et al. 2021, section 4.1: 100 for
each of four chains).
"""
SHORT = 100
"""Draws per chain below which R-hat is above 1.01 though chains agree, where draws hang together a little."""
FEWEST = 4
"""Draws per chain below which R-hat has no meaning."""
FEWEST_ESS = 10
"""Draws per chain below which Geyer's sum over lags has no terms, and the ESS would be S log10 S whatever the draws."""
TAILS = (0.05, 0.95)
SHOWN = 20
"""Rows that are shown: of more quantities, the worst."""
FALSE_ALARM = 1e-3
"""How often means of a right sampler may be called wrong, all quantities together; 3 in 1,000 were with 200 draws."""


@dataclass(frozen=True)
class Row:
    """What is known of one quantity; None where nothing can be said. `z` counts standard errors from the true mean."""

    name: str
    mean: float
    sd: float
    mcse_mean: float | None
    mcse_sd: float | None
    ess_bulk: float | None
    ess_tail: float | None
    rhat: float | None
    z: float | None

    def as_json(self) -> dict[str, float | str | None]:
        """The fields as plain numbers; an R-hat without bound, of chains that all stand still, is None."""
        return {
            key: value if isinstance(value, str) or value is None else known(value)
            for key, value in asdict(self).items()
        }


@dataclass(frozen=True, eq=False)
class Convergence:
    """All quantities, each number an array (q,) in the order of `names`; NaN where nothing can be said."""

    names: tuple[str, ...]
    chains: int
    draws: int
    mean: Numbers
    sd: Numbers
    mcse_mean: Numbers
    mcse_sd: Numbers
    ess_bulk: Numbers
    ess_tail: Numbers
    rhat: Numbers
    z: Numbers

    def row(self, j: int) -> Row:
        """Quantity `j` as a row."""

        def told(x: Numbers) -> float | None:
            return None if math.isnan(x[j]) else float(x[j])

        return Row(
            self.names[j],
            float(self.mean[j]),
            float(self.sd[j]),
            told(self.mcse_mean),
            told(self.mcse_sd),
            told(self.ess_bulk),
            told(self.ess_tail),
            told(self.rhat),
            told(self.z),
        )

    def worst(self, most: int = SHOWN) -> tuple[int, ...]:
        """At most `most` quantities, the smallest ESS first; those that never changed before them."""
        least = np.fmin(self.ess_bulk, self.ess_tail)
        # Without an ESS, as there are too few draws, R-hat has to do.
        key = np.where(np.isnan(least) & (self.sd > 0), -np.nan_to_num(self.rhat, nan=0.0, posinf=1e300), least)
        key = np.where(self.sd == 0, -np.inf, key)
        return tuple(int(j) for j in np.argsort(key, kind="stable")[:most])

    def rows(self) -> tuple[Row, ...]:
        """All quantities in their order where they are few, else the worst ones."""
        few = len(self.names) <= SHOWN
        return tuple(self.row(j) for j in (range(len(self.names)) if few else self.worst()))

    def largest(self, of: Numbers) -> int | None:
        """Which quantity has the largest value of the array `of` (q,); None where no value is known."""
        return None if np.isnan(of).all() else int(np.nanargmax(of))

    def sentences(self) -> list[str]:
        """What a person should know."""
        if self.draws < FEWEST:
            say = "says" if self.draws == 1 else "say"
            few = f"{_draws(self.draws)} per chain {say} nothing about the chains"
            return [f"{few}: draw at least {FEWEST}, better 1000"]
        said = self._constants()
        if self.chains == 1:
            said.append("one chain alone cannot show what it never reached: draw 4 or more from different starts")
        j = self.largest(self.rhat)
        if j is not None and self.rhat[j] > RHAT:
            value = f"{self.rhat[j]:.3g}" if self.rhat[j] >= 1.05 else f"{self.rhat[j]:.3f}"
            value = f"{self.rhat[j]:.5f}" if float(value) <= RHAT else value
            value = "infinite" if math.isinf(self.rhat[j]) else value
            who = "the chains disagree" if self.chains > 1 else "its halves disagree"
            who += f", or {self.draws} draws of each are too few to tell" if self.draws < SHORT else ""
            said.append(
                f"R-hat of {self.names[j]} is {value}{_besides(self.rhat > RHAT, RHAT, 'above')}: {who}; draw longer"
            )
        if self.draws < FEWEST_ESS:
            said.append(
                f"{_draws(self.draws)} per chain are too few for an effective sample size: draw at least {FEWEST_ESS}"
            )
        for kind, what, values in (("bulk", "means", self.ess_bulk), ("tail", "intervals", self.ess_tail)):
            j = self.largest(-values)
            if j is not None and values[j] < ENOUGH:
                besides = _besides(values < ENOUGH, ENOUGH, "below")
                besides = besides or f", below {ENOUGH:g}"
                said.append(
                    f"the {kind} ESS of {self.names[j]} is {values[j]:.0f}{besides}: {what} are rough; draw longer"
                )
        return said + self._off()

    def _constants(self) -> list[str]:
        same = np.flatnonzero(self.sd == 0)
        if not len(same):
            return []
        others = f" and {len(same) - 1} other quantities" if len(same) > 1 else ""
        return [f"{self.names[same[0]]}{others} took one value only: nothing can be said of what never changes"]

    def _off(self) -> list[str]:
        j = self.largest(np.abs(self.z))
        if j is None:
            return []
        # Student's law, as errors of few effective draws are rough themselves.
        degrees = max((self.sd[j] / self.mcse_mean[j]) ** 2 - 1, 1)
        if abs(self.z[j]) <= student.isf(FALSE_ALARM / 2 / np.isfinite(self.z).sum(), degrees):
            return []
        side = "above" if self.z[j] > 0 else "below"
        return [
            f"the mean of {self.names[j]} is {abs(self.z[j]):.1f} standard errors {side} the true one: "
            "the sampler is biased, or has not been everywhere"
        ]


def _draws(n: int) -> str:
    return "1 draw" if n == 1 else f"{n} draws"


def _besides(which: np.ndarray, bound: float, side: str) -> str:
    others = int(which.sum()) - 1
    return "" if others < 1 else f", and {others} other{'s are' if others > 1 else ' is'} {side} {bound:g}"


def convergence(draws: Draws, truth: Numbers | None = None) -> Convergence:
    """Every number of each quantity, one quantity at a time; `truth` (q,) are the true means, NaN where not known."""
    found = np.array([_quantity(draws.quantity(j)) for j in range(len(draws.names))])
    mean, sd, mcse_mean, mcse_sd, ess_bulk, ess_tail, rhat = found.T
    z = np.full(len(mean), np.nan)
    if truth is not None:
        if truth.shape != mean.shape:
            raise BadInput(
                f"{truth.size} true means are known, but there are {len(mean)} quantities; they must be the same"
            )
        np.divide(mean - truth, mcse_mean, out=z, where=mcse_mean > 0)
    return Convergence(draws.names, *draws.shape, mean, sd, mcse_mean, mcse_sd, ess_bulk, ess_tail, rhat, z)


def _quantity(x: Numbers) -> tuple[float, ...]:
    """Mean, deviation, their errors, bulk and tail ESS, and R-hat of one quantity (chains, draws)."""
    nothing = math.nan
    if x.max() == x.min():
        return float(x.flat[0]), 0.0, nothing, nothing, nothing, nothing, nothing
    mean = float(x.mean())
    # Without a unit: arviz-stats takes what varies by less than 1e-15 to be constant.
    unit = float(np.abs(x - mean).max())
    u = (x - mean) / unit
    sd = float(u.std(ddof=1))
    if x.shape[1] < FEWEST:
        return mean, sd * unit, nothing, nothing, nothing, nothing, nothing
    half = halves(u)
    scores = normal_scores(half)
    rhat = max(_rhat(scores), _rhat(normal_scores(np.abs(half - np.median(half)))))
    if x.shape[1] < FEWEST_ESS:
        return mean, sd * unit, nothing, nothing, nothing, nothing, rhat
    most = _most(x)
    bulk = min(float(array_stats.ess(scores, method="identity")), most)
    tail = min(float(array_stats.ess(u, method="tail", prob=TAILS)), most)
    mcse_mean = sd / math.sqrt(ess_of_mean(u))
    square = np.square(u - u.mean())
    mcse_sd = float(square.std()) / math.sqrt(ess_of_mean(square)) / (2 * sd)
    return mean, sd * unit, mcse_mean * unit, mcse_sd * unit, bulk, tail, rhat


def ess_of_mean(x: Numbers) -> float:
    """How many independent draws give the mean of `x` (chains, draws) as well."""
    return min(float(array_stats.ess(x, method="mean")), _most(x))


def _most(x: Numbers) -> float:
    """Chains that all stand still are worth no more than one draw each; the sum over few lags would not see it."""
    return len(x) if (x == x[:, :1]).all() else math.inf


def halves(x: Numbers) -> Numbers:
    """The first and the last half of each chain (chains, draws) as chains of their own; an odd draw between is left."""
    n = x.shape[1] // 2
    return np.concatenate([x[:, :n], x[:, -n:]])


def normal_scores(x: Numbers) -> Numbers:
    """Normal quantiles of the ranks among all of `x`: (r - 3/8) / (S + 1/4), equal values at their mean rank."""
    rank = rankdata(x, axis=None).reshape(x.shape)
    scores: Numbers = ndtri((rank - 0.375) / (x.size + 0.25))
    return scores


def _rhat(scores: Numbers) -> float:
    """R-hat of chains as they are: infinite where each stands still and not all at one value, 1 where all do."""
    if (scores == scores[:, :1]).all():
        return 1.0 if scores.max() == scores.min() else math.inf
    return float(array_stats.rhat(scores, method="identity"))
