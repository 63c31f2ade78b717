"""Parallel tempering: copies at many temperatures, which trade places, so that the cold one hears of distant modes.

Rung r has the law log p_r = (1 - beta_r) log p_0 + beta_r log p, from the reference p_0 (beta = 0, drawn from directly)
to the target (beta = 1). With l = log p - log p_0, rungs r and r + 1 trade places with probability min(1,
exp((beta_(r+1) - beta_r) (l_r - l_(r+1)))) (Swendsen and Wang 1986, Physical Review Letters 57; Geyer 1991, 'Markov
chain Monte Carlo maximum likelihood'), even pairs in even moves and odd ones in odd moves, which carries news along the
ladder rather than letting it diffuse (Syed et al. 2022, Journal of the Royal Statistical Society B 84, arXiv
1905.02939). From rungs at equilibrium, log Z = sum_r log E_r exp((beta_(r+1) - beta_r) l), the stepping stones (Xie et
al. 2011, Systematic Biology 60).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from driftback.errors import BadInput
from driftback.samplers.markov.energy import Energy, told
from driftback.samplers.markov.metric import Diagonal
from driftback.samplers.markov.metropolis import Drawn
from driftback.samplers.markov.noise import Noise
from driftback.samplers.markov.path import Path
from driftback.samplers.markov.state import Kernel, Move, State
from driftback.samplers.markov.tempering_warmup import warm

EIGHT = torch.linspace(0, 1, 8, dtype=torch.float64) ** 2
"""A ladder to begin with, closer to the reference."""
GROUPS = 16
"""Into so many groups at least are ladders and moves divided for the standard error of log Z."""


@dataclass(frozen=True, eq=False)
class Rungs:
    """The points of all m rungs, (n, m, *event), with log p_0 and log p - log p_0 there (n, m), and their gradients.

    `hot` (n, m) tells of the copies that were at the reference after they were last at the target. Nothing here hangs
    on the betas.
    """

    x: Tensor
    reference: Tensor
    ratio: Tensor
    hot: Tensor
    reference_slope: Tensor | None = None
    ratio_slope: Tensor | None = None

    def swapped(self, order: Tensor) -> Rungs:
        """With rung r's point taken from rung `order`[:, r]."""
        rows = torch.arange(len(order), device=order.device)[:, None]
        return Rungs(*(None if part is None else part[rows, order] for part in vars(self).values()))  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False)
class Ladder(State):
    """The cold rungs as a state like any other, with all `rungs` beside."""

    rungs: Rungs | None = None

    def rows(self, rows: Tensor) -> State:
        """The cold rungs of the chains `rows` (m,), without their ladders."""
        return State(self.x, self.log_prob).rows(rows)


@dataclass(frozen=True, eq=False)
class Exchange(Move):
    """What happened to the cold rungs, and on the ladder.

    `chances` (n, m - 1) are the probabilities of the moves of the rungs above the reference; `swaps` (n, m - 1) those
    of the trades of each rung with the next one, NaN where these were not asked this time; `trips` (n,) whether a copy
    came to the target all the way from the reference; `ratios` (n, m) log p - log p_0 before the trades, for log Z.
    """

    chances: Tensor | None = None
    swaps: Tensor | None = None
    trips: Tensor | None = None
    ratios: Tensor | None = None


class LogZ(NamedTuple):
    """An estimate of log Z in nats, and its standard error."""

    value: float
    error: float


