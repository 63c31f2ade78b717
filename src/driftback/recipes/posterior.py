"""Draws of a fitted model after an observation, or times a second density, without training anew.

The ways, by name: `smc` weighs and copies many particles (`driftback.samplers.twisted`) that follow a denoiser which
knows of the observation (`driftback.scores.posterior`), `mmps` and `pigdm` follow it alone, `repaint` puts what is seen
in its place at every step, and `dps` steps down the misfit. How near each comes to exact posteriors:
docs/posteriors.md. Where no class, caption or number is asked for, the model is asked without any: what is seen tells
more of it than the shares of the training data do.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from driftback.arguments import near, whole
from driftback.distributions.observation import Observation
from driftback.errors import BadInput
from driftback.randomness import Rng
from driftback.recipes import conditions
from driftback.recipes.conditions import Wanted
from driftback.recipes.config import Config
from driftback.recipes.factor import Factor, Seen
from driftback.recipes.filled import Filled, is_rows, roots, said_of, squares_of
from driftback.recipes.finite import refuse_not_finite
from driftback.recipes.methods import METHODS as METHODS_OF_MODELS
from driftback.recipes.model import Model
from driftback.recipes.seen import OfItem
from driftback.samplers.frame import denoised_end, last
from driftback.samplers.grids import GRIDS
from driftback.samplers.markov.weights import effective
from driftback.samplers.twisted import Collapsed, Twisted, resampled
from driftback.scores.denoiser import Denoiser

Name = Literal["mmps", "pigdm", "smc", "repaint", "dps"]
STEPS, CLOUD_STEPS = 100, 200
"""On the way back where nothing is said, by `smc` of rows the second: its steps are as wide as its law is off."""
PARTICLES, CLOUD, EACH, MOST = 256, 1024, 4, 16_384
"""The fewest particles of one cloud where nothing is said, of pictures and of rows; of rows so many for each draw, at
most so many in all, where the draws are no more."""
FEW, FAMILIES = 0.02, 10
"""Where a smaller share of the particles counts somewhere, or all descend from fewer, the weights have collapsed."""
SHORT = 60
"""In fewer steps the draws of `smc` are told to be too narrow (docs/posteriors.md)."""
LOWER = 16
"""By so much the last noise of `smc` may be less than that of other ways."""


METHODS = ("mmps", "pigdm", "repaint", "dps", "smc")
"""After an observation; times a second density there are `guided` and `smc`."""


def usual(config: Config, factor: Factor) -> str:
    """The method where nothing is said: `smc` for rows, whose particles cost little; for pictures `mmps`, or `guided`
    times a second density. A model that remembers has next to no derivative: pictures of one are filled in by
    `repaint`, where it can, else by `smc`.
    """
    if METHODS_OF_MODELS[config.method].remembers:
        return "repaint" if factor.masked else "smc"
    return "smc" if len(config.preprocessing.internal_event) == 1 else next(iter(factor.ways))


def fill(
    model: Model,
    seen: Observation | Factor,
    n: int,
    *,
    method: str | None = None,
    wanted: Wanted | None = None,
    steps: int | None = None,
    particles: int | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Filled:
    """Draw `n` items of `model` given what was `seen` (`driftback.recipes.seen` makes it), or times a second
    density (`driftback.recipes.factor.Times`), and what is `wanted` of class, caption or number.

    `method` is one of `METHODS`, or of `smc` and `guided` times a second density (default: `usual`), `steps` are those
    of the way back (default: 100; 200 by `smc` of rows); `particles` are those of each cloud of `smc`, one cloud for
    all items of which the same is wanted, and no fewer than these (default: 256 of pictures; of rows 4 for each draw,
    1,024 to 16,384). Item i of a seed is the same for every `n`, but with `smc`. Raises BadInput for what cannot be
    drawn, NotFinite where the network gives no numbers.
    """
    factor: Factor = Seen(_fits(model, seen)) if isinstance(seen, Observation) else seen
    n, method, rows = whole(n, "n", 1), method or usual(model.config, factor), is_rows(model)
    wanted = shaped(wanted or Wanted(), seen, n)
    if method not in (*factor.ways, "smc"):
        raise BadInput(f"there is no method '{method}' here{near(method, (*factor.ways, 'smc'))}")
    if particles is not None and method != "smc":
        raise BadInput("particles belong to smc; leave them out, or fill in by --method smc")
    steps = whole((CLOUD_STEPS if method == "smc" and rows else STEPS) if steps is None else steps, "steps", 2)
    model.denoiser.network.eval()
    given = model.given(n, wanted, seed=seed)
    given = given if wanted.told else replace(given, rows=None)
    low, high = model.ways.ends
    if method == "smc":
        # Where the noise ends above that of what was seen, the last weights are as uneven as the one is wider.
        low = min(low, max(low / LOWER, factor.width / 4))
    even = method == "repaint" or (method == "smc" and rows)
    grid = GRIDS["log-snr" if even else "karras"](model.denoiser.process, steps, low=low, high=high)
    rng = Rng(seed).child("posterior")
    if method == "smc":
        return _clouds(model, factor, n, given, grid, particles, rng, progress)
    out, spent, block, squares, nowhere = [], 0, model.block, np.zeros(2), 0
    for first in range(0, n, block):
        count = min(block, n - first)
        denoiser = _told(model, given, first + np.arange(block) % count)
        start = model.denoiser.process.simple_at(float(grid[0])).sample(block, rng=rng.child("start").item(first))
        way = factor.ways[method](denoiser)
        frame = last(denoised_end(denoiser, way(start.to(model.device), grid, rng=rng.item(first))))
        refuse_not_finite(frame.x[:count], "sample", first)
        bucket = None if given.bucket is None else given.bucket[first : first + count]
        out.append(model.config.preprocessing.decode(frame.x[:count], bucket))
        spent, squares = max(spent, frame.evaluations), squares + count * squares_of(model, factor, frame.x[:count])
        nowhere += factor.impossible(frame.x[:count])
        if progress:
            progress(first + count, n)
    misfit, reach = roots(squares / n)
    said = said_of(misfit, reach, method)
    if nowhere:
        said += (
            f"{nowhere} of {n} items lie where the second density is 0, which has no slope there; try --method smc",
        )
    return Filled(np.concatenate(out), spent, misfit, reach, said=said)


def _fits(model: Model, seen: Observation) -> Observation:
    if seen.event != model.config.preprocessing.internal_event:
        raise BadInput(f"the observation is of items {seen.event}, not {model.config.preprocessing.internal_event}")
    if seen.y.shape != seen.seen:
        raise BadInput(f"one observation at a time: y is {tuple(seen.y.shape)}, and of an item {seen.seen} is seen")
    return seen


def shaped(wanted: Wanted, seen: Observation | Factor, n: int) -> Wanted:
    """What is `wanted` of `n` items of which something was `seen`: the shape of the bucket that it belongs to, if to
    any. BadInput where it is another.
    """
    if not isinstance(seen, OfItem) or seen.shape is None:
        return wanted
    if wanted.shape is not None and (np.asarray(wanted.shape) != seen.shape).any():
        raise BadInput(f"what was seen belongs to a picture of {seen.shape[0]}x{seen.shape[1]}; leave --shape out")
    return replace(wanted, shape=[seen.shape] * n)


def _told(model: Model, given: conditions.Given, rows: np.ndarray) -> Denoiser:
    told, done = conditions.told_of(model.config, given, rows, model.device)
    ways = model.ways.told(done)
    return ways.denoiser if told is None else ways.denoiser.given(told)


def _clouds(
    model: Model,
    factor: Factor,
    n: int,
    given: conditions.Given,
    grid: Tensor,
    particles: int | None,
    rng: Rng,
    progress: Callable[[int, int], None] | None,
) -> Filled:
    """A cloud for all items of each condition: particles of different ones have no weights in common."""
    alike, steps = _alike(given, n), len(grid) - 1
    clouds, x = [], None
    for k, items in enumerate(alike):

        def further(done: int, k: int = k) -> None:
            if progress:
                progress(k * steps + done, len(alike) * steps)

        wide = particles or _usual_particles(len(items), is_rows(model))
        key = rng if len(alike) == 1 else rng.child("cloud", k)
        denoiser = _told(model, given, items[:1])
        bucket = None if given.bucket is None else given.bucket[items]
        wide = whole(wide, "particles", len(items))
        one = _cloud(model, denoiser, factor, len(items), grid, wide, key, further, bucket)
        x = np.empty((n, *one.x.shape[1:]), one.x.dtype) if x is None else x
        x[items] = one.x
        clouds.append(one)
    if x is None or len(clouds) == 1:
        return clouds[0]
    least = min(one.effective or 0.0 for one in clouds)
    said = tuple(dict.fromkeys(line for one in clouds for line in one.said))
    each = [[len(one.x) * (math.nan if r is None else r) ** 2 for r in (one.misfit, one.reach)] for one in clouds]
    misfit, reach = roots(np.sum(each, 0) / n)
    families = min(one.families or 0 for one in clouds)
    return Filled(x, max(one.evaluations for one in clouds), misfit, reach, least, None, families, said)


def _alike(given: conditions.Given, n: int) -> list[np.ndarray]:
    """The numbers of the items that are drawn on the same, for each that there is."""
    told = [one.reshape(n, -1).astype(float) for one in (given.rows, given.bucket) if one is not None]
    if not told:
        return [np.arange(n)]
    kinds = np.unique(np.concatenate(told, 1), axis=0, return_inverse=True)[1].reshape(-1)
    return [np.flatnonzero(kinds == k) for k in range(kinds.max() + 1)]


def _usual_particles(n: int, rows: bool) -> int:
    return max(n, min(max(CLOUD, EACH * n), MOST) if rows else PARTICLES)


def _cloud(
    model: Model,
    denoiser: Denoiser,
    factor: Factor,
    n: int,
    grid: Tensor,
    particles: int,
    rng: Rng,
    further: Callable[[int], None],
    bucket: np.ndarray | None,
) -> Filled:
    sampler = Twisted(factor.twist(denoiser, is_rows(model)), block=model.block)
    start = model.denoiser.process.simple_at(float(grid[0])).sample(particles, rng=rng.child("start"))
    way = sampler(start.to(model.device), grid, rng=rng)
    size, fewest = float(particles), 0.0
    try:
        for k, frame in enumerate(way):
            weights = torch.zeros(particles) if frame.log_weights is None else frame.log_weights
            if (now := effective(weights)) < size:
                size, fewest = now, frame.t
            if k:
                further(k)
    except Collapsed as error:
        raise BadInput(f"{error}, an effective number of 0: {factor.hard}") from error
    x = resampled(frame, n, rng=rng.child("drawn"))
    refuse_not_finite(x, "sample", 0)
    log_z = float(torch.logsumexp(weights, 0)) - float(np.log(particles))
    families = 0 if frame.families is None else len(frame.families.unique())
    misfit, reach = roots(squares_of(model, factor, x))
    said = said_of(misfit, reach, "smc")
    if len(grid) - 1 < SHORT:
        said += (f"{len(grid) - 1} steps leave the draws of smc too narrow, at 50 by a tenth; take {CLOUD_STEPS}",)
    if size < max(2.0, FEW * particles) or families < min(FAMILIES, particles // 4):
        ratio = float(model.denoiser.process.ratio(fewest)) / model.config.spread
        said += (
            f"the weights have collapsed: {size:.1f} of {particles} particles counted where fewest did, at a noise "
            f"of {ratio:.2g} deviations, and all draws descend from {families}; {factor.hard}",
        )
    log_z -= factor.log_scale
    items = model.config.preprocessing.decode(x, bucket)
    return Filled(items, frame.evaluations, misfit, reach, size, log_z, families, said)
