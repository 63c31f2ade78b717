"""Which sampler a model's items come back by, on which times, and what that costs.

When nothing is said it is a solver fitted to the model (see `driftback.recipes.solver`), as long as the tolerance wants
it; for pictures on few levels a stochastic one, whose fresh noise mends what the network gets wrong; or the steps that
a method names, where coarse ones were measured to draw better than an exact way along a network's errors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, cast

import numpy as np
import torch
from torch import Tensor

from driftback.arguments import real, whole
from driftback.errors import BadInput
from driftback.randomness import Rng
from driftback.recipes import buckets, conditions, solver
from driftback.recipes.assembly import encoded_levels, lowest_ratio
from driftback.recipes.config import Config
from driftback.recipes.methods import METHODS
from driftback.recipes.solver import Choice, Solver
from driftback.samplers.adaptive import adaptive_times
from driftback.samplers.frame import Frame, Sampler, denoised_end
from driftback.samplers.grids import GRIDS, uniform
from driftback.samplers.heun import Heun
from driftback.samplers.multistep import Multistep
from driftback.samplers.published import LEARNED, SAMPLERS
from driftback.scores.denoiser import Denoiser
from driftback.scores.guided import AutoguidedDenoiser, Counted, GuidedDenoiser
from driftback.scores.learned import LearnedDenoiser
from driftback.scores.parametrisation import Levels

Make = Callable[[Denoiser], Sampler]
"""What makes a sampler of a denoiser."""

NAMED = SAMPLERS | LEARNED
"""All that `sampler` may name."""

Push = float | tuple[float, float, tuple[float, float] | None]
"""What tells one guided denoiser of a model from another."""

WAYS = 768, 48
"""So many ways of points, or of pictures, a solver is fitted to and judged by."""


NO_SNAPSHOT = (
    "autoguidance needs the early snapshot that a fit keeps in training/early.safetensors, and this model has none: "
    "fit it again, or take guidance"
)
FIXING = "steps", "sampler", "churn", "grid"
"""Each of these fixes the way back, so that no fitted solver is chosen."""


@dataclass(frozen=True)
class Asked:
    """What is asked of a way back; None where nothing is said.

    `steps` (a number, or "auto" for None), a `sampler` by name or by what makes it of a denoiser, or a `grid` by name
    fix it; `tolerance`, in standard deviations of the data, or a budget of `evaluations` per item choose a fitted
    solver. `churn` >= 0 is EDM's S_churn. `guidance` >= 0 is the push towards what is asked for, `autoguidance` >= 0
    that away from an early snapshot of the model (None: as `Ways.settled` says), and `interval` (lo, hi] the
    noise-to-data ratios, in standard deviations of the data, within which either acts. BadInput for what does not go
    together.
    """

    steps: int | Literal["auto"] | None = None
    sampler: str | Make | None = None
    tolerance: float | None = None
    evaluations: int | None = None
    churn: float | None = None
    guidance: float = 0.0
    grid: str | None = None
    autoguidance: float | None = None
    interval: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.steps == "auto":
            object.__setattr__(self, "steps", None)
        for name in ("steps", "evaluations"):
            if getattr(self, name) is not None:
                whole(getattr(self, name), name, 1)
        for name in ("guidance", "autoguidance", "churn"):
            value = getattr(self, name)
            if value is not None and not real(value, name) >= 0:
                raise BadInput(f"{name} must be at least 0, not {value:g}")
        if self.guidance and self.autoguidance:
            raise BadInput("guidance and autoguidance are two ways to push; leave one out")
        if self.interval is not None:
            try:
                low, high = self.interval
            except (TypeError, ValueError):
                raise BadInput(f"guidance_interval is two numbers, (low, high), not {self.interval!r}") from None
            low, high = real(low, "guidance_interval"), real(high, "guidance_interval")
            if not 0 <= low < high:
                raise BadInput(f"guidance_interval rises from 0 or more, which {low:g}:{high:g} does not")
            if not self.pushed:
                raise BadInput("guidance_interval says where guidance acts; give guidance or autoguidance too")
        if isinstance(self.sampler, str):
            if self.sampler not in NAMED:
                raise BadInput(f"there is no sampler '{self.sampler}'; choose one of {', '.join(NAMED)}")
            for name in ("steps", "grid"):
                if getattr(self, name) is not None and NAMED[self.sampler].adaptive:
                    raise BadInput(f"'{self.sampler}' chooses its steps by itself; leave {name} out")
        elif self.sampler is not None and not callable(self.sampler):
            raise BadInput(f"sampler is a name or a function of a denoiser, not {self.sampler!r}")
        if self.grid is not None and self.grid not in GRIDS:
            raise BadInput(f"there is no grid '{self.grid}'; choose one of {', '.join(GRIDS)}")
        fixed = [name for name in FIXING if getattr(self, name) is not None]
        chosen = [name for name in ("tolerance", "evaluations") if getattr(self, name) is not None]
        if len(chosen) == 2 or (fixed and chosen):
            raise BadInput(f"{chosen[0]} chooses the steps by itself; leave {(fixed + chosen[1:])[0]} out")
        if self.churn is not None and self.sampler is not None:
            raise BadInput("churn belongs to EDM's sampler; leave it or the sampler out")

    @property
    def push(self) -> Push:
        """All that the guided denoiser depends on: the guidance alone where nothing else is asked."""
        plain = not self.autoguidance and self.interval is None
        return self.guidance if plain else (self.guidance, self.autoguidance or 0.0, self.interval)

    @property
    def pushed(self) -> bool:
        """Whether a second denoiser is asked."""
        return bool(self.guidance or self.autoguidance)


@dataclass(frozen=True, eq=False)
class Drawn:
    """Items `x` (n, *event) as asked for, the most `evaluations` of the network that one of them took, and the `error`
    at the end, in standard deviations of the data, where it was measured, else None. `reach` is the root mean square of
    the encoded items in those of the data: far from 1 the sampler was not stable.
    """

    x: np.ndarray
    evaluations: int
    error: float | None
    reach: float = 1.0
    autoguidance: float = 0.0
    """The autoguidance that they were drawn with."""


@dataclass(frozen=True, eq=False)
class Ways:
    """The ways back of one model: fitted solvers are made when first asked for, and kept in `folder` if there is one.

    `mark` tells the weights, so that a solver of others is not used.
    """

    config: Config
    denoiser: LearnedDenoiser
    folder: Path | None = None
    mark: str = ""
    made: dict[Push, Solver] = field(default_factory=dict)
    early: LearnedDenoiser | None = None
    """An under-trained snapshot of the same model, for autoguidance."""

    @property
    def ends(self) -> tuple[float, float]:
        """The lowest and the highest ratio of the way."""
        config, spread = self.config, self.config.spread
        _, step, count = encoded_levels(config)
        # Below a twelfth of a level's width rounding errs once in a billion; continuous data go on to EDM's 0.002.
        low = step / 12 if count and isinstance(self.denoiser.parametrisation, Levels) else 0.004 * spread
        return max(low, lowest_ratio(config)), min(160 * spread, float(self.denoiser.process.ratio(1.0)), 1e4 * spread)

    @property
    def noisy(self) -> bool:
        """Whether the sampler that is used when nothing is said has noise: for pictures on few levels."""
        pictures = len(self.config.preprocessing.internal_event) > 1
        return pictures and isinstance(self.denoiser.parametrisation, Levels)

    @property
    def steps(self) -> int:
        """The number of steps of a sampler that is asked for without one."""
        return METHODS[self.config.method].steps or (32 if self.noisy else 40)

    def settled(self, asked: Asked) -> Asked:
        """`asked`, with the autoguidance of the model's method where nothing is said of guidance, and it can be had."""
        if asked.autoguidance is not None or asked.guidance or self.early is None:
            return asked
        return replace(asked, autoguidance=METHODS[self.config.method].autoguidance)

    def _count(self, asked: Asked) -> int:
        return asked.steps if isinstance(asked.steps, int) else self.steps

    def _other(self, asked: Asked) -> Counted:
        """What the denoiser is pushed away from, if it is: an early snapshot, else what is not conditioned."""
        if asked.autoguidance and self.early is None:
            raise BadInput(NO_SNAPSHOT)
        return Counted(self.early if asked.autoguidance and self.early is not None else self.denoiser)

    def told(self, done: Tensor | None) -> Ways:
        """The ways of items to which this was done, (n, numbers): both networks are told. Itself where it is None."""
        if done is None:
            return self
        early = None if self.early is None else replace(self.early, augmented=done)
        return replace(self, denoiser=replace(self.denoiser, augmented=done), early=early)

    def guided(self, labels: Tensor | None, asked: Asked, other: Denoiser) -> Denoiser:
        """The denoiser for items of the conditions `labels` (n, *row), pushed away from `other` as `asked`."""
        within = None if asked.interval is None else tuple(end * self.config.spread for end in asked.interval)
        interval = cast("tuple[float, float] | None", within)
        if asked.autoguidance:
            pair = AutoguidedDenoiser(self.denoiser, other, asked.autoguidance, interval)
            return pair if labels is None else pair.given(labels)
        if labels is None:
            if asked.guidance:
                raise BadInput("guidance pushes towards a class or caption, and this model knows none; leave it out")
            return self.denoiser
        conditional = self.denoiser.given(labels)
        if not asked.guidance:
            return conditional
        return GuidedDenoiser(conditional, other, asked.guidance, interval)

    def choice(self, asked: Asked) -> Choice | None:
        """The fitted plan that `asked` chooses; None where it fixes a sampler, or means the model's own."""
        asked = self.settled(asked)
        said = asked.tolerance is not None or asked.evaluations is not None
        fixed = any(getattr(asked, name) is not None for name in FIXING)
        if fixed or (not said and (self.noisy or METHODS[self.config.method].steps)):
            return None
        tolerance = solver.TOLERANCE if asked.tolerance is None else real(asked.tolerance, "tolerance")
        each, budget = 2 if asked.pushed else 1, asked.evaluations
        if budget is not None and float(self.denoiser.process.sigma(0.0)) > 0:
            budget -= each  # where noise is left at t = 0 the end is denoised once more
        return self._solver(asked).choose(tolerance, budget, each=each)

    def sampler(self, denoiser: Denoiser, asked: Asked) -> tuple[Sampler, Tensor]:
        """The sampler for `denoiser`, and its times."""
        if (chosen := self.choice(asked)) is not None:
            fitted = chosen.sampler(denoiser)
            return fitted, fitted.times
        spread, process = self.config.spread, self.denoiser.process
        if isinstance(asked.sampler, str):
            named = NAMED[asked.sampler]
            if named.adaptive:
                return named.make(denoiser), adaptive_times(denoiser, low=self.ends[0] / process.spread)
            return named.make(denoiser), self._times(asked)
        if asked.sampler is not None:
            return asked.sampler(denoiser), self._times(asked)
        if self.noisy and asked.churn is None:
            return Multistep(denoiser, 2, noise=1.0, correct=True), self._times(asked)
        # EDM's churn has the paper's bounds, in units of the data's spread.
        return Heun(denoiser, asked.churn or 0.0, 0.04 * spread, 13 * spread, 1.003), self._times(asked)

    def _times(self, asked: Asked) -> Tensor:
        (low, high), process, steps = self.ends, self.denoiser.process, self._count(asked)
        grid = asked.grid or (NAMED[asked.sampler].grid if isinstance(asked.sampler, str) else "karras")
        if grid == "uniform":  # equal steps in t itself end at t = 0, whatever ratio is there
            return uniform(process, steps, start=float(process.time_of(high)))
        return GRIDS[grid](process, steps, low=low, high=high)

    def back(
        self, n: int, labels: Tensor | None, asked: Asked, rng: Rng, done: Tensor | None = None
    ) -> Iterator[Frame]:
        """The frames of `n` items whose noise is that of `rng`, the last one denoised; every network counts, and is
        told what was `done` to them, (n, numbers), if anything.
        """
        self.denoiser.network.eval()
        asked, ways = self.settled(asked), self.told(done)
        other = ways._other(asked)
        denoiser = ways.guided(labels, asked, other)
        sampler, times = self.sampler(denoiser, asked)
        device = next(self.denoiser.network.parameters()).device
        x = self.denoiser.process.simple_at(float(times[0])).sample(n, rng=rng.child("start")).to(device)
        for frame in denoised_end(denoiser, sampler(x, times, rng=rng)):
            yield replace(frame, evaluations=frame.evaluations + other.asked[0])

    def _solver(self, asked: Asked) -> Solver:
        if asked.push in self.made:
            return self.made[asked.push]
        low, high = self.ends
        event, process = self.config.preprocessing.internal_event, self.denoiser.process
        n, rng = WAYS[len(event) > 1], Rng(0).child("solver")
        drawn = conditions.given(self.config, n, conditions.Wanted(), 0)
        device = next(self.denoiser.network.parameters()).device
        labels = None if drawn.rows is None else torch.from_numpy(drawn.rows).to(device)
        ways = self.told(buckets.told(self.config, drawn.bucket, device))
        x = process.simple_at(float(process.time_of(high))).sample(n, rng=rng).to(device)
        self.denoiser.network.eval()
        found = Solver(solver.fitter(ways.guided(labels, asked, ways._other(asked)), x, low=low, high=high))
        if self.folder is not None and not asked.pushed:
            path = self.folder / solver.FILE
            found.made, found.keep = solver.read(path, self.mark), lambda one: solver.keep(one, path, self.mark)
        self.made[asked.push] = found
        return found
