"""What every method of drawing from a density returns: points, weights where it has any, log Z where it knows it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from driftback.arguments import whole
from driftback.distributions.target import Problem
from driftback.errors import BadInput
from driftback.evaluation.arviz_export import to_arviz
from driftback.evaluation.chain_draws import default_names
from driftback.evaluation.chains import Diagnostics, diagnose
from driftback.evaluation.weights import Weighted, weighted
from driftback.randomness import Rng
from driftback.recipes.density.bounded import Bounded
from driftback.recipes.density.function import AsVector
from driftback.samplers.frame import Frame


@dataclass(frozen=True, eq=False)
class Draws:
    """Points from `problem` by `method`.

    `chains` (chains, draws, *event) are a chain method's; those of a population (SMC, importance) are one draw of many
    particles, with `log_weights` and, where they were copied, the `families` that they are of. `stats` (chains, draws)
    are what the kernel said of each move: acceptance, energy, divergence, leaps. `history` are frames on the way there,
    to be played.
    """

    problem: Problem
    method: str
    chains: Tensor
    log_weights: Tensor | None = None
    families: Tensor | None = None
    log_z: float | None = None
    log_z_error: float | None = None
    density_evaluations: int = 0
    gradient_evaluations: int = 0
    warmup_evaluations: int = 0
    seconds: float = 0.0
    stats: dict[str, Tensor] = field(default_factory=dict)
    history: tuple[Frame, ...] = ()
    notes: tuple[str, ...] = ()
    complete: bool = True
    """False where it was interrupted before all was drawn."""
    proposed: Tensor | None = None
    """Log-weights of what these points are copies of."""

    @property
    def x(self) -> np.ndarray:
        """All points (n, *event), draw by draw: the first of every chain, then the second."""
        return self.chains.transpose(0, 1).reshape(-1, *self.problem.event_shape).cpu().numpy()

    @property
    def ess(self) -> float | None:
        """The smallest bulk ESS of a quantity, or that of weighted points; None where it is not known."""
        found = self.diagnostics
        if isinstance(found, Weighted):
            return found.ess
        return None if found.ess_bulk is None else found.ess_bulk.ess_bulk

    @property
    def quantities(self) -> Tensor:
        """The quantities that people ask for, (chains, draws, q)."""
        flat = self.problem.quantities(self.chains.reshape(-1, *self.problem.event_shape))
        return flat.reshape(*self.chains.shape[:2], -1)

    @property
    def names(self) -> tuple[str, ...]:
        """A name for each quantity."""
        return self.problem.names or default_names(self.problem.event_shape, self.quantities.shape[2])

    @cached_property
    def diagnostics(self) -> Diagnostics | Weighted:
        """How good the draws are: effective sizes, errors, R-hat and modes or k-hat, and sentences that say what
        follows.
        """
        if self.log_weights is not None:
            points, kin, before = self.chains[:, 0], self.families, self.proposed
            return weighted(self.log_weights, points, problem=self.problem, families=kin, before=before)
        return diagnose(
            self.chains,
            problem=self.problem,
            accepted=self.stats.get("probability"),
            density_evaluations=self.density_evaluations,
            gradient_evaluations=self.gradient_evaluations or None,
            seconds=self.seconds,
            energy=self.stats.get("energy"),
            divergent=self.stats.get("divergent"),
        )

    @property
    def weighted(self) -> bool:
        """Whether some points weigh more than others."""
        w = self.log_weights
        return w is not None and not bool(torch.isclose(w, w[0], rtol=0, atol=1e-9).all())

    def noted(self, *notes: str) -> Draws:
        """The same with more to say."""
        return replace(self, notes=(*self.notes, *notes))

    def __repr__(self) -> str:
        chains, draws = self.chains.shape[:2]
        how = f"{draws} each of {chains} chains" if self.log_weights is None else "weighted"
        end = "" if self.complete else ", interrupted"
        event = "numbers" if self.problem.event_shape == () else f"points of shape {tuple(self.problem.event_shape)}"
        return f"{chains * draws} {event} from {self.problem.name} by {self.method}, {how}{end}\n" + "\n".join(
            (*self.diagnostics.sentences, *self.notes)
        )

    def resampled(self, n: int, *, seed: int = 0) -> np.ndarray:
        """`n` points of equal weight, drawn from the weighted ones with replacement; without weights from all."""
        whole(n, "n", 1)
        weights = torch.ones(len(self.x)) if self.log_weights is None else self.log_weights.softmax(0)
        share = weights.double().cumsum(0)
        u = Rng(seed).child("resampled").uniform((n,), dtype=torch.float64) * share[-1]
        return self.x[torch.searchsorted(share, u, right=True).clamp(max=len(share) - 1).numpy()]

    def save(self, path: str | Path, *, force: bool = False) -> None:
        """Write a file: .npz with all there is, .npy or .csv with bare points (drawn again by their weights where these
        differ). BadInput for another suffix, and for one that is there, unless `force`.
        """
        from driftback.recipes.density.kept import write_draws

        path = Path(path).expanduser()
        if path.suffix.lower() not in (".npy", ".npz", ".csv"):
            raise BadInput(f"cannot write draws to {path}: let the name end in .npy, .npz or .csv")
        write_draws(self, path, overwrite=force)

    def to_arviz(self) -> Any:
        """The chains and what the kernel said of them as ArviZ's DataTree; needs the extra `arviz`. BadInput for
        weighted points, which ArviZ has no place for.
        """
        if self.log_weights is not None:
            raise BadInput("these points have weights, and ArviZ takes chains; hand it found.resampled(n)")
        stats = {name: self.stats.get(name) for name in ("log_prob", "energy", "divergent", "leaps")}
        return to_arviz(self.chains, problem=self.problem, accepted=self.stats.get("probability"), **stats)

    def frames(self) -> Iterator[Frame]:
        """The way there, to be played: what was recorded, or else the chains move by move."""
        if self.history:
            yield from self.history
            return
        accepted = self.stats.get("accepted")
        for k in range(self.chains.shape[1]):
            yield Frame(float(k), self.chains[:, k], accepted=None if accepted is None else accepted[:, k].bool())

    def as_json(self) -> dict[str, Any]:
        """What `driftback draw --json` prints of it."""
        d = self.diagnostics
        return {
            "method": self.method,
            "n": int(self.chains.shape[0] * self.chains.shape[1]),
            "chains": 0 if self.log_weights is not None else int(self.chains.shape[0]),
            "ess": self.ess,
            "shape": list(self.problem.event_shape),
            "log_z": self.log_z,
            "log_z_error": self.log_z_error,
            "density_evaluations": self.density_evaluations,
            "gradient_evaluations": self.gradient_evaluations,
            "seconds": round(self.seconds, 3),
            "complete": self.complete,
            "diagnostics": d.as_json(),
            "notes": list(self.notes),
        }


def as_asked(draws: Draws) -> Draws:
    """Draws as they were asked for: those that were moved without bounds within these, single numbers, which were moved
    as vectors of one coordinate, as numbers again; others as they are.
    """
    target = draws.problem.target
    if isinstance(target, Bounded):
        flat = draws.chains.reshape(-1, *target.event_shape)
        stats = dict(draws.stats)
        if "log_prob" in stats:
            stats["log_prob"] = stats["log_prob"] - target.log_volume(flat).reshape(stats["log_prob"].shape)
        history = tuple(replace(frame, x=target.outward(frame.x)) for frame in draws.history)
        chains = target.outward(flat).reshape(draws.chains.shape)
        draws = replace(draws, problem=target.of, chains=chains, stats=stats, history=history)
    target = draws.problem.target
    if not isinstance(target, AsVector):
        return draws
    history = tuple(replace(frame, x=frame.x[..., 0]) for frame in draws.history)
    return replace(draws, problem=target.of, chains=draws.chains[..., 0], history=history)
