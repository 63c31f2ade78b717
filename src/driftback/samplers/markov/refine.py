"""Draws of something learned, made exact: weights for what it got wrong, copies by weight, then moves on the target.

w = p(x) / q(x) for x ~ q, a flow or a diffusion whose log-density is known, so Z = E[w], and a mean under p is one
under q with weights w. Copies in proportion to w have the law p as n grows, and Metropolis moves with Langevin's
proposal, which leave p invariant, part the copies of one draw and mend what q left thin (resample-move: Gilks and
Berzuini 2001, Journal of the Royal Statistical Society B 63(1)).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from driftback.distributions.target import Target
from driftback.errors import BadInput
from driftback.randomness import Rng, as_rng
from driftback.samplers.frame import Frame
from driftback.samplers.markov import resampling, weights
from driftback.samplers.markov.energy import Energy, Gradient
from driftback.samplers.markov.metropolis import Drawn, Langevin, Metropolis
from driftback.samplers.markov.noise import Noise
from driftback.samplers.markov.state import looks
from driftback.samplers.markov.swarm import Fisher, Shaping
from driftback.samplers.markov.warmup import Shaped

FISHER = Fisher()
RATE = 1.0
"""How strongly the logarithm of the step follows the acceptance in the first half of the moves."""


def langevin(energy: Energy) -> Shaped:
    """MALA, its step in the metric of the draws."""
    return Metropolis(energy, Langevin(torch.ones((), dtype=torch.float64)))


@dataclass(frozen=True, eq=False)
class Refined:
    """Draws of `source`, refined to `target` by so many `moves` of `kernel(energy)`.

    Its step is tuned in the first half of the moves and its metric is `shaping` of the weighted draws. The target's
    `gradient` may be handed in.
    """

    source: Drawn
    target: Target
    moves: int = 20
    kernel: Callable[[Energy], Shaped] = langevin
    shaping: Shaping = FISHER
    gradient: Gradient | None = None

    def __post_init__(self) -> None:
        if self.moves < 0:
            raise BadInput(f"{self.moves} moves cannot be made; give 0 or more")

    @torch.no_grad()
    def __call__(self, n: int, *, rng: Rng | int | None = None) -> Iterator[Frame]:
        """Yield `n` draws with log-weights (t = 1), their copies, and these after each move (t = 0).

        `weights.normaliser` of any frame's log-weights has log Z, but only of the first one's its error and k-hat.
        Copies interact: item i depends on n. BadInput where all draws have weight 0.
        """
        rng = as_rng(rng)
        energy, x = Energy(self.target, self.gradient), self.source.sample(n, rng=rng.child("start"))
        kernel = self.kernel(energy)
        sloped = looks(kernel)
        state = energy.state(x, sloped=sloped)
        log_weights = weights.checked(state.log_prob.double() - self.source.log_prob(x).double())
        yield Frame(1.0, x, 1, log_weights=log_weights)
        shares = log_weights.softmax(0)
        metric, step = self.shaping(state, shares), kernel.step.double()
        families = resampling.systematic(shares, n, rng=rng.child("copies"))
        state, level = state.rows(families), weights.log_mean(log_weights).expand(n)
        yield Frame(0.0, state.x, 1, None, level, families)
        noise = Noise(rng.child("moves"), n, x.dtype, x.device)
        for move in range(self.moves):
            energy.lenient = True
            state, happened = kernel.tuned(step.to(x), metric)(state, noise.at(move))
            energy.lenient = False
            if move < self.moves // 2:
                step = step * math.exp(RATE * (float(happened.probability.nan_to_num(nan=0.0).mean()) - kernel.aim))
            yield Frame(0.0, state.x, -(-energy.densities // n), happened.accepted, level, families)
