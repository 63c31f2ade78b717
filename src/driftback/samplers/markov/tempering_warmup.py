"""Warm-up of a ladder: steps and scales for each rung, and betas at which all trades are refused alike.

With r_i the mean refusal between rungs i and i + 1, the communication barrier is their running sum L(beta_i); the next
betas are where L, interpolated, is equally spaced (Syed et al. 2022, arXiv 1905.02939, section 5). This is done anew at
the end of windows each of which is twice as long as the one before; the last part tunes the steps alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from driftback.errors import BadInput
from driftback.samplers.markov.noise import Noise
from driftback.samplers.markov.state import State
from driftback.samplers.markov.warmup import Search

if TYPE_CHECKING:
    from driftback.samplers.markov.tempering import Exchange, Tempering

ENDS = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 3 / 4)
"""The ends of the windows, in shares of the moves."""
LEAST = 1e-3
"""No trade counts as refused less than that, so that no two betas meet."""


def spaced(betas: Tensor, refused: Tensor) -> Tensor:
    """The betas (m,) at which the barrier that `refused` (m - 1,) tells at `betas` is equally spaced."""
    barrier = np.concatenate([[0.0], refused.double().clamp(min=LEAST).cumsum(0).numpy()])
    new = np.interp(np.linspace(0, barrier[-1], len(barrier)), barrier, betas.double().numpy())
    new[0], new[-1] = 0.0, 1.0
    return torch.from_numpy(new).to(betas.device)


@dataclass
class Window:
    """What was seen since the last change: trades asked and refused (m - 1,), sums of the points and their squares."""

    asked: Tensor
    refused: Tensor
    centre: Tensor
    count: int
    total: Tensor
    squares: Tensor

    @classmethod
    def begun(cls, x: Tensor) -> Window:
        """Nothing seen yet; `x` (n, m - 1, d) tells where points are about."""
        zero, centre = torch.zeros(x.shape[1], dtype=torch.float64), x.mean(0)
        return cls(zero, zero.clone(), centre, 0, torch.zeros_like(centre), torch.zeros_like(centre))

    def see(self, x: Tensor, swaps: Tensor) -> None:
        """Add a move's points (n, m - 1, d) and trades (n, m - 1)."""
        refused = 1 - swaps.double().cpu()
        self.asked += (~refused.isnan()).sum(0)
        self.refused += refused.nan_to_num(nan=0.0).sum(0)
        apart = x - self.centre
        self.count += len(x)
        self.total += apart.sum(0)
        self.squares += apart.square().sum(0)

    @property
    def scales(self) -> Tensor:
        """The deviations (m - 1, d), drawn a little towards a small one as in `Shape`."""
        n = self.count
        variance = (self.squares - self.total.square() / n) / max(1, n - 1)
        return (variance.clamp(min=0) * (n / (n + 5)) + 1e-3 * 5 / (n + 5)).sqrt()


@torch.no_grad()
def warm(tempering: Tempering, state: State, noise: Noise, moves: int) -> Iterator[tuple[Tempering, State, Exchange]]:
    """Move `state`, and yield after each move the ladder as tuned so far. BadInput for fewer than 20 moves."""
    if moves < 20:
        raise BadInput(f"{moves} moves tune nothing; give 20 or more")
    ends, m = [round(share * moves) for share in ENDS], len(tempering.betas)
    kernel: Any = tempering.kernel(noise.n)
    search = None
    if hasattr(kernel, "tuned"):
        steps = kernel.step.double().cpu().expand(noise.n * (m - 1)).reshape(noise.n, m - 1).mean(0)
        search = Search.begun(steps if tempering.steps is None else tempering.steps.double().cpu())
        tempering = replace(tempering, steps=search.now.to(state.log_prob))
    window: Window | None = None
    for k in range(moves):
        state, move = tempering(state, noise.at(k))
        points = state.rungs.x[:, 1:].flatten(2).double()  # type: ignore[union-attr]
        window = window or Window.begun(points)
        assert move.swaps is not None
        assert move.chances is not None
        window.see(points, move.swaps)
        if search is not None:
            chance = move.chances.nan_to_num(nan=0.0).double().cpu().mean(0)
            search = search.followed(kernel.aim - chance)
            tempering = replace(tempering, steps=search.now.to(state.log_prob))
        if k + 1 in ends:
            tempering, search = _changed(tempering, window, search, hasattr(kernel, "metric"), state.log_prob)
            window = None
        if k + 1 == moves and search is not None:
            tempering = replace(tempering, steps=search.mean.to(state.log_prob))
        yield tempering, state, move


def _changed(
    tempering: Tempering, window: Window, search: Search | None, shaped: bool, like: Tensor
) -> tuple[Tempering, Search | None]:
    """The ladder after a window: other betas, and the steps and scales that the rungs there are likely to want."""
    # A short window may have asked some pairs never: these are taken to be refused as the others are.
    known = window.asked > 0
    rate = float(window.refused.sum() / window.asked.sum().clamp(min=1))
    betas = spaced(tempering.betas, torch.where(known, window.refused / window.asked.clamp(min=1), rate))
    if search is None:
        return replace(tempering, betas=betas), None
    old, new = tempering.betas[1:].double().cpu().numpy(), betas[1:].cpu().numpy()

    def moved(values: Tensor) -> Tensor:
        columns = values.double().cpu().reshape(len(old), -1).log().numpy()
        there = np.stack([np.interp(new, old, column) for column in columns.T], 1)
        return torch.from_numpy(np.exp(there)).reshape(values.shape)

    steps, scales = search.now, tempering.scales
    if shaped:
        # Steps are counted in scales: in wider ones they are fewer.
        wide = window.scales
        before = torch.ones(len(old)).double() if scales is None else scales.double().cpu().log().mean(1).exp()
        steps = steps * before / wide.cpu().log().mean(1).exp()
        scales = moved(wide).to(like)
    search = Search.begun(moved(steps))
    return replace(tempering, betas=betas, steps=search.now.to(like), scales=scales), search
