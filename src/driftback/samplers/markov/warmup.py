"""Before the draws count: find a step and the target's shape, then leave both alone, or the law would not be kept.

The step follows dual averaging towards the kernel's best acceptance (Hoffman and Gelman 2014, arXiv 1111.4246, equation
6): log step_(k+1) = mu - sqrt(k) / gamma * mean of (aim - acceptance), averaged with weights k^-kappa. The shape is
estimated in windows, each twice as long as the one before, between a first part that only finds the way in and a last
one that only tunes the step (Stan's reference manual, 'HMC algorithm parameters'). All chains together give one shape
and one step, or each its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from driftback.errors import BadInput
from driftback.samplers.markov.metric import Dense, Diagonal, Metric
from driftback.samplers.markov.noise import Noise
from driftback.samplers.markov.state import Kernel, Move, State, Tunable

GAMMA, FIRST, KAPPA = 0.05, 10.0, 0.75
"""How strongly, how stably from the beginning, and how forgetfully dual averaging follows (the paper's)."""
WINDOW, OPENING, CLOSING = 25, (0.15, 75), (0.1, 50)
"""The first window's length; the shares of the parts before and after, and their most moves (75 and 50 are Stan's)."""
EARLY = 6
"""The depth of trees before anything is known of the target's shape: 63 leapfrogs find the way in as well as 1,023."""
HIGHER = 10.0
"""A search begins at a step so much longer: long steps are cheaper to try (the paper's)."""
MANY = 16
"""As many chains or more that are pooled see in a few moves what one sees in many. For these:"""
SOON, MANY_CLOSING, MANY_EARLY, MANY_HIGHER = 10, (0.2, 50), 4, 2.0
"""The first part and the first window in moves, and the other numbers: their acceptance is known with little noise, so
the search need not begin far off, and a few moves at a wrong step would be a large share of all.
"""
TRIALS = 50
HOPELESS, REFUSED = 0.05, 3
"""A trajectory below this acceptance is hopeless; after so many in a row the chain's steps are halved."""


class Shaped(Tunable, Protocol):
    """A kernel whose steps have a metric."""

    @property
    def metric(self) -> Metric:
        """In which its steps are."""
        ...

    def tuned(self, step: Tensor, metric: Metric | None = None) -> Shaped:
        """The same with another step and another metric."""
        ...


@dataclass(frozen=True)
class Warmup:
    """How a kernel is tuned in `moves` moves: `pooled` over all chains or each for itself, `dense` shape or diagonal.

    BadInput for fewer than 20 moves.
    """

    moves: int = 500
    pooled: bool = True
    dense: bool = False
    shaped: bool = True
    """Whether the kernel's metric is tuned too."""

    def __post_init__(self) -> None:
        if self.moves < 20:
            raise BadInput(f"{self.moves} moves tune nothing; give 20 or more")

    def many(self, chains: int) -> bool:
        """Whether so many chains are tuned together, and many."""
        return self.pooled and chains >= MANY

    def windows(self, chains: int = 1) -> tuple[int, list[int]]:
        """The move at which the first window begins, and those after which each one ends."""
        many = self.many(chains)
        parts = (OPENING, MANY_CLOSING if many else CLOSING)
        begin, closing = (min(round(share * self.moves), most) for share, most in parts)
        end = self.moves - closing
        begin = min(begin, SOON) if many else begin
        ends, at, length = [], begin, min(SOON if many else WINDOW, end - begin)
        while at + length <= end:
            # A next window that would not fit is joined to this one.
            at = at + length if at + 3 * length <= end else end
            ends.append(at)
            length *= 2
        return begin, ends or [end]

    @torch.no_grad()
    def __call__(self, kernel: Kernel, state: State, noise: Noise) -> Iterator[tuple[Kernel, State, Move]]:
        """Move `state` and yield, after each move, the kernel as tuned so far; the last one is the one to keep.

        A kernel that has a way of its own to be tuned (microcanonical, tempering) takes it.
        """
        if hasattr(kernel, "warm"):
            lenient = _lenient(kernel, True)
            try:
                yield from kernel.warm(state, noise, self.moves)
            finally:
                _lenient(kernel, lenient)
            return
        if not hasattr(kernel, "tuned") or not getattr(kernel, "stepping", True):
            for k in range(self.moves):
                state, move = kernel(state, noise.at(k))
                yield kernel, state, move
            return
        tuned: Shaped = kernel  # type: ignore[assignment]
        own, lenient = tuned, _lenient(tuned, True)
        many = self.many(noise.n)
        higher = MANY_HIGHER if many else HIGHER
        tuned = tuned.early(MANY_EARLY if many else EARLY) if hasattr(tuned, "early") else tuned
        try:
            tuned = tuned.tuned(first_step(tuned, state, noise, pooled=self.pooled))
            search, (begin, ends), shape = Search.begun(tuned.step, higher), self.windows(noise.n), None
            patience = Patience.none(noise.n, state.log_prob) if self.pooled else None
            for k in range(self.moves):
                state, move = (patience.suited(tuned) if patience else tuned)(state, noise.at(k))
                chance = move.probability.nan_to_num(nan=0.0).double()
                search = search.followed(tuned.aim - (patience.mean(chance) if patience else chance))
                if patience and move.leaps is not None:
                    patience = patience.seen(chance)
                tuned = tuned.tuned(search.now.to(state.log_prob))
                if self.shaped and begin <= k < ends[-1]:
                    seen = state.x.flatten(1).double()
                    shape = (shape or Shape.none(seen, pooled=self.pooled, dense=self.dense)).seen(seen)
                    if k + 1 in ends:
                        tuned = own.tuned(tuned.step, shape.metric(state.log_prob))
                        tuned = tuned.tuned(first_step(tuned, state, noise.at(k + 1), pooled=self.pooled))
                        search, shape = Search.begun(tuned.step, higher), None
                if k + 1 == self.moves:
                    step = search.mean.to(state.log_prob)
                    tuned = own.tuned(step, tuned.metric) if hasattr(tuned, "metric") else own.tuned(step)
                yield tuned, state, move
        finally:
            _lenient(kernel, lenient)


def _lenient(kernel: Kernel, lenient: bool) -> bool:
    """Let NaN pass as minus infinity, or not; what it was before."""
    energy = getattr(kernel, "energy", None)
    if energy is None:
        return False
    before, energy.lenient = energy.lenient, lenient
    return before


def first_step(kernel: Tunable, state: State, noise: Noise, *, pooled: bool) -> Tensor:
    """A step at which one leapfrog, or one proposal, is accepted about as often as the kernel aims at.

    It is doubled or halved until the acceptance crosses half (Hoffman and Gelman 2014, algorithm 4): () or (n,).
    """
    short = kernel.short() if hasattr(kernel, "short") else kernel
    step = kernel.step.double() * (torch.ones((), dtype=torch.float64) if pooled else torch.ones(noise.n).double())
    rising: Tensor | None = None
    going = torch.ones_like(step, dtype=torch.bool)
    for trial in range(TRIALS):
        key = Noise(noise.rng.child("first step", noise.k), noise.n, noise.dtype, noise.device, trial)
        chance = short.tuned(step.to(state.log_prob))(state, key)[1].probability.nan_to_num(nan=0.0).double()
        high = (chance.mean() if pooled else chance) > 0.5
        rising = high if rising is None else rising
        going = going & (high == rising)
        if not bool(going.any()):
            break
        step = torch.where(going, torch.where(rising, 2 * step, step / 2), step)
    return step


@dataclass(frozen=True, eq=False)
class Search:
    """Dual averaging of log steps, () or (n,): the step `now`, and the `mean` that is kept in the end."""

    centre: Tensor
    k: int
    gap: Tensor
    log_step: Tensor
    log_mean: Tensor

    @classmethod
    def begun(cls, step: Tensor, higher: float = HIGHER) -> Search:
        """A search from `step`; it is drawn towards `higher` times it."""
        log = step.double().log()
        return cls(log + math.log(higher), 0, torch.zeros_like(log), log, log)

    def followed(self, gap: Tensor) -> Search:
        """After one more move whose acceptance fell short of the aim by `gap`."""
        k = self.k + 1
        mean = self.gap + (gap - self.gap) / (k + FIRST)
        log_step = self.centre - math.sqrt(k) / GAMMA * mean
        share = k**-KAPPA
        return Search(self.centre, k, mean, log_step, share * log_step + (1 - share) * self.log_mean)

    @property
    def now(self) -> Tensor:
        """The step to take next."""
        return self.log_step.exp()

    @property
    def mean(self) -> Tensor:
        """The step to keep."""
        return self.log_mean.exp()


@dataclass(frozen=True, eq=False)
class Patience:
    """Chains that cannot move at the step that suits the others, as near a wall: in the warm-up theirs are shorter.

    `refused` (n,) is how often in a row a chain's trajectory was hopeless, `share` (n,) what it takes of the step.
    """

    refused: Tensor
    share: Tensor

    @classmethod
    def none(cls, n: int, like: Tensor) -> Patience:
        """With all of `n` chains, of the type and on the device of `like`."""
        return cls(torch.zeros(n, dtype=torch.long, device=like.device), torch.ones(n, device=like.device).to(like))

    def suited(self, kernel: Any) -> Any:
        """The kernel with the steps that suit each chain."""
        return kernel if bool((self.share == 1).all()) else kernel.tuned(kernel.step * self.share)

    def mean(self, chance: Tensor) -> Tensor:
        """The mean acceptance of the chains that take the whole step, (); of all where there is none."""
        whole = self.share == 1
        return chance[whole].mean() if bool(whole.any()) else chance.mean()

    def seen(self, chance: Tensor) -> Patience:
        """After one more move of acceptance `chance` (n,)."""
        low = chance < HOPELESS
        refused = torch.where(low, self.refused + 1, 0)
        longer = torch.where(low, self.share, (2 * self.share).clamp(max=1))
        return Patience(refused, torch.where(refused >= REFUSED, self.share / 2, longer))


@dataclass(frozen=True, eq=False)
class Shape:
    """Mean and scatter of the points seen so far: of each chain (n, d), or of all (1, d); dense ones are (., d, d)."""

    count: int
    mean: Tensor
    scatter: Tensor
    pooled: bool
    dense: bool

    @classmethod
    def none(cls, x: Tensor, *, pooled: bool, dense: bool) -> Shape:
        """Nothing seen yet of points like `x` (n, d)."""
        groups, d = 1 if pooled else len(x), x.shape[1]
        return cls(0, x.new_zeros(groups, d), x.new_zeros(groups, *((d, d) if dense else (d,))), pooled, dense)

    def seen(self, x: Tensor) -> Shape:
        """With one more point `x` (n, d) of each chain."""
        points = x[None] if self.pooled else x[:, None]
        added, count = points.shape[1], self.count + points.shape[1]
        mean = points.mean(1)
        apart, off = points - mean[:, None], mean - self.mean
        weight = self.count * added / count
        if self.dense:
            scatter = self.scatter + apart.mT @ apart + weight * off[:, :, None] * off[:, None]
        else:
            scatter = self.scatter + apart.square().sum(1) + weight * off.square()
        return Shape(count, self.mean + off * added / count, scatter, self.pooled, self.dense)

    def metric(self, like: Tensor) -> Metric:
        """The metric of what was seen, drawn a little towards a small round one (Stan's regularisation)."""
        n = self.count
        covariance = self.scatter / max(1, n - 1) * (n / (n + 5))
        small = 1e-3 * 5 / (n + 5)
        if not self.dense:
            scale = (covariance + small).sqrt().to(like)
            return Diagonal(scale[0] if self.pooled else scale)
        eye = torch.eye(covariance.shape[-1], dtype=covariance.dtype, device=covariance.device)
        factor = torch.linalg.cholesky(covariance + small * eye).to(like)
        return Dense(factor[0] if self.pooled else factor)
