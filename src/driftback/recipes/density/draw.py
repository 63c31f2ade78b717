"""`draw`: a density in, samples out. The target is tried out, the kernel tuned, and then all chains move at once.

What was drawn before a mistake, or before Ctrl-C, is kept and handed back.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from driftback.arguments import near, whole
from driftback.distributions.target import Problem
from driftback.errors import BadInput
from driftback.randomness import Rng
from driftback.recipes.density import kept
from driftback.recipes.density.asked import begin, dtype_of, folder_of, idle, method_for
from driftback.recipes.density.draws import Draws, as_asked
from driftback.recipes.density.fitted import source_of
from driftback.recipes.density.function import gradient_of
from driftback.recipes.density.methods import METHODS, Options, checked
from driftback.recipes.density.populations import POPULATIONS, Asked, drawn
from driftback.recipes.density.problem import problem_of, starts
from driftback.recipes.density.tried import described, given_by, same, tried
from driftback.recipes.devices import device_named
from driftback.samplers.markov import Energy, Kernel, Move, Noise, State, Warmup, moves
from driftback.samplers.markov.energy import BadDensity
from driftback.samplers.markov.tempering import Tempering, log_z

CHAINS, DRAWS = 16, 4000
EVERY = 30.0
"""Seconds between two savings of a long run."""
LEAST, MOST = 150, 1000
"""Moves of the warm-up: 1,000 / sqrt(chains), but no fewer and no more."""
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
        one = self.problem.event_shape
        self.x = torch.empty((self.chains, self.draws, *one), dtype=self.dtype, device=self.device)

    def go(self, progress: Progress | None = None) -> None:
        """Warm up, unless that was done, and draw to the end. Saves now and then where there is a folder."""
        began = saved_at = time.monotonic()
        rng, before = Rng(self.seed), self.seconds
        made = METHODS[self.method].make(self.problem, self.energy, self.options)
        saved = None if self.folder is None else kept.read_run(self.folder)
        try:
            if saved is None:
                self._warm(made, rng, progress)
            else:
                self._restore(made, saved)
            noise = self._noise(rng.child("draws")).at(self.done * self.thin)
            left = (self.draws - self.done) * self.thin
            for k, (state, move) in enumerate(moves(self.kernel, self.state, noise, left), 1):
                if k % self.thin:
                    continue
                self._keep(state, move)
                if self.budget is not None and self.energy.densities >= self.budget:
                    break
                self.seconds = before + time.monotonic() - began
                if progress:
                    progress(self.done, self.draws, "draws")
                if self.folder is not None and time.monotonic() - saved_at > EVERY:
                    self.save()
                    saved_at = time.monotonic()
            self.complete = True
        finally:
            self.seconds = before + time.monotonic() - began
            if self.folder is not None and self.done:
                self.save()

    def _noise(self, rng: Rng) -> Noise:
        return Noise(rng, self.chains, self.dtype, self.device)

    def _warm(self, kernel: Kernel, rng: Rng, progress: Progress | None) -> None:
        x = starts(self.problem, self.chains, self.start, rng, self.dtype, self.energy).to(self.device)
        described(self.problem, x)
        if self.check:
            tried(self.problem, x, rng, self.gradient or given_by(self.problem))
        self.kernel, self.state = kernel, kernel.begin(x)
        plan = Warmup(max(20, self.warmup), pooled=self.options.pooled, dense=self.options.dense)
        if self.warmup:
            noise = self._noise(rng.child("warmup"))
            for k, (tuned, state, _) in enumerate(plan(kernel, self.state, noise)):
                self.kernel, self.state = tuned, state
                if progress:
                    progress(k + 1, plan.moves, "warm-up")
                if self.budget is not None and self.energy.densities >= self.budget / 2:
                    break
        self.warmed = self.energy.densities

    def _restore(self, kernel: Any, saved: kept.Saved) -> None:
        done = saved.chains.shape[1]
        self.x[:, :done] = saved.chains.to(self.x)
        for name, one in saved.stats.items():
            self._stat(name, one, one.shape[2:])[:, :done] = one.to(self.device)
        self.kernel = kept.retuned(kernel, saved.kernel)
        begun = self.kernel.begin(saved.x.to(self.x))
        same(begun.log_prob, saved.state.get("log_prob"), saved.x)
        self.state = kept.filled(begun, saved.state)
        self.energy.densities, self.energy.gradients = int(saved.counts["densities"]), int(saved.counts["gradients"])
        self.warmed, self.seconds = int(saved.counts["warmed"]), float(saved.counts["seconds"])
        self.done = done  # only now is there something to save

    def _stat(self, name: str, like: Tensor, event: Sequence[int]) -> Tensor:
        if name not in self.stats:
            self.stats[name] = torch.zeros((self.chains, self.draws, *event), dtype=like.dtype, device=self.device)
        return self.stats[name]

    def _keep(self, state: State, move: Move) -> None:
        self.state, self.x[:, self.done] = state, state.x
        for name, value in (vars(move) | {"log_prob": state.log_prob}).items():
            if value is not None:
                self._stat(name, value, value.shape[1:])[:, self.done] = value
        self.done += 1

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


def draw(
    target: Any,
    n: int = DRAWS,
    *,
    method: str = "nuts",
    shape: int | Sequence[int] | None = None,
    chains: int = CHAINS,
    warmup: int | None = None,
    thin: int = 1,
    seed: int = 0,
    start: Any = None,
    gradient: Callable[[Tensor], Tensor] | None = None,
    single: bool = False,
    scale: float | None = None,
    source: Any = None,
    check: bool = True,
    device: str | None = None,
    dtype: str | torch.dtype = "float64",
    out: str | Path | None = None,
    resume: bool = False,
    progress: Progress | None = None,
    **options: Any,
) -> Draws:
    """Draw `n` points or a few more (whole draws of all chains) from a density known up to a constant.

    `target` is a name (`driftback draw` lists them), a Python file, a model's folder, an object with `log_prob` and
    `event_shape`, or a function log_prob of points (n, *shape) -> (n,) in nats, in torch; with `single` of one point.
    Gradients are taken by torch, or given. `start` is one point or one per chain. `warmup` moves tune the step and the
    shape and are thrown away; `thin` keeps every so many-th move. With a folder as `out` the run is saved now and then,
    and `resume` goes on with it, to the same draws. Ctrl-C hands back what there is (`complete` is False). `scale` is
    how far from 0 the mass lies: there chains begin, and from a normal law as wide populations (smc, ais) are led.
    `source` is what refined proposes from: a fitted model, or anything with `sample` and `log_prob`. Further `options`
    are those of the method.

    Raises BadInput in one line for a density that cannot be used: where, in which chain. The draws before it are the
    error's `draws`.
    """
    problem = problem_of(target, shape=shape, single=single, scale=scale)
    whole(n, "n", 1), whole(chains, "chains", 1), whole(thin, "thin", 1), whole(seed, "seed")
    of = method_for(problem, method)
    for name in set(options) - set(of.options):
        meant = near(name, (*of.options, *ARGUMENTS)).partition(";")[0]
        raise BadInput(f"{method} has no option {name}{meant}; it takes {', '.join(of.options) or 'none'}")
    given, rng, kind = checked(method, of.options, options), Rng(seed), dtype_of(dtype)
    if gradient is not None:
        gradient = gradient_of(problem, gradient, single)
    if source is not None and method != "refined":
        raise BadInput(f"{method} proposes from no source; leave it out, or take the method refined")
    if method in POPULATIONS:
        if out is not None:
            raise BadInput(f"{method} is one population and no run of chains: it cannot be resumed; write the result")
        if check:
            x = starts(problem, 8, None, rng, torch.float64, Energy(problem.target))
            described(problem, x)
            tried(problem, x, rng, gradient or given_by(problem))
        population = Asked(problem, n, given, rng.child(method), gradient, source_of(source))
        found = as_asked(drawn(method, population, progress))
        return found.noted(*idle(method, start, warmup, thin > 1, chains != CHAINS, kind != torch.float64, device))
    if warmup is None:
        warmup = min(MOST, max(LEAST, round(1000 / chains**0.5)))
    folder = folder_of(out, resume)
    run = Run(
        problem,
        method,
        given,
        chains,
        -(-n // chains),
        whole(warmup, "warmup", 0),
        thin,
        int(seed),
        kind,
        device_named(device or "cpu"),
        gradient,
        start,
        check,
        folder,
    )
    if folder is not None:
        begin(folder, run, resume)
    try:
        run.go(progress)
    except KeyboardInterrupt:
        if not run.done:
            raise
    except BadDensity as error:
        error.draws = run.result() if run.done else None
        raise
    return run.result()


ARGUMENTS = tuple(name for name in signature(draw).parameters if name != "options")
