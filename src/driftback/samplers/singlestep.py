"""Exponential single-step methods: evaluations inside the step instead of a memory of the steps before it.

Order 2 goes half of the way in log r, evaluates, and takes the whole step with that value; order 3 goes a third, then
two thirds along the line through the first two values, and takes the whole step along the line through the first and
the third value, which is exact for parabolas (Lu et al. 2022, arXiv 2206.00927, algorithms 1 and 2; arXiv 2211.01095,
algorithm 1, for D). With noise the stages stand on the same Brownian path as the step's end: SEEDS (Gonzalez et al.
2023, arXiv 2305.14267, algorithms 1 to 4).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from driftback.errors import BadInput
from driftback.randomness import Rng, as_rng
from driftback.samplers.exponential import DATA, Form, Level, log_ratio, weights
from driftback.samplers.frame import Frame
from driftback.samplers.levels import level_at, levels_of, step_noise
from driftback.scores.denoiser import Denoiser

STAGES: dict[int, tuple[float, ...]] = {1: (), 2: (1 / 2,), 3: (1 / 3, 2 / 3)}
"""For each order, how far along the step in log r the evaluations after the first are made."""


@dataclass(frozen=True)
class SingleStep:
    """`order` evaluations a step, 1 to 3, on any decreasing times in [0, 1]; one where log r is infinite at an end.

    `form` and `noise` as for `Multistep`: for the ODE `DATA` gives DPM-Solver++ (2S, 3S) and `NOISE` DPM-Solver, with
    noise 1 `NOISE` gives SEEDS. BadInput for another order or a negative noise.
    """

    denoiser: Denoiser
    order: int = 2
    form: Form = DATA
    noise: float = 0.0

    def __post_init__(self) -> None:
        if self.order not in STAGES or not self.noise >= 0:
            raise BadInput(f"order {self.order} with noise {self.noise} is no method; give order 1 to 3 and noise >= 0")

    @torch.no_grad()
    def __call__(self, x: Tensor, times: Tensor, *, rng: Rng | int | None = None) -> Iterator[Frame]:
        """Yield one frame per entry of `times` (steps + 1,), the first being `x` (n, *event) itself."""
        levels, evaluations = levels_of(self.denoiser.process, times), 0
        ways = [self._stages(now, after) for now, after in pairwise(levels)]
        noises = step_noise([levels[0], *(level for way in ways for level in way)], x, as_rng(rng))
        yield Frame(levels[0].t, x)
        for now, way in zip(levels, ways, strict=False):
            x, evaluations = self._step(x, now, way, noises), evaluations + len(way)
            yield Frame(way[-1].t, x, evaluations)

    def _stages(self, now: Level, after: Level) -> tuple[Level, ...]:
        """The levels of the stages, then `after` itself."""
        if not (now.alpha and after.sigma):
            return (after,)
        ratios = [now.ratio ** (1 - share) * after.ratio**share for share in STAGES[self.order]]
        return (*(level_at(self.denoiser.process, ratio) for ratio in ratios), after)

    def _step(self, x: Tensor, now: Level, way: tuple[Level, ...], noises: Iterator[Tensor]) -> Tensor:
        # Into no noise D itself is the end; in eps fresh noise would be left over there.
        last = bool(self.noise) and way[-1].sigma == 0
        form = self.form if self.form.usable(now) and not last else DATA
        first = newest = form.value(x, self.denoiser.denoised(x, now.t), now)
        here, known, shaken, out = now, [now.ratio], torch.zeros_like(x), x
        for stage in way:
            shaken = shaken * form.carry(here, stage, self.noise)
            deviation = form.deviation(here, stage, self.noise)
            if deviation:
                shaken = torch.add(shaken, next(noises), alpha=deviation)
            factors = weights(form, log_ratio, self.noise, now, stage, known, halved=self.order == 2)
            out = x * form.carry(now, stage, self.noise) + shaken
            for factor, value in zip(factors, (first, newest), strict=False):
                out = torch.add(out, value, alpha=factor)
            if stage is not way[-1]:
                newest = form.value(out, self.denoiser.denoised(out, stage.t), stage)
                here, known = stage, [now.ratio, stage.ratio]
        return out
