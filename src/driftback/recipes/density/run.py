"""A run of chains: the target is tried out, the kernel tuned, and then all chains move at once; saved now and then.

What was drawn before a mistake, or before Ctrl-C, stays, and a run that was saved goes on to the same draws.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from driftback.distributions.target import Problem
from driftback.randomness import Rng
from driftback.recipes.density import kept
from driftback.recipes.density.asked import lengthened
from driftback.recipes.density.draws import Draws, as_asked
from driftback.recipes.density.methods import METHODS, Options
from driftback.recipes.density.problem import starts
from driftback.recipes.density.tried import described, given_by, same, tried
from driftback.samplers.markov import Energy, Kernel, Move, Noise, State, Warmup, moves
from driftback.samplers.markov.tempering import Tempering, log_z

EVERY = 30.0
"""Seconds between two savings of a long run."""
Progress = Callable[[int, int, str], None]


@dataclass
class Run:
    """Chains of one method on one problem, as far as they have come."""

    problem: Problem
    method: str
    options: Options
    chains: int
    draws: int
    """Draws per chain."""
    warmup: int
    thin: int = 1
    seed: int = 0
    dtype: torch.dtype = torch.float64
    device: torch.device | str = "cpu"
    gradient: Callable[[Tensor], Tensor] | None = None
    start: Any = None
    check: bool = True
    folder: Path | None = None
    budget: int | None = None
    """Evaluations of the density, over all chains, after which it stops; half of them at most to warm up."""
    done: int = 0
    complete: bool = False
    seconds: float = 0.0
    warmed: int = 0
    energy: Energy = field(init=False)
    kernel: Kernel = field(init=False)
    state: State = field(init=False)
    x: Tensor = field(init=False)
    stats: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.energy = Energy(self.problem.target, self.gradient)
        self.kernel = METHODS[self.method].make(self.problem, self.energy, self.options)
        one = self.problem.event_shape
        self.x = torch.empty((self.chains, self.draws, *one), dtype=self.dtype, device=self.device)

    def go(self, progress: Progress | None = None) -> None:
        """Warm up, unless that was done, and draw to the end. Saves now and then where there is a folder."""
        began = time.monotonic()
        rng, before, due = Rng(self.seed), self.seconds, began + EVERY
        saved = None if self.folder is None else kept.read_run(self.folder)
        try:
            if saved is None:
                self._warm(rng, progress)
            else:
                self._restore(saved)
            if self.folder is not None:
                lengthened(self.folder, self)
            noise = self._noise(rng.child("draws")).at(self.done * self.thin)
            left, lost = (self.draws - self.done) * self.thin, None
            for k, (state, move) in enumerate(moves(self.kernel, self.state, noise, left), 1):
                if move.divergent is not None:
                    lost = move.divergent if lost is None else lost | move.divergent
                if k % self.thin:
                    continue
                # A divergence is told even where its move is not kept.
                self._keep(state, replace(move, divergent=lost))
                lost = None
                if self.budget is not None and self.energy.densities >= self.budget:
                    break
                self.seconds = before + time.monotonic() - began
                if progress:
                    progress(self.done, self.draws, "draws")
                if self.folder is not None and (now := time.monotonic()) > due:
                    self.save()
                    # All is written each time, and it grows: no more than a tenth of the time goes into that.
                    spent = time.monotonic() - now
                    due = now + spent + max(EVERY, 9 * spent)
            self.complete = True
        finally:
            self.seconds = before + time.monotonic() - began
            if self.folder is not None and self.done:
                self.save()

    def _noise(self, rng: Rng) -> Noise:
        return Noise(rng, self.chains, self.dtype, self.device)

    def _warm(self, rng: Rng, progress: Progress | None) -> None:
        x = starts(self.problem, self.chains, self.start, rng, self.dtype, self.energy).to(self.device)
        described(self.problem, x)
        if self.check:
            tried(self.problem, x, rng, self.gradient or given_by(self.problem))
        self.state = self.kernel.begin(x)
        plan = Warmup(max(20, self.warmup), pooled=self.options.pooled, dense=self.options.dense)
        if self.warmup:
            noise = self._noise(rng.child("warmup"))
            for k, (tuned, state, _) in enumerate(plan(self.kernel, self.state, noise)):
                self.kernel, self.state = tuned, state
                if progress:
                    progress(k + 1, plan.moves, "warm-up")
                if self.budget is not None and self.energy.densities >= self.budget / 2:
                    break
        self.warmed = self.energy.densities

    def _restore(self, saved: kept.Saved) -> None:
        done = saved.chains.shape[1]
        self.x[:, :done] = saved.chains.to(self.x)
        for name, one in saved.stats.items():
            self._stat(name, one, one.shape[2:])[:, :done] = one.to(self.device)
        self.kernel = kept.retuned(self.kernel, saved.kernel)
        begun = self.kernel.begin(saved.x.to(self.x))
        same(begun.log_prob, saved.state.get("log_prob"), saved.x)
        self.state = kept.filled(begun, saved.state)
        self.energy.densities, self.energy.gradients = int(saved.counts["densities"]), int(saved.counts["gradients"])
        self.warmed, self.seconds = int(saved.counts["warmed"]), float(saved.counts["seconds"])
        # Last of all: what was not restored is not to be saved.
        self.done = done

    def _stat(self, name: str, like: Tensor, event: Sequence[int]) -> Tensor:
        if name not in self.stats:
            self.stats[name] = torch.zeros((self.chains, self.draws, *event), dtype=like.dtype, device=self.device)
        return self.stats[name]

    def _keep(self, state: State, move: Move) -> None:
        self.x[:, self.done] = state.x
        for name, value in (vars(move) | {"log_prob": state.log_prob}).items():
            if value is not None:
                self._stat(name, value, value.shape[1:])[:, self.done] = value
        # Both at once: stopped between them, a run would go on to other draws.
        self.state, self.done = state, self.done + 1

    def save(self) -> None:
        """Keep what there is in the folder."""
        assert self.folder is not None
        counts = {
            "densities": self.energy.densities,
            "gradients": self.energy.gradients,
            "warmed": self.warmed,
            "seconds": self.seconds,
        }
        stats = {name: one[:, : self.done] for name, one in self.stats.items()}
        saved = kept.Saved(
            self.x[:, : self.done], stats, self.state.x, kept.tensors(self.state), kept.tunables(self.kernel), counts
        )
        kept.write_run(self.folder, saved)

    def result(self) -> Draws:
        """The draws so far."""
        notes = []
        if self.energy.odd:
            notes.append(f"log_prob was NaN at {self.energy.odd} points of the warm-up, which counted as outside")
        z = error = None
        if isinstance(self.kernel, Tempering) and self.done * self.chains > 1:
            z, error = log_z(self.stats["ratios"][:, : self.done].transpose(0, 1), self.kernel.betas)
        found = Draws(
            self.problem,
            self.method,
            self.x[:, : self.done],
            log_z=z,
            log_z_error=error,
            density_evaluations=self.energy.densities,
            gradient_evaluations=self.energy.gradients,
            warmup_evaluations=self.warmed,
            seconds=self.seconds,
            stats={name: one[:, : self.done] for name, one in self.stats.items()},
            notes=tuple(notes),
            complete=self.complete,
        )
        return as_asked(found)
