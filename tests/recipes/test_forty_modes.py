"""Parallel tempering and sequential Monte Carlo find all 40 modes of GMM40, each with its share of the mass."""

import numpy as np
import pytest
import torch
from scipy.stats import t as student

import driftback as db
from driftback.distributions.energies import gmm40
from driftback.evaluation.weights import weighted
from driftback.recipes.density.draws import Draws
from driftback.samplers.markov import Tempering, resampling

TARGET = gmm40()
TRUE = TARGET.truth.shares.numpy()
FALSE_ALARM = 1e-3
LEAST = 200
"""The effective size that the share of each mode has at least: it is known to half of itself."""
ISLANDS = 40


def in_proportion(shares: np.ndarray, sizes: np.ndarray, degrees: float = np.inf) -> bool:
    """Whether `shares` (40,) of effective `sizes` are the true ones: all 40 tests together are wrong once in 1,000.

    The error is that of the true share, sqrt(p (1 - p) / size), as that of a share that came out small is too small. In
    8 seeds of each method z had a root mean square of 1.0, and the largest was 3.5; the limits are 4.2 and 4.8.
    """
    if not (shares > 0).all() or not (sizes >= LEAST).all():
        return False
    z = (shares - TRUE) / np.sqrt(TRUE * (1 - TRUE) / sizes)
    return bool((np.abs(z) < student.isf(FALSE_ALARM / 2 / len(z), degrees)).all())


def tempered(seed: int = 0) -> Draws:
    """100 ladders, all of which begin in the first mode."""
    start = TARGET.target.means[0].tolist()
    return db.draw("gmm40", 10_000, method="tempering", chains=100, start=start, seed=seed)


def of_chains(found: Draws) -> bool:
    """Effective sizes come from the autocorrelation of each mode's indicator."""
    modes = found.diagnostics.modes
    with np.errstate(invalid="ignore"):
        return in_proportion(modes.shares, modes.shares * (1 - modes.shares) / modes.errors**2)


def led(seed: int = 0) -> Draws:
    return db.draw("gmm40", 4000, method="smc", islands=ISLANDS, seed=seed)


def of_islands(found: Draws) -> bool:
    """Effective sizes come from the spread between islands, which have 39 degrees of freedom."""
    inside = torch.nn.functional.one_hot(TARGET.truth.mode(found.chains[:, 0]), len(TRUE))
    rows = weighted(found.log_weights, inside, families=found.families).rows
    shares, errors = (np.array([getattr(row, name) for row in rows]) for name in ("mean", "error"))
    with np.errstate(invalid="ignore", divide="ignore"):
        return in_proportion(shares, shares * (1 - shares) / errors**2, ISLANDS - 1)


@pytest.mark.slow
def test_tempering_finds_them() -> None:
    assert of_chains(tempered())


@pytest.mark.slow
def test_tempering_without_trades_is_refused(monkeypatch) -> None:
    """Hot copies are everywhere, and the cold ones do not hear of it."""
    own = Tempering.traded
    monkeypatch.setattr(Tempering, "traded", lambda self, rungs, noise: (rungs, own(self, rungs, noise)[1]))
    assert not of_chains(tempered())


@pytest.mark.slow
def test_populations_find_them() -> None:
    assert of_islands(led())


@pytest.mark.slow
def test_a_population_that_is_not_copied_by_weight_is_refused(monkeypatch) -> None:
    """Each mode keeps what the reference puts near it."""
    monkeypatch.setattr(resampling, "systematic", lambda shares, n, rng: torch.arange(n))
    assert not of_islands(led())
