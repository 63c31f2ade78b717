"""Chains to look at, the worst quantities first: where they went, how they rank, and how long they remember.

Rank plots show what traces hide: each chain's share of all ranks is level where chains agree (Vehtari et al. 2021,
arXiv 1903.08008, section 5.2), within a band that independent draws of the same number would leave in 1 of 20 bins.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from arviz_stats.base import array_stats
from scipy.stats import binom, rankdata

from driftback.arguments import whole
from driftback.distributions.target import Problem
from driftback.errors import BadInput
from driftback.evaluation.chain_draws import Array, Numbers, read_draws
from driftback.evaluation.convergence import FEWEST, convergence
from driftback.files import writing
from driftback.pictures.palette import LIGHT, SERIES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

POINTS = 500
"""Draws of a chain that a trace shows: of more, evenly spaced ones."""
BINS = 20
LAGS = 100


def diagnostic_plots(
    draws: Array, names: Sequence[str], path: Path | str, *, problem: Problem | None = None, k: int = 4
) -> None:
    """Write `diagnostic_figure` to the .png or .svg file `path`: the same draws make the same bytes."""
    from matplotlib import rc_context

    path = Path(path)
    kind = path.suffix.lower().removeprefix(".")
    without = {"png": {"Software": None}, "svg": {"Date": None}}
    if kind not in without:
        raise BadInput(f"plots are written as .png or .svg, not as {path.name}; name the file so")
    figure = diagnostic_figure(draws, names, problem=problem, k=k)
    with writing(path) as temporary, rc_context({"svg.hashsalt": "driftback"}):
        figure.savefig(temporary, format=kind, metadata=without[kind])


def diagnostic_figure(draws: Array, names: Sequence[str] = (), *, problem: Problem | None = None, k: int = 4) -> Figure:
    """A row for each of the `k` worst quantities of `draws` (chains, draws, *event): trace, ranks, autocorrelation.

    Of more than eight chains, eight are shown: the lowest and the highest mean, and those evenly between. BadInput for
    fewer than four draws per chain, and for what `diagnose` refuses.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    read = read_draws(draws, names, problem)
    if read.shape[1] < FEWEST:
        count = "1 draw per chain is" if read.shape[1] == 1 else f"{read.shape[1]} draws per chain are"
        raise BadInput(f"{count} too few to show; draw at least {FEWEST}")
    worst = convergence(read).worst(whole(k, "k", 1))
    figure = Figure(figsize=(10, 2.2 * len(worst) + 0.4), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    rows = figure.subplots(len(worst), 3, squeeze=False)
    for j, (left, middle, right) in zip(worst, rows, strict=True):
        x = read.quantity(j)
        shown = chosen(x)
        _traces(left, x, shown)
        left.set_ylabel(read.names[j])
        _ranks(middle, x, shown)
        _memory(right, x, shown)
    heads = ("trace", "draw"), ("ranks", "rank among all draws"), ("autocorrelation", "lag")
    for column, (title, below) in enumerate(heads):
        rows[0][column].set_title(title)
        rows[-1][column].set_xlabel(below)
    if read.shape[0] > 1:
        rows[0][0].legend(fontsize="x-small", ncols=2, loc="upper right")
    return figure


def chosen(x: Numbers) -> tuple[int, ...]:
    """The chains of `x` (chains, draws) to show: all, or one per colour, evenly from low to high means."""
    if len(x) <= len(SERIES):
        return tuple(range(len(x)))
    order = np.argsort(x.mean(1), kind="stable")
    places = np.linspace(0, len(x) - 1, len(SERIES)).round().astype(int)
    return tuple(int(c) for c in order[places])


def rank_shares(x: Numbers, bins: int = BINS) -> Numbers:
    """The share (chains, bins) of each chain's draws `x` (chains, draws) among equal parts of all ranks."""
    rank = rankdata(x, axis=None).reshape(x.shape)
    part = np.minimum(((rank - 0.5) / x.size * bins).astype(int), bins - 1)
    return np.stack([np.bincount(one, minlength=bins) for one in part]) / x.shape[1]


def autocorrelation(x: Numbers, lags: int = LAGS) -> Numbers:
    """The autocorrelation (chains, lags + 1) of chains `x` (chains, draws), from lag 0 on; NaN where one stands still.

    There are at most half as many lags as draws.
    """
    found = np.full((len(x), min(lags, x.shape[1] // 2) + 1), np.nan)
    changes = (x != x[:, :1]).any(1)
    if changes.any():
        found[changes] = array_stats.autocorr(x[changes], axis=1)[:, : found.shape[1]]
    return found


def _traces(axes: Axes, x: Numbers, shown: Sequence[int]) -> None:
    at = np.unique(np.linspace(0, x.shape[1] - 1, min(POINTS, x.shape[1])).round().astype(int))
    for c, colour in zip(shown, SERIES, strict=False):
        axes.plot(at, x[c, at], color=colour, linewidth=0.6, label=f"chain {c}")


def _ranks(axes: Axes, x: Numbers, shown: Sequence[int]) -> None:
    bins = min(BINS, x.shape[1])
    low, high = binom.ppf([0.025, 0.975], x.shape[1], 1 / bins) / x.shape[1] * bins
    axes.axhspan(low, high, color=LIGHT.roles["faint"], alpha=0.5, linewidth=0)
    edges = np.linspace(0, 1, bins + 1)
    shares = rank_shares(x, bins)
    for c, colour in zip(shown, SERIES, strict=False):
        axes.stairs(shares[c] * bins, edges, color=colour, label=f"chain {c}")
    axes.set_ylim(bottom=0)


def _memory(axes: Axes, x: Numbers, shown: Sequence[int]) -> None:
    axes.axhline(0, color=LIGHT.roles["faint"], linewidth=0.8)
    for c, one, colour in zip(shown, autocorrelation(x[list(shown)]), SERIES, strict=False):
        axes.plot(np.arange(len(one)), one, color=colour, linewidth=0.9, label=f"chain {c}")
    axes.set_ylim(-0.3, 1.05)
