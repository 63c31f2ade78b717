"""RePaint: what is seen is noised and put in its place at every step, and the rest is drawn to go with it.

At each level the seen coordinates are x_s ~ q(x_s | y), the others an ancestral step's; since the second did not know
of the first, the way goes up again by `jump` steps of the forward process and down once more, `repeats` times in all
(Lugmayr et al. 2022, arXiv 2201.09865, algorithm 1 and section 4.2). It takes y as exact. A last step to no noise is
made once: nothing is left to go up from.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from driftback.distributions.operators import Mask
from driftback.errors import BadInput
from driftback.randomness import Rng, as_rng
from driftback.samplers.exponential import Level
from driftback.samplers.frame import Frame
from driftback.samplers.levels import bridge, levels_of
from driftback.scores.denoiser import Denoiser


@dataclass(frozen=True)
class Repaint:
    """`y` (m,) or (n, m) is what `mask` sees; `repeats` >= 1 descents of each stretch of `jump` >= 1 steps, a tenth of
    the way at most: a longer one would begin where nothing is known yet.
    """

    denoiser: Denoiser
    mask: Mask
    y: Tensor
    repeats: int = 10
    jump: int = 10

    def __post_init__(self) -> None:
        if self.repeats < 1 or self.jump < 1:
            raise BadInput(f"{self.repeats} repeats of {self.jump} steps lead nowhere; give at least 1 of each")

    @torch.no_grad()
    def __call__(self, x: Tensor, times: Tensor, *, rng: Rng | int | None = None) -> Iterator[Frame]:
        """Yield one frame per entry of `times` (steps + 1,), the first being `x` (n, *event) itself."""
        levels, rng, spent = levels_of(self.denoiser.process, times), as_rng(rng), 0
        yield Frame(levels[0].t, x)
        noisy = [level for level in levels if level.sigma > 0]
        jump = max(1, min(self.jump, len(levels) // 10))
        stretches = [noisy[first : first + jump + 1] for first in range(0, len(noisy) - 1, jump)]
        for number, stretch in enumerate([*stretches, levels[len(noisy) - 1 :]]):
            for again in range(self.repeats if stretch[-1].sigma > 0 else 1):
                key = rng.child("stretch", number, again)
                if again:
                    x = _raised(x, stretch[-1], stretch[0], key.child("up"))
                kept = []
                for k, (now, after) in enumerate(pairwise(stretch)):
                    x = self._step(x, now, after, key.child("down", k))
                    spent += 1
                    kept.append(Frame(after.t, x, spent))
            yield from kept

    def _step(self, x: Tensor, now: Level, after: Level, rng: Rng) -> Tensor:
        step = bridge(now, after)
        noise = rng.normal(x.shape, dtype=x.dtype, device=x.device)
        drawn = step.kept * x + step.pull * self.denoiser.denoised(x, now.t)
        drawn = torch.add(drawn, noise, alpha=step.fresh)
        fresh = rng.child("seen").normal(x.shape, dtype=x.dtype, device=x.device)
        seen = self.mask.seen.to(x.device)
        drawn[:, seen] = after.alpha * self.y.to(x) + after.sigma * fresh[:, seen]
        return drawn


def _raised(x: Tensor, low: Level, high: Level, rng: Rng) -> Tensor:
    """x at the level `high`, drawn from q given x at the level `low`."""
    a = high.alpha / low.alpha
    noise = rng.normal(x.shape, dtype=x.dtype, device=x.device)
    return torch.add(a * x, noise, alpha=math.sqrt(max(0.0, high.sigma**2 - (a * low.sigma) ** 2)))
