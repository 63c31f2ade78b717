"""What every way of drawing from one target came to, and how near it is to exact draws: the rows of `compare`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from driftback.distributions.target import Problem
from driftback.evaluation.metric import Metric
from driftback.evaluation.pairwise import energy_distance
from driftback.evaluation.sliced import sliced_wasserstein
from driftback.randomness import Rng


@dataclass(frozen=True, eq=False)
class Entry:
    """What one way came to. Why there is nothing, where there is nothing, says `why`."""

    name: str
    about: str
    points: np.ndarray | None = None
    evaluations: int = 0
    """Of the density, or of the score, over all points."""
    seconds: float = 0.0
    before: float = 0.0
    """Seconds of learning before, once and for all."""
    sliced: Metric | None = None
    energy: Metric | None = None
    modes: int | None = None
    variation: float | None = None
    """Total variation between the shares of the modes and the true ones."""
    ess: float | None = None
    log_z: float | None = None
    log_z_error: float | None = None
    why: str = ""

    def as_json(self) -> dict[str, Any]:
        """All but the points."""
        found = {name: value for name, value in asdict(self).items() if name not in ("points", "sliced", "energy")}
        metrics = {
            name: None if one is None else one.as_json()
            for name, one in (("sliced", self.sliced), ("energy", self.energy))
        }
        return found | metrics


@dataclass(frozen=True, eq=False)
class Comparison:
    """All entries on one problem, with exact draws of it, `truth` (n, *event), where it has any."""

    problem: Problem
    budget: int
    entries: tuple[Entry, ...]
    truth: np.ndarray | None = None
    known_modes: int | None = None
    stopped: str = ""
    """The way in which Ctrl-C came, where it did."""

    def as_json(self) -> dict[str, Any]:
        """What `driftback compare --json` prints."""
        truth = self.problem.truth
        return {
            "target": self.problem.name,
            "budget": self.budget,
            "log_z": truth.log_z,
            "modes": self.known_modes,
            "stopped": self.stopped or None,
            "ways": [entry.as_json() for entry in self.entries],
        }


def judged(entry: Entry, problem: Problem, truth: Tensor | None, other: Tensor | None, rng: Rng) -> Entry:
    """The `entry` with its distances from `truth`, beside those of `other` exact draws, and its modes."""
    if entry.points is None:
        return entry
    more: dict[str, Any] = {}
    if truth is not None and other is not None:
        flat = [np.asarray(x, dtype=np.float64).reshape(len(x), -1) for x in (entry.points, truth, other)]
        more["sliced"] = sliced_wasserstein(*flat, rng=rng.child("sliced"))
        more["energy"] = energy_distance(*flat, rng=rng.child("energy"))
    if problem.truth.mode is not None and problem.truth.shares is not None:
        shares = problem.truth.shares.double()
        found = torch.bincount(problem.truth.mode(torch.from_numpy(entry.points)), minlength=len(shares)).double()
        more["modes"] = int((found > 0).sum())
        more["variation"] = float((found / found.sum() - shares).abs().sum() / 2)
    return Entry(**(vars(entry) | more))
