"""The stretch move: each chain moves on the line through another one, so that no stretching of space makes it harder.

x' = x_j + z (x - x_j) with a partner x_j and z of density ~ 1 / sqrt(z) on [1/a, a], taken with probability
min(1, z^(d-1) p(x') / p(x)) (Goodman and Weare 2010, Communications in Applied Mathematics and Computational Science
5, 65). The chains are halved, and each half moves at once with partners of the other (Foreman-Mackey et al. 2013,
arXiv 1202.3665, section 2). So chains do know of one another here: it is the cloud of all that has the law p^n.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from driftback.errors import BadInput
from driftback.samplers.markov.energy import Energy
from driftback.samplers.markov.noise import Noise
from driftback.samplers.markov.state import Move, State


@dataclass(frozen=True, eq=False)
class Stretch:
    """The chains of all halves; `scale` is a > 1. It wants an even number of chains, at least 2 (d + 1)."""

    energy: Energy
    scale: float = 2.0

    def __post_init__(self) -> None:
        if not self.scale > 1:
            raise BadInput(f"a stretch by at most {self.scale} moves nothing; give a scale above 1")

    def begin(self, x: Tensor) -> State:
        """The state of chains at `x` (n, *event). BadInput where n is odd or below 2 (d + 1)."""
        n, least = len(x), 2 * (x[0].numel() + 1) if len(x) else 2
        if n < least or n % 2:
            raise BadInput(
                f"{n} chains cannot stretch in {least // 2 - 1} dimensions; give an even number from {least} on"
            )
        return self.energy.begin(x, sloped=False)

    @torch.no_grad()
    def __call__(self, state: State, noise: Noise) -> tuple[State, Move]:
        """One half moves, then the other."""
        dice, half = noise.uniform("stretch", (3,)), noise.n // 2
        first, second = torch.arange(noise.n, device=state.x.device).split(half)
        one, early = self._half(state.rows(first), state.x[second], dice[first])
        other, late = self._half(state.rows(second), one.x, dice[second])
        together = (torch.cat(pair) for pair in ((one.x, other.x), (one.log_prob, other.log_prob)))
        pairs = ((early.accepted, late.accepted), (early.probability, late.probability))
        return State(*together), Move(*(torch.cat(pair) for pair in pairs))

    def _half(self, state: State, partners: Tensor, dice: Tensor) -> tuple[State, Move]:
        a, d = self.scale, state.x[0].numel()
        z = ((a - 1) * dice[:, 0] + 1) ** 2 / a
        partner = partners[(dice[:, 1] * len(partners)).long()]
        x = partner + z.to(state.x).reshape(-1, *[1] * (state.x.ndim - 1)) * (state.x - partner)
        new = self.energy.state(x, sloped=False)
        log_ratio = (d - 1) * z.log().to(state.log_prob) + new.log_prob - state.log_prob
        accepted = dice[:, 2].log() < log_ratio
        return new.where(accepted, state), Move(accepted, log_ratio.clamp(max=0).exp())
