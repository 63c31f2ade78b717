"""Adaptive steps for the reverse SDE: halved where its drift turns, doubled where it does not, on one Brownian path.

In u = x / (alpha r^2) and the clock c = 1 / r^2 Anderson's SDE is du = D dc + dW (El Alaoui et al. 2022, arXiv
2203.05093): Euler's step u' = u + D h + dW, a second evaluation D', and the average of both. Their difference, (D' - D)
(1 - r_s^2/r_t^2) / 2 in x / alpha, is the error estimate (the scheme of Jolicoeur-Martineau et al. 2021, arXiv
2105.14080, algorithm 1, in this clock). A rejected step is halved, and W in its middle drawn given its ends, so that
rejecting what chance brought does not change the law. Steps are dyadic parts of the way in log r.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor

from driftback.errors import BadInput
from driftback.randomness import Rng, as_rng
from driftback.samplers.adaptive import refuse_not_finite
from driftback.samplers.exponential import DATA, Level
from driftback.samplers.frame import Frame
from driftback.samplers.levels import levels_of
from driftback.scores.denoiser import Denoiser
from driftback.shapes import per_item

FIRST, DEEPEST = 3, 16
"""The way is first cut into 2^FIRST parts, and its parts are never shorter than 2^-DEEPEST of it."""


@dataclass
class _Path:
    """W at the dyadic places i / 2^l of a way whose clock at place p is `clock(p)`: one tensor for all items."""

    start: float
    end: float
    shape: tuple[int, ...]
    rng: Rng
    like: Tensor
    kept: dict[tuple[int, int], Tensor] = field(default_factory=dict)

    def ratio(self, place: float) -> float:
        """sigma / alpha at `place` in [0, 1]."""
        return math.exp(math.log(self.start) + place * math.log(self.end / self.start))

    def at(self, i: int, level: int) -> Tensor:
        """W at the place i / 2^level, minus W at the start."""
        while level and i % 2 == 0:
            i, level = i // 2, level - 1
        if (i, level) not in self.kept:
            normal = self.rng.child(level, i).normal(self.shape, dtype=self.like.dtype, device=self.like.device)
            if level == 0:
                width = self.end**-2 - self.start**-2
                self.kept[i, level] = normal * math.sqrt(width) * i
            else:
                a, m, b = (self.ratio((i + k) / 2**level) ** -2 for k in (-1, 0, 1))
                left, right, share = self.at(i - 1, level), self.at(i + 1, level), (m - a) / (b - a)
                deviation = math.sqrt((m - a) * (b - m) / (b - a))
                self.kept[i, level] = left + share * (right - left) + deviation * normal
        return self.kept[i, level]

    def forget(self, place: float) -> None:
        """Drop what no point from `place` on is filled in from; asked for again, it would come back the same."""
        self.kept = {(i, level): w for (i, level), w in self.kept.items() if (i + 1) / 2**level >= place}


@dataclass(frozen=True)
class AdaptiveSDE:
    """Lands on each of the given decreasing times in [0, 1]; two evaluations a step. From pure noise and into sigma = 0
    it takes one step of `Ancestral`.

    `tolerance` is the error of a step, root mean square over the event, in units of sqrt(spread^2 + r^2). An item's
    steps do not depend on the others. BadInput unless 0 < tolerance < 1, or if `most` evaluations between two times do
    not suffice.
    """

    denoiser: Denoiser
    tolerance: float = 0.02
    most: int = 10_000

    def __post_init__(self) -> None:
        if not 0 < self.tolerance < 1:
            raise BadInput(f"a tolerance of {self.tolerance} is none; give one between 0 and 1, 0.02 as a rule")

    @torch.no_grad()
    def __call__(self, x: Tensor, times: Tensor, *, rng: Rng | int | None = None) -> Iterator[Frame]:
        """Yield one frame per entry of `times`, the first being `x` (n, *event) itself."""
        rng, levels, evaluations = as_rng(rng).child("noise"), levels_of(self.denoiser.process, times), 0
        yield Frame(levels[0].t, x)
        for k, (now, after) in enumerate(pairwise(levels)):
            if now.alpha == 0 or after.sigma == 0:
                x, spent = self._jump(x, now, after, rng.child("jump", k)), 1
            else:
                x, spent = self._way(x, now, after, rng.child("way", k))
            evaluations += spent
            yield Frame(after.t, x, evaluations)

    def _jump(self, x: Tensor, now: Level, after: Level, rng: Rng) -> Tensor:
        carry, deviation = DATA.carry(now, after, 1.0), DATA.deviation(now, after, 1.0)
        out = carry * x + (after.alpha - carry * now.alpha) * self.denoiser.denoised(x, now.t)
        return out + deviation * rng.normal(x.shape, dtype=x.dtype, device=x.device) if deviation else out

    def _way(self, x: Tensor, now: Level, after: Level, rng: Rng) -> tuple[Tensor, int]:
        process, path = self.denoiser.process, _Path(now.ratio, after.ratio, tuple(x.shape), rng, x)
        # All in y = x / alpha, times r^2 where u is meant.
        y, spent = x / now.alpha, 0
        level = torch.full((len(x),), FIRST)
        place = torch.zeros(len(x), dtype=torch.long)
        while bool((place < 2**level).any()):
            going = place < 2**level
            r_t, r_s, kick = self._increments(path, place, level, going, x)
            t, s = process.time_of(r_t), process.time_of(r_s)
            falling = (r_s / r_t) ** 2
            said = self.denoiser.denoised(y * per_item(process.alpha(t), y), t)
            carried = per_item(falling, y) * y + kick * per_item(r_s**2, y)
            euler = carried + per_item(1 - falling, y) * said
            second = self.denoiser.denoised(euler * per_item(process.alpha(s), y), s)
            spent += 2
            off = (second - said).flatten(1).double().square().mean(1).sqrt() * (1 - falling) / 2
            error = (off / (self.tolerance * torch.sqrt(process.spread**2 + r_s**2))).cpu()
            refuse_not_finite(error)
            if spent > self.most:
                raise BadInput(
                    f"{self.most} evaluations do not reach a tolerance of {self.tolerance}; raise it, or raise most"
                )
            fits = (error <= 1) | (level >= DEEPEST)
            better = euler + per_item((1 - falling) / 2, y) * (second - said)
            y = torch.where(per_item((fits & going).to(x.device).double(), y) > 0, better, y)
            place = torch.where(going, torch.where(fits, place + 1, 2 * place), place)
            level = torch.where(going & ~fits, level + 1, level)
            path.forget(float((place / 2**level).min()))
            # Two steps become one where the next one may be longer and begins at a place of the coarser cut.
            wider = going & fits & (error < 0.25) & (place % 2 == 0) & (level > FIRST)
            place, level = torch.where(wider, place // 2, place), torch.where(wider, level - 1, level)
        return y * after.alpha, spent

    @staticmethod
    def _increments(
        path: _Path, place: Tensor, level: Tensor, going: Tensor, x: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """For each item the ratios at both ends of its step, float64 (n,), and W's increment, the shape of `x`."""
        start, end = (
            torch.full((len(x),), path.end, dtype=torch.float64),
            torch.full((len(x),), path.end, dtype=torch.float64),
        )
        kick = torch.zeros_like(x)
        for i, cut in set(zip(place[going].tolist(), level[going].tolist(), strict=True)):
            rows = (place == i) & (level == cut) & going
            start[rows], end[rows] = path.ratio(i / 2**cut), path.ratio((i + 1) / 2**cut)
            there = rows.to(x.device)
            kick[there] = path.at(i + 1, cut)[there] - path.at(i, cut)[there]
        return start.to(x.device), end.to(x.device), kick
