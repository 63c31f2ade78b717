"""Tempered sequential Monte Carlo: a swarm of particles is led from a reference to a target by weights, copied where
these are large, and moved by a kernel that the swarm itself tunes.

w_i <- w_i e^((b' - b) u_i), u = log p - log p_0, before the moves at b' (Del Moral, Doucet and Jasra 2006, Journal of
the Royal Statistical Society B 68(3), equation 31); copies are made where (sum w)^2 / sum w^2 falls below a share of n.

The error of log Z comes from one run, by genealogy: with S_e the share of the weight that descends from particle e of
the start, its variance is sum S_e^2 - 1 / n less what copying with nothing at stake would have added (Lee and Whiteley
2018, arXiv 1509.00394, whose factor (n / (n - 1))^r for r multinomial copyings is, for systematic ones, the
rounding of `resampling.rounding`: of whole families' shares, since copies stay in order, so that a family lies in one
stretch). Several islands that share nothing but their tuning give it as the spread of their Z.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from driftback.errors import BadInput
from driftback.randomness import Rng, as_rng
from driftback.samplers.frame import Frame
from driftback.samplers.markov import ladder, resampling, weights
from driftback.samplers.markov.energy import Energy
from driftback.samplers.markov.exchange import exchange
from driftback.samplers.markov.metric import Metric
from driftback.samplers.markov.noise import Noise
from driftback.samplers.markov.path import Path
from driftback.samplers.markov.state import Move, State, looks
from driftback.samplers.markov.swarm import Fisher, Shaping, Spread
from driftback.samplers.markov.warmup import Shaped

PILOT, LEAST, ROUGH = 0.05, 100, 0.5
"""The pilot's share of the particles, how many it has at least, and the share that its steps keep."""
RATE = 1.0
"""How strongly the logarithm of the step follows the acceptance."""


@dataclass(frozen=True)
class Swarm(Frame):
    """Particles at b = 1 - t. `error` is the standard error of log Z, `k_hat` the worst of the weights so far.

    `length` is that of the last step, `step` the kernel's next one, `acceptance` the mean of the last moves.
    """

    error: float = 0.0
    k_hat: float = -math.inf
    copied: bool = False
    length: float = 0.0
    step: float = math.nan
    acceptance: float = math.nan

    @property
    def normaliser(self) -> weights.Normaliser:
        """log Z of p_b, and whether to believe it."""
        if self.log_weights is None:
            raise BadInput("this swarm has no weights; take it from SMC")
        return replace(weights.normaliser(self.log_weights, self.error), k_hat=self.k_hat)


