"""Annealed importance sampling: each particle walks alone from a reference to a target, and its weight
remembers the way.

log w = sum over k of (b_k - b_(k-1)) u(x_(k-1)), u = log p - log p_0, where x_k comes from x_(k-1) by moves that leave
p_(b_k) invariant, none at the last rung (Neal 2001, arXiv physics/9803008). E[w] = Z for any kernels
and any rungs; with one rung it is importance sampling.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from driftback.errors import BadInput
from driftback.randomness import Rng, as_rng
from driftback.samplers.frame import Frame
from driftback.samplers.markov import ladder, weights
from driftback.samplers.markov.energy import Energy
from driftback.samplers.markov.noise import Noise
from driftback.samplers.markov.path import Path
from driftback.samplers.markov.state import Tunable, looks

RATE = 1.0
"""How strongly the logarithm of the step follows the acceptance."""


@dataclass(frozen=True, eq=False)
class Annealed:
    """Particles along `path` at the rungs `betas`, from 0 to 1, with so many `moves` of `kernel(energy)` at each.

    The step of the kernel follows the mean acceptance of all particles, which is all that they share; with `tuned`
    false it stays, and item i is the same for every n. BadInput for rungs that do not rise from 0 to 1.
    """

    path: Path
    kernel: Callable[[Energy], Tunable]
    betas: Tensor
    moves: int = 1
    tuned: bool = True

    def __post_init__(self) -> None:
        ladder.checked(self.betas)
        if self.moves < 1:
            raise BadInput(f"{self.moves} moves at each rung cannot be made; give 1 or more")

    @torch.no_grad()
    def __call__(self, n: int, *, rng: Rng | int | None = None) -> Iterator[Frame]:
        """Yield `n` particles at every rung, t = 1 - b, the first being the reference's own draws.

        `weights.normaliser` of the last one's log-weights tells log Z. BadInput where all of them have weight 0.
        """
        rng = as_rng(rng)
        path, x = self.path, self.path.reference.sample(n, rng=rng.child("start"))
        noise, before = Noise(rng.child("moves"), n, x.dtype, x.device), path.energy.densities
        kernel = self.kernel(path.at(1.0))
        sloped = looks(kernel)
        state, now, step = path.at(1.0).state(x, sloped=sloped), 1.0, kernel.step
        log_weights, rungs = torch.zeros(n, dtype=torch.float64, device=x.device), ladder.checked(self.betas)
        yield Frame(1.0, x, 1, log_weights=log_weights)
        for rung, beta in enumerate(rungs[1:]):
            state, now = path.legible(state, now)
            log_weights = weights.checked(log_weights + (beta - rungs[rung]) * path.gain(state, now).double())
            state, now = path.shifted(state, now, beta), beta
            for move in range(self.moves if beta < 1 else 0):
                kernel = self.kernel(path.at(beta)).tuned(step)
                state, happened = kernel(state, noise.at(rung * self.moves + move))
                if self.tuned:
                    chance = float(happened.probability.nan_to_num(nan=0.0).mean())
                    step = step * math.exp(RATE * (chance - kernel.aim))
            yield Frame(1 - beta, state.x, -(-(path.energy.densities - before) // n), log_weights=log_weights)