@dataclass(frozen=True, eq=False)
class Tempering:
    """n ladders of kernels `make(energy)` at the `betas` (m,), which rise from 0 to 1; the caller's chains are the cold
    ones.

    `reference` is drawn from and scored, normalised if log Z is wanted, and has mass wherever the target has. `steps`
    (m - 1,) and `scales` (m - 1, d) are those of the rungs above it; its warm-up finds these, and betas at which all
    trades are refused alike. BadInput for other betas.
    """

    energy: Energy
    reference: Drawn
    make: Callable[[Energy], Kernel]
    betas: Tensor = EIGHT
    steps: Tensor | None = None
    scales: Tensor | None = None

    def __post_init__(self) -> None:
        betas = self.betas.double()
        if betas.ndim != 1 or len(betas) < 2 or betas[0] != 0 or betas[-1] != 1 or bool((betas.diff() <= 0).any()):
            raise BadInput("a ladder's betas have to rise from 0 to 1; give torch.linspace(0, 1, m) or a finer one")

    @cached_property
    def base(self) -> Energy:
        """The reference for kernels."""
        return Energy(self.reference)

    def kernel(self, n: int) -> Kernel:
        """The kernel that moves the rungs above the reference of `n` ladders, row by row: n (m - 1) rows."""
        path = Path(self.reference, self.energy.target, self.energy.gradient)
        kernel = self.make(path.at(self.betas[1:].double().repeat(n)))
        if self.steps is None:
            return kernel
        metric = () if self.scales is None else (Diagonal(self.scales.repeat(n, 1)),)
        return kernel.tuned(self.steps.repeat(n), *metric)  # type: ignore[attr-defined]

    def begin(self, x: Tensor) -> Ladder:
        """The state of ladders all of whose rungs begin at `x` (n, *event)."""
        self.energy.begin(x, sloped=False)
        self._covered(x)
        m = len(self.betas)
        wide = x[:, None].expand(-1, m - 1, *x.shape[1:]).reshape(-1, *x.shape[1:])
        kernel = self.kernel(len(x))
        state = self._counted(kernel, lambda: kernel.begin(wide))
        if state.carried is not None:
            raise BadInput(
                f"tempering cannot carry what {type(kernel).__name__} keeps between moves; take another kernel"
            )
        above = self._apart(state, len(x))
        hot = torch.zeros(len(x), m, dtype=torch.bool, device=x.device)
        parts = zip(vars(self._first(x, sloped=state.gradient is not None)).values(), vars(above).values(), strict=True)
        both = (None if a is None or b is None else torch.cat([a, b], 1) for a, b in parts)
        return self._cold(replace(Rungs(*both), hot=hot))  # type: ignore[arg-type]

    @torch.no_grad()
    def __call__(self, state: State, noise: Noise) -> tuple[Ladder, Exchange]:
        """Draw at the reference, move all rungs above it, and let neighbours trade places."""
        if not isinstance(state, Ladder) or state.rungs is None:
            raise BadInput("this state has no ladder; let the tempering that uses it begin it")
        rungs, n, m = state.rungs, noise.n, len(self.betas)
        sloped = rungs.ratio_slope is not None
        drawn = self.reference.sample(n, rng=noise.rng.child("reference", noise.k)).to(state.x).reshape(state.x.shape)
        kernel = self.kernel(n)
        inner, move = self._counted(kernel, lambda: kernel(self._joined(rungs), noise.rows("rungs", n * (m - 1))))
        above, first = self._apart(inner, n), self._first(drawn, sloped=sloped)
        parts = zip(vars(first).values(), vars(above).values(), strict=True)
        both = [None if a is None or b is None else torch.cat([a, b], 1) for a, b in parts]
        rungs = replace(Rungs(*both), hot=rungs.hot)  # type: ignore[arg-type]
        ratios = rungs.ratio
        rungs, swaps = self.traded(rungs, noise)
        trips, hot = rungs.hot[:, -1].clone(), rungs.hot.clone()
        hot[:, 0], hot[:, -1] = True, False
        cold: dict[str, Any] = {k: v if v is None else v.reshape(n, m - 1)[:, -1] for k, v in vars(move).items()}
        chances = move.probability.reshape(n, m - 1)
        happened = Exchange(**cold, chances=chances, swaps=swaps, trips=trips, ratios=ratios)
        return self._cold(replace(rungs, hot=hot)), happened

    def traded(self, rungs: Rungs, noise: Noise) -> tuple[Rungs, Tensor]:
        """The rungs after this move's trades, and with what probability (n, m - 1) each pair traded."""
        n, m = rungs.ratio.shape
        log_chance = self.betas.diff().to(rungs.ratio) * (rungs.ratio[:, :-1] - rungs.ratio[:, 1:])
        pairs = torch.arange(m - 1, device=log_chance.device)
        asked = pairs % 2 == noise.k % 2
        chance = torch.where(asked, log_chance.clamp(max=0).exp(), torch.nan)
        low, high = ((noise.uniform("swap", (m - 1,)) < chance) & asked).nonzero(as_tuple=True)
        order = torch.arange(m, device=log_chance.device).repeat(n, 1)
        order[low, high], order[low, high + 1] = high + 1, high
        return rungs.swapped(order), chance

    def warm(self, state: State, noise: Noise, moves: int) -> Iterator[tuple[Tempering, State, Exchange]]:
        """Move, and find the steps, the scales and the ladder; see `tempering_warmup.py`."""
        return warm(self, state, noise, moves)

    def _counted(self, kernel: Kernel, act: Callable[[], State] | Callable[[], tuple[State, Move]]) -> Any:
        """What `act` gives, with its evaluations counted as the target's."""
        inner: Energy = kernel.energy  # type: ignore[attr-defined]
        inner.lenient = self.energy.lenient
        done = act()
        self.energy.densities += inner.densities
        self.energy.gradients += inner.gradients
        self.energy.odd += inner.odd
        return done

    def _joined(self, rungs: Rungs) -> State:
        """The state of the rungs above the reference, n (m - 1) rows, for these betas."""
        betas = self.betas[1:].to(rungs.ratio)
        x, gradient = rungs.x[:, 1:], None
        if rungs.ratio_slope is not None and rungs.reference_slope is not None:
            wide = betas.reshape(-1, *[1] * (x.ndim - 2))
            gradient = (rungs.reference_slope[:, 1:] + wide * rungs.ratio_slope[:, 1:]).flatten(0, 1)
        log_prob = rungs.reference[:, 1:] + betas * rungs.ratio[:, 1:]
        return State(x.flatten(0, 1), log_prob.flatten(), gradient)

    def _apart(self, state: State, n: int) -> Rungs:
        """The rungs above the reference: what they know of the path tells what they know of both its ends."""
        sloped, betas = state.gradient is not None, self.betas[1:].to(state.log_prob)
        base = self.base.state(state.x, sloped=sloped)
        reference, log_prob = base.log_prob.reshape(n, -1), state.log_prob.reshape(n, -1)
        x = state.x.reshape(n, -1, *state.x.shape[1:])
        own = pull = None
        if state.gradient is not None and base.gradient is not None:
            own, wide = base.gradient.reshape(x.shape), betas.reshape(-1, *[1] * (x.ndim - 2))
            pull = (state.gradient.reshape(x.shape) - own) / wide
        return Rungs(
            x, reference, (log_prob - reference) / betas, torch.zeros_like(log_prob, dtype=torch.bool), own, pull
        )

    def _first(self, x: Tensor, *, sloped: bool) -> Rungs:
        """The rung at the reference, (n, 1, ...)."""
        base, target = self.base.state(x, sloped=sloped), self.energy.state(x, sloped=sloped)
        own = pull = None
        if target.gradient is not None and base.gradient is not None:
            own, pull = base.gradient[:, None], (target.gradient - base.gradient)[:, None]
        hot = torch.ones(len(x), 1, dtype=torch.bool, device=x.device)
        return Rungs(x[:, None], base.log_prob[:, None], (target.log_prob - base.log_prob)[:, None], hot, own, pull)

    def _covered(self, x: Tensor) -> None:
        missing = (self.base.value(x) == -torch.inf).nonzero()
        if len(missing):
            row = int(missing[0, 0])
            raise BadInput(f"the reference has no mass in chain {row}, at {told(x[row])}; take a wider one")

    def _cold(self, rungs: Rungs) -> Ladder:
        x = rungs.x[:, -1]
        if bool((rungs.reference[:, -1] == -torch.inf).any()):
            self._covered(x)
        return Ladder(x, rungs.reference[:, -1] + rungs.ratio[:, -1], rungs=rungs)


def log_z(ratios: Tensor, betas: Tensor) -> LogZ:
    """log Z from the `ratios` (moves, n, m) of moves at equilibrium on a ladder with the `betas` (m,).

    It is the integral of exp(log_prob) over that of the reference. The error comes from ladders, or where these are few
    from stretches of moves, that are taken as independent. BadInput below 2 moves or ladders.
    """
    moves, n, _ = ratios.shape
    stretches = min(moves, -(-GROUPS // n))
    length = moves // stretches
    if stretches * n < 2:
        raise BadInput("log Z from one move of one ladder has no error; give more of either")
    exponents = betas.diff().double() * ratios[: stretches * length, :, :-1].double()
    top = exponents.amax((0, 1))
    groups = (exponents - top).exp().reshape(stretches, length, n, -1).mean(1).flatten(0, 1)
    means = groups.mean(0)
    parts = (groups / means).sum(1)
    return LogZ(float((means.log() + top).sum()), float(parts.std() / len(parts) ** 0.5))
