"""Draws of a fitted model after an observation, without training anew: what is not seen is filled in, many times.

The ways, by name: `mmps` and `pigdm` follow a denoiser that knows of the observation (`driftback.scores.posterior`),
`smc` weighs and copies many particles that do (`driftback.samplers.twisted`), `repaint` puts what is seen in its place
at every step, and `dps` steps down the misfit. How near each comes to exact posteriors: docs/posteriors.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from driftback.arguments import near, whole
from driftback.distributions.observation import Observation
from driftback.distributions.operators import Mask
from driftback.errors import BadInput
from driftback.randomness import Rng
from driftback.recipes import conditions
from driftback.recipes.conditions import Wanted
from driftback.recipes.finite import refuse_not_finite
from driftback.recipes.model import Model
from driftback.samplers.ancestral import Ancestral
from driftback.samplers.dps import DPS
from driftback.samplers.frame import Sampler, denoised_end, last
from driftback.samplers.grids import GRIDS
from driftback.samplers.markov.weights import effective
from driftback.samplers.repaint import Repaint
from driftback.samplers.twisted import Twisted, resampled
from driftback.scores.denoiser import Denoiser
from driftback.scores.posterior import Isotropic, Jacobian, Posterior

Name = Literal["mmps", "pigdm", "smc", "repaint", "dps"]
STEPS = 100
PARTICLES = 256
"""The fewest particles of one cloud where nothing is said."""
FEW = 0.02
"""Where fewer than this share of the particles count at the end, the weights have collapsed."""


@dataclass(frozen=True, eq=False)
class Filled:
    """Items `x` (n, *event) in the units of the data, the `evaluations` that each took, and, of `smc`, the `effective`
    number of its particles at the end and the log-evidence log p(y) in nats, of the encoded observation.
    """

    x: np.ndarray
    evaluations: int
    effective: float | None = None
    log_evidence: float | None = None
    said: tuple[str, ...] = ()
    """What to warn a person of."""


def _repaint(denoiser: Denoiser, seen: Observation) -> Sampler:
    if not isinstance(seen.operator, Mask):
        raise BadInput("repaint puts pixels in their place, so it wants a mask; use --method mmps or smc")
    return Repaint(denoiser, seen.operator, seen.y)


WAYS: dict[str, Callable[[Denoiser, Observation], Sampler]] = {
    "mmps": lambda denoiser, seen: Ancestral(Posterior(denoiser, seen, Jacobian())),
    "pigdm": lambda denoiser, seen: Ancestral(Posterior(denoiser, seen, Isotropic())),
    "repaint": _repaint,
    "dps": lambda denoiser, seen: DPS(denoiser, seen),
}
"""What draws item by item; `smc` draws a cloud."""
METHODS = (*WAYS, "smc")


def fill(
    model: Model,
    seen: Observation,
    n: int,
    *,
    method: str = "mmps",
    wanted: Wanted | None = None,
    steps: int = STEPS,
    particles: int | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Filled:
    """Draw `n` items of `model` given what was `seen` (`driftback.recipes.seen` makes it), and what is `wanted` of
    class, caption or number.

    `steps` on the way back; `particles` >= n are the cloud of `smc` (default: 256, at least n). Item i of a seed is the
    same for every `n`, but with `smc`. Raises BadInput for what cannot be drawn, NotFinite where the network gives no
    numbers.
    """
    n, steps = whole(n, "n", 1), whole(steps, "steps", 2)
    if method not in METHODS:
        raise BadInput(f"there is no method '{method}' to fill in by{near(method, METHODS)}")
    if seen.event != model.config.preprocessing.internal_event:
        raise BadInput(f"the observation is of items {seen.event}, not {model.config.preprocessing.internal_event}")
    if particles is not None and method != "smc":
        raise BadInput("particles belong to smc; leave them out, or fill in by --method smc")
    model.denoiser.network.eval()
    given = model.given(n, wanted or Wanted(), seed=seed)
    low, high = model.ways.ends
    grid = GRIDS["karras"](model.denoiser.process, steps, low=low, high=high)
    rng = Rng(seed).child("posterior")
    if method == "smc":
        return _cloud(model, seen, n, given, grid, whole(particles or max(n, PARTICLES), "particles", n), rng, progress)
    out, spent, block = [], 0, model.block
    for first in range(0, n, block):
        count = min(block, n - first)
        denoiser = _told(model, given, first + np.arange(block) % count)
        start = model.denoiser.process.simple_at(float(grid[0])).sample(block, rng=rng.child("start").item(first))
        way = WAYS[method](denoiser, seen)
        frame = last(denoised_end(denoiser, way(start.to(model.device), grid, rng=rng.item(first))))
        refuse_not_finite(frame.x[:count], "sample", first)
        out.append(model.config.preprocessing.decode(frame.x[:count]))
        spent = max(spent, frame.evaluations)
        if progress:
            progress(first + count, n)
    return Filled(np.concatenate(out), spent)


def _told(model: Model, given: conditions.Given, rows: np.ndarray) -> Denoiser:
    told, done = conditions.told_of(model.config, given, rows, model.device)
    ways = model.ways.told(done)
    return ways.denoiser if told is None else ways.denoiser.given(told)


def _cloud(
    model: Model,
    seen: Observation,
    n: int,
    given: conditions.Given,
    grid: Tensor,
    particles: int,
    rng: Rng,
    progress: Callable[[int, int], None] | None,
) -> Filled:
    rows = np.zeros(particles, np.int64)  # one cloud has one condition
    sampler = Twisted(Posterior(_told(model, given, rows), seen, Isotropic()))
    start = model.denoiser.process.simple_at(float(grid[0])).sample(particles, rng=rng.child("start"))
    way = sampler(start.to(model.device), grid, rng=rng)
    frame = next(way)
    for k, later in enumerate(way):
        frame = later
        if progress:
            progress(k + 1, len(grid) - 1)
    weights = torch.zeros(particles) if frame.log_weights is None else frame.log_weights
    size = effective(weights)
    x = resampled(frame, n, rng=rng.child("drawn"))
    refuse_not_finite(x, "sample", 0)
    said: tuple[str, ...] = ()
    if size < max(2.0, FEW * particles):
        said = (
            f"the weights have collapsed: {size:.1f} of {particles} particles count, so the draws are nearly one; "
            "the observation is improbable under the model, or its noise too small: give a larger --noise or more "
            "particles",
        )
    log_z = float(torch.logsumexp(weights, 0)) - float(np.log(particles))
    families = 0 if frame.families is None else len(frame.families.unique())
    if families and families < 10 and not said:
        said = (f"all draws descend from {families} first particles, and are alike; give more particles",)
    return Filled(model.config.preprocessing.decode(x), frame.evaluations, size, log_z, said)
