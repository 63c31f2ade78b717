"""Can weighted draws be believed? Of weights w_i of draws from another law than the target,

    ESS = (sum w)^2 / sum w^2 (Kish 1965),    mean = sum w x / sum w,    error^2 = sum w^2 (x - mean)^2 / (sum w)^2,

or, where draws were copied, error^2 = G / (G - 1) sum over the G families of (sum w (x - mean))^2 / (sum w)^2, if that
is more, and the ESS that such errors belong to (as Lee and Whiteley 2018, arXiv 1509.00394, of common ancestors).
Islands that share nothing are families too. Errors of few are rough: z follows Student's law of G - 1 degrees.

All of it says little where few draws that were never made would carry most of the weight. k-hat tells: it is the
shape of a generalised Pareto law fitted to the largest weights, which have moments below 1 / k only. Means can be
trusted while k < min(1 - 1 / log10 S, 0.7) for S draws (Vehtari et al. 2024, arXiv 1507.02646, section 3.2.4).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from arviz_stats.base import array_stats
from numpy.typing import NDArray

from driftback.distributions.target import Problem, Truth
from driftback.errors import BadInput
from driftback.evaluation.chain_draws import Array, Draws, Numbers, known, plain, read_draws

KHAT = 0.7
"""From here on errors fall so slowly with S that no number of draws is worth it (Vehtari et al. 2024)."""
ENOUGH = 100.0
"""An ESS below this makes means rough: an error of a tenth of the deviation."""
EQUAL = 1e-12
"""Log-weights that differ by no more are equal but for rounding, whose tail is none."""
FEWEST = 25
"""Weights below which the fifth that counts as their tail is fewer than five."""


@dataclass(frozen=True)
class WeightedRow:
    """The weighted `mean` of one quantity, its standard `error` (None where all draws are of one family), and how many
    of those it is from the true mean.
    """

    name: str
    mean: float
    error: float | None
    z: float | None


@dataclass(frozen=True)
class Weighted:
    """What is known of `n` weighted draws: their `ess`, the `largest` share of one draw, and `khat`.

    `khat` is None for too few weights, and where too many of the largest are equal, so that they have no tail. Where
    draws are copies, of so many `families`, ESS and errors are those of the families; None where there is one only.
    `khat`, `largest` and `ess_before` are of the weights before copies were made, where these were given. Of so many
    `modes`, where these are known, so many were `visited` by a draw that has weight.
    """

    n: int
    ess: float | None
    largest: float
    khat: float | None
    rows: tuple[WeightedRow, ...]
    families: int | None = None
    ess_before: float | None = None
    modes: int | None = None
    visited: int | None = None

    @property
    def limit(self) -> float:
        """The k-hat above which means of this number of draws cannot be trusted."""
        return khat_limit(self.n)

    @property
    def sentences(self) -> tuple[str, ...]:
        """What a person should know."""
        said = [self._khat()] if self.khat is not None else []
        if self.modes is not None and self.visited is not None and self.visited < self.modes:
            missed = self.modes - self.visited
            said.append(
                f"{missed} of {self.modes} modes {'holds' if missed == 1 else 'hold'} no draw: start wider (scale), or "
                "draw more"
            )
        if self.n < FEWEST:
            few = f"{self.n} weight{'s are' if self.n > 1 else ' is'} too few"
            said.append(f"{few} for a k-hat: draw at least {FEWEST}, better 1000")
        if self.families is not None and self.ess_before is not None and self.ess_before < ENOUGH:
            said.append(
                f"before copies were made the weights were worth {self.ess_before:.1f} of {self.n} draws, and one "
                f"carried {self.largest:.1%}: what these left out, moves alone can find; bring the proposal nearer to "
                "the target"
            )
        if self.ess is None:
            so = ": draw in several islands" if self.ess_before is None else ""
            said.append(f"the {self.n} draws are of one family, so what they are worth is not known{so}")
        elif self.families is not None and self.ess < ENOUGH:
            said.append(
                f"the {self.n} draws are worth {self.ess:.1f} independent ones, as the spread between {self.families} "
                "families tells: means are rough; draw more"
            )
        elif self.ess < ENOUGH:
            said.append(
                f"the ESS of the weights is {self.ess:.1f} of {self.n}, and one draw carries {self.largest:.1%}: "
                "means are rough; draw more, or bring the proposal nearer to the target"
            )
        if not said:
            said.append(
                f"the largest weights are equal, so they have no k-hat: judge by the ESS, {self.ess:.0f} of {self.n}"
            )
        return tuple(said)

    def _khat(self) -> str:
        k = self.khat or 0.0
        if k < self.limit:
            return f"k-hat is {k:.2f}, below {self.limit:.2f}: the weighted means can be trusted"
        if k < KHAT:
            enough = math.ceil(10 ** (1 / (1 - k)))
            return f"k-hat is {k:.2f}, above {self.limit:.2f} for {self.n} draws: draw at least {enough}"
        why = "their mean itself need not exist" if k >= 1 else "a few draws carry too much"
        return (
            f"k-hat is {k:.2f}, not below {KHAT:g}: do not trust the weighted means, {why}; "
            "bring the proposal nearer to the target"
        )

    def as_json(self) -> dict[str, Any]:
        """All of it for JSON."""
        khat = None if self.khat is None else known(self.khat)
        return {**asdict(self), "khat": khat, "khat_limit": known(self.limit), "sentences": list(self.sentences)}


def khat_limit(n: int) -> float:
    """The k-hat up to which means of `n` draws can be trusted; below 10 draws none can."""
    return min(1 - 1 / math.log10(n), KHAT) if n > 1 else -math.inf


def weighted(
    log_weights: Array,
    draws: Array | None = None,
    *,
    names: Sequence[str] = (),
    problem: Problem | None = None,
    truth: Truth | None = None,
    families: Array | None = None,
    before: Array | None = None,
) -> Weighted:
    """What `log_weights` (n,), in nats and up to a constant, say of the `draws` (n, *event) that they belong to.

    Minus infinity is the weight 0. The quantities are those of the `problem`, or else all numbers of an event. Errors
    hold for independent draws. After a resampling tell by `families` (n,), numbers from 0 on, which draws are kin, and
    give the log-weights `before` it, of which k-hat then is: families do not know of draws that were not copied.
    Without families the ESS of `before` is taken for what the draws are worth, which moves after the resampling make
    more. BadInput for weights that are NaN, infinite or all 0, and for draws that are not finite.
    """
    w, judged = _shares(log_weights), log_weights if before is None else before
    shares, truth = _shares(judged), truth or (problem.truth if problem is not None else Truth())
    kin = None if families is None else _kin(families, len(w))
    ess: float | None = _kish(shares)
    ess_before = None if before is None else ess
    modes = visited = None
    rows: tuple[WeightedRow, ...] = ()
    if draws is not None:
        read = _read(w, draws, names, problem)
        rows, worth = _rows(w, read, truth, kin, max(1.0, _kish(w) / _kish(shares)))
        modes, visited = _visited(w, read, truth)
        if kin is not None:
            ess = None if worth is None else min(_kish(w), worth)
    number = None if kin is None else int(kin.max()) + 1
    khat = _khat(plain(judged, "log-weights").astype(np.float64))
    return Weighted(len(shares), ess, float(shares.max()), khat, rows, number, ess_before, modes, visited)


def _shares(log_weights: Array) -> Numbers:
    """The weights of sum 1, checked."""
    logs = plain(log_weights, "log-weights").astype(np.float64)
    if logs.ndim != 1 or logs.size == 0:
        raise BadInput(f"log-weights have the shape {logs.shape}; give one per draw, (n,)")
    bad = np.flatnonzero(np.isnan(logs) | (logs == np.inf))
    if len(bad):
        raise BadInput(f"the log-weight of draw {bad[0]} is {logs[bad[0]]}; it must be below infinity")
    if logs.max() == -np.inf:
        raise BadInput("all weights are 0; draw from a law that covers the target")
    w = np.exp(logs - logs.max())
    return np.asarray(w / w.sum(), np.float64)


def _kish(w: Numbers) -> float:
    return float(1 / np.square(w).sum())


def _kin(families: Array, n: int) -> NDArray[np.int64]:
    found = plain(families, "families")
    if found.shape != (n,) or found.dtype.kind not in "iu" or found.min() < 0:
        raise BadInput(f"families have the shape {found.shape}; give a whole number from 0 on for each of {n} draws")
    return np.unique(found, return_inverse=True)[1].astype(np.int64)


def _error(w: Numbers, apart: Numbers, kin: NDArray[np.int64] | None, copies: float) -> float:
    """The standard error of the weighted mean of what is `apart` (n,) from it: that of independent draws, of which
    there are so many `copies` each, or of families where it is larger; NaN of one family.
    """
    alone = math.sqrt(float(np.square(w) @ np.square(apart)))
    if kin is None:
        return alone * math.sqrt(copies)
    groups = int(kin.max()) + 1
    squares = float(np.square(np.bincount(kin, w * apart)).sum())
    return max(alone, math.sqrt(squares * groups / (groups - 1))) if groups > 1 else math.nan


def _visited(w: Numbers, read: Draws, truth: Truth) -> tuple[int | None, int | None]:
    if truth.mode is None or truth.shares is None:
        return None, None
    labels = read.of_points(truth.mode)[0]
    return len(truth.shares), len(np.unique(labels[w > 0]))


def _read(w: Numbers, draws: Array, names: Sequence[str], problem: Problem | None) -> Draws:
    points = plain(draws, "draws")
    if points.ndim == 0 or len(points) != len(w):
        raise BadInput(f"draws have the shape {points.shape}, but there are {len(w)} log-weights; give one per draw")
    return read_draws(points[None], names, problem)


def _rows(
    w: Numbers, read: Draws, truth: Truth, kin: NDArray[np.int64] | None, copies: float
) -> tuple[tuple[WeightedRow, ...], float | None]:
    """The rows, and how many independent draws would have such errors, on average over the quantities that vary."""
    true = None if truth.mean is None else np.asarray(plain(truth.mean, "true means"), np.float64).reshape(-1)
    if true is not None and len(true) != len(read.names):
        raise BadInput(f"{len(true)} true means are known, but there are {len(read.names)} quantities")
    rows, shrunk = [], []
    for j, name in enumerate(read.names):
        x = read.quantity(j)[0]
        mean = float(w @ x)
        error, variance = _error(w, x - mean, kin, copies), float(w @ np.square(x - mean))
        if variance > 0:
            shrunk.append(error**2 / variance)
        z = (mean - float(true[j])) / error if true is not None and error > 0 else None
        rows.append(WeightedRow(name, mean, known(error), z))
    if kin is None or not shrunk:
        return tuple(rows), math.inf
    return tuple(rows), known(1 / float(np.mean(shrunk)))


def _khat(logs: Numbers) -> float | None:
    """The shape of the law of the largest weights; None where they are too few, or a quarter of them equal."""
    # Draws outside of the target's support say nothing about the tail of the others.
    logs = logs[logs > -np.inf]
    if len(logs) < FEWEST:
        return None
    tail = int(min(len(logs) / 5, 3 * math.sqrt(len(logs))))
    largest = np.sort(logs)[-tail - 1 :] - logs.max()
    # The fit divides by the excess of the tail's lower quartile over the weight next below the tail.
    below, quartile = largest[0], largest[int(tail / 4 + 0.5)]
    if quartile - below <= EQUAL:
        return None
    if np.exp(quartile) - np.exp(below) < np.finfo(float).tiny:
        return math.inf
    # arviz-stats wants the negative of log-weights here; its `pareto_khat` would fit the logs themselves.
    return float(array_stats.psislw(-logs)[1])