@dataclass(frozen=True, eq=False)
class SMC:
    """Particles along `path`, with so many `moves` of `kernel(energy)` at each rung.

    The next rung keeps the share `keep`, unless `betas` (from 0 to 1) are given. Copies are made where the effective
    size falls below `below` of n; with `swaps`, at every rung, and particles then exchange coordinates, for one more
    evaluation each. The metric is `shaping` of the particles, by default Fisher's where the kernel has gradients;
    each particle's step is the common one times e^(`jitter` z). Particles interact: item i depends on n.

    Genealogies know nothing of swaps: with these and one island log Z is best and its error is NaN; four islands or
    more tell it. BadInput for numbers out of range.
    """

    path: Path
    kernel: Callable[[Energy], Shaped]
    moves: int = 1
    keep: float = 0.9
    below: float = 0.5
    betas: Tensor | None = None
    swaps: bool = False
    islands: int = 1
    shaping: Shaping | None = None
    jitter: float = 0.0

    def __post_init__(self) -> None:
        if self.moves < 1 or not 0 < self.keep < 1 or not 0 <= self.below <= 1 or self.islands < 1:
            raise BadInput("SMC takes 1 move or more, 0 < keep < 1, 0 <= below <= 1 and 1 island or more")
        if self.betas is not None:
            ladder.checked(self.betas)

    def __call__(self, n: int, *, evaluations: int | None = None, rng: Rng | int | None = None) -> Iterator[Swarm]:
        """Yield `n` particles at every rung, the first being the reference's own draws; the last is weighted for p.

        `evaluations` per particle, where given, choose the rungs: a pilot of n / 20 or more particles, paid from them,
        measures the path. BadInput where they do not suffice, or `n` is no multiple of the islands.
        """
        rng = as_rng(rng)
        if n < 2 * self.islands or n % self.islands:
            raise BadInput(f"{n} particles cannot be shared by {self.islands} islands; give a multiple, at least twice")
        if evaluations is None:
            yield from _run(self, n, rng, 0)
            return
        planned, spent = self._planned(n, evaluations, rng.child("pilot"))
        yield from _run(planned, n, rng, spent)

    def _planned(self, n: int, evaluations: int, rng: Rng) -> tuple[SMC, int]:
        """The same with the rungs that so many `evaluations` per particle pay for, and how many were spent."""
        few = -(-max(LEAST, round(PILOT * n)) // self.islands) * self.islands
        before = self.path.energy.densities
        pilot = list(_run(replace(self, keep=ROUGH, betas=None), few, rng, 0))
        spent = self.path.energy.densities - before
        each = (spent / few - 1) / (len(pilot) - 1)
        rungs = math.floor((evaluations - 1 - spent / n) / each)
        if rungs < 2:
            raise BadInput(f"{evaluations} evaluations per particle do not pay for 2 rungs of {each:.0f}; give more")
        betas = ladder.equal_lengths([1 - frame.t for frame in pilot], [frame.length for frame in pilot[1:]], rungs)
        return replace(self, betas=betas), spent


class _Genealogy:
    """Which particle of the start each one descends from, and what copying alone has added to the squared shares."""

    def __init__(self, n: int, islands: int, mixed: bool, device: torch.device) -> None:
        self.islands, self.each, self.mixed = islands, n // islands, mixed
        self.eve, self.rounded = torch.arange(n, device=device), 0.0

    def copied(self, log_weights: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
        """Which particle each copy is of, island by island, and the log-weights afterwards: the island's mean."""
        each, rows, levels = self.each, [], []
        for island, own in enumerate(log_weights.reshape(self.islands, each)):
            empty = bool((own == -torch.inf).all())
            shares = torch.full_like(own, 1 / each) if empty else own.softmax(0)
            rows.append(island * each + resampling.systematic(shares, each, rng=rng.child("island", island)))
            levels.append(weights.log_mean(own).expand(each))
        if self.islands == 1:
            self.rounded += resampling.rounding(self._shares(log_weights), each)
        chosen = torch.cat(rows)
        self.eve = self.eve[chosen]
        return chosen, torch.cat(levels)

    @property
    def families(self) -> Tensor:
        """Which particles are kin, (n,): those of one ancestor or, where coordinates were swapped, of one island."""
        return torch.arange(len(self.eve), device=self.eve.device) // self.each if self.mixed else self.eve

    def error(self, log_weights: Tensor) -> float:
        """The standard error of log Z."""
        if self.islands == 1 and self.mixed:
            return math.nan
        if self.islands > 1:
            return weights.spread(log_weights.reshape(self.islands, -1).logsumexp(1))
        squares = float(self._shares(log_weights).square().sum())
        return math.sqrt(max(0.0, squares - 1 / len(log_weights) - self.rounded))

    def _shares(self, log_weights: Tensor) -> Tensor:
        """The share of the weight that each particle of the start has handed down, (n,)."""
        shares = log_weights.softmax(0)
        return torch.zeros_like(shares).index_add(0, self.eve, shares)


@torch.no_grad()
def _run(smc: SMC, n: int, rng: Rng, spent: int) -> Iterator[Swarm]:
    path, x = smc.path, smc.path.reference.sample(n, rng=rng.child("start"))
    noise, before = Noise(rng.child("moves"), n, x.dtype, x.device), path.energy.densities - spent
    kernel = smc.kernel(path.at(1.0))
    sloped = looks(kernel)
    shaping = smc.shaping or (Fisher() if sloped else Spread())
    state, now, step = path.at(1.0).state(x, sloped=sloped), 1.0, kernel.step.double()
    log_weights, family = (
        torch.zeros(n, dtype=torch.float64, device=x.device),
        _Genealogy(n, smc.islands, smc.swaps, x.device),
    )
    beta, rung, k_hat, given = 0.0, 0, -math.inf, None if smc.betas is None else ladder.checked(smc.betas)
    yield Swarm(1.0, x, 1 + -(-spent // n), log_weights=log_weights)
    while beta < 1:
        state, now = path.legible(state, now)
        gain = path.gain(state, now).double()
        weights.checked(log_weights + gain)
        new = ladder.next_rung(beta, gain, log_weights, smc.keep) if given is None else given[rung + 1]
        length = ladder.length(ladder.kept(new - beta, gain, log_weights))
        log_weights = weights.checked(log_weights + (new - beta) * gain)
        state, now = path.shifted(state, now, new), new
        copied = smc.swaps or weights.effective(log_weights) < smc.below * n
        if copied or new == 1:
            k_hat = max(k_hat, weights.k_hat(log_weights))
        if copied:
            rows, log_weights = family.copied(log_weights, rng.child("copies", rung))
            state = state.rows(rows)
        if smc.swaps:
            state = exchange(path.at(new), state, rng.child("swaps", rung), smc.islands)[0]
        shares = log_weights.softmax(0)
        tuned, acceptance = smc.kernel(path.at(new)), math.nan
        metric = shaping(state, shares)
        for move in range(smc.moves):
            key = noise.at(rung * smc.moves + move)
            state, happened = _moved(tuned, step, metric, state, key, smc.jitter)
            acceptance = float(shares @ happened.probability.nan_to_num(nan=0.0).double())
            step = step * math.exp(RATE * (acceptance - tuned.aim))
        beta, rung = new, rung + 1
        used, error = -(-(path.energy.densities - before) // n), family.error(log_weights)
        at = (1 - beta, state.x, used, None, log_weights, family.families, error, k_hat, copied, length)
        yield Swarm(*at, step=float(step.mean()), acceptance=acceptance)


def _moved(
    kernel: Shaped, step: Tensor, metric: Metric, state: State, noise: Noise, jitter: float
) -> tuple[State, Move]:
    """One move, with a step of each particle's own where `jitter` is not 0; untuned steps may meet a NaN."""
    own = step if jitter == 0 else step * (jitter * noise.normal("step").double()).exp()
    energy: Energy = kernel.energy  # type: ignore[attr-defined]  # all kernels with a metric have one
    before, energy.lenient = energy.lenient, True
    try:
        return kernel.tuned(own.to(state.x), metric)(state, noise)
    finally:
        energy.lenient = before
