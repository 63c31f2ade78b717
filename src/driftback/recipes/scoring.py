"""How probable encoded items are under a denoiser, block by block: a bound on levels, or the ODE's density.

Discrete data that are no levels are spread uniformly over their cells first (Theis et al. 2016, arXiv 1511.01844,
section 3.1), a few times, so that the error holds that draw too; and all is told in the units of the data.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from driftback.data.rows import Stack, blocks
from driftback.errors import BadInput
from driftback.evaluation.likelihood import LogLikelihood, averaged
from driftback.randomness import Rng
from driftback.recipes import bounds
from driftback.recipes.assembly import cells, raw_units
from driftback.recipes.bounds import How
from driftback.recipes.config import Config
from driftback.recipes.finite import refuse_far
from driftback.scores.learned import LearnedDenoiser

SPREADS = 4
"""So often discrete items are spread over their cells; what a bound draws, or Hutchinson probes, is shared by these."""


def _refuse_between(config: Config, x: Stack) -> None:
    """Raise BadInput, naming the first item, where `x` (n, *event) has values between those that discrete data have: a
    fraction in a column of whole numbers, or what is off the grid of pictures.
    """
    prepared = config.preprocessing
    if prepared.levels is not None or not (prepared.whole or prepared.grid):
        return
    for part in blocks(x):
        rows = x[part] if prepared.grid is not None else x[part][:, list(prepared.whole)]
        bad = rows != np.rint(rows) if prepared.grid is None else ~prepared.grid.holds(rows)
        if bad.any():
            item, *place = np.argwhere(bad)[0].tolist()
            j = prepared.whole[place[0]] if prepared.grid is None else 0
            where = f"column {prepared.columns[j]!r}" if prepared.columns else f"column {j}"
            where += " holds whole numbers"
            if prepared.grid is not None:
                where = f"values lie {prepared.grid.step:g} apart"
            raise BadInput(
                f"{where} in the data that the model was fitted on, and {rows[item, *place]:g} (item "
                f"{part.start + item}) is none of them: it has no probability; give data like those"
            )


def scored(
    config: Config,
    denoiser: LearnedDenoiser,
    x: Stack,
    labels: Tensor | None,
    done: Tensor | None,
    how: How,
    *,
    block: int,
    rng: Rng,
    progress: Callable[[int, int], None] | None = None,
) -> LogLikelihood:
    """The log-likelihood of items `x` (n, *event), in raw units, given `labels` (n, *row) where they are told,
    and what was `done` to each, (n, numbers); `block` items at once. Raises BadInput for a bound that the model does
    not have, and NotFinite where the network gives no numbers.
    """
    how.settled(config)
    _refuse_between(config, x)
    device, cell = next(denoiser.network.parameters()).device, cells(config)
    denoiser.network.eval()
    parts = []
    for first in range(0, len(x), block):
        some = slice(first, first + block)
        part, key = config.preprocessing.encode(x[some]).to(device), rng.item(first)
        given = denoiser if labels is None else denoiser.given(labels[some].to(device))
        given = given if done is None else replace(given, augmented=done[some].to(device))
        if cell is None:
            parts.append(bounds.told(how, config, given, part, key))
        else:
            wide = cell.to(part)
            keys = [key.child("dequantise", k) for k in range(SPREADS)]
            spread = [part + wide * (one.uniform(part.shape).to(part) - 0.5) for one in keys]
            drawn = [bounds.told(how, config, given, z, one, SPREADS) for z, one in zip(spread, keys, strict=True)]
            parts.append(averaged(drawn))
        refuse_far(parts[-1].nats, part, config.spread, "log-likelihood of item", first)
        if progress:
            progress(min(first + block, len(x)), len(x))
    # The bound is on a probability already; a density of the encoded data turns into one per raw unit or level.
    shift, words = raw_units(config)
    words += "" if cell is None else f", {SPREADS} draws"
    words += "" if done is None else ", of the whole canvas given its bucket"
    nats, error = torch.cat([p.nats for p in parts]).cpu() + shift, torch.cat([p.error for p in parts]).cpu()
    apart = [p.discretisation.cpu() for p in parts if p.discretisation is not None]
    steps = torch.cat(apart) if apart else None
    products = max(p.products for p in parts)
    most = max(p.evaluations for p in parts)
    # What the units add stands where the data's own noise does: in the last term, with the sign that it has there.
    own = {"L_0": -shift, "entropies": shift}
    terms = {
        name: torch.cat([p.terms[name] for p in parts if p.terms]).cpu() + own.get(name, 0.0)
        for name in parts[0].terms or {}
    }
    return LogLikelihood(nats, error, parts[0].method + words, most, steps, parts[0].freedom, terms or None, products)
