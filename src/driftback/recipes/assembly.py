"""A denoiser put together from a config: process, network, and what the network's output means."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor

from driftback.networks.presets import build
from driftback.processes.diffusion import Diffusion
from driftback.recipes import buckets
from driftback.recipes.config import Config
from driftback.recipes.methods import METHODS, noise_law
from driftback.scores.learned import LearnedDenoiser
from driftback.training.times import TimeLaw
from driftback.training.weightings import WEIGHTINGS


def untrained(config: Config) -> LearnedDenoiser:
    """The denoiser that `config` describes, with the weights that its seed starts from."""
    method, prepared = METHODS[config.method], config.preprocessing
    event = prepared.internal_event
    parametrisation = method.parametrisation(config.spread, *encoded_levels(config), event, config.centre)
    before, after = parametrisation.channels(event[0])
    network = build(
        config.network,
        before,
        after,
        event,
        len(config.class_counts),
        seed=config.plan.seed,
        closed_form=config.closed_form,
        spread=config.spread,
        augment=buckets.numbers(config),
        encoder=None if config.condition is None else config.condition.network(),
    )
    process = Diffusion(method.schedule(config.spread), event, config.spread)
    return LearnedDenoiser(process, network, parametrisation)


def training_times(config: Config) -> TimeLaw:
    """The law of the noise levels that the model of `config` is trained on."""
    method, event = METHODS[config.method], config.preprocessing.internal_event
    process = Diffusion(method.schedule(config.spread), event, config.spread)
    times = method.times if config.plan.noise is None else partial(noise_law, *config.plan.noise)
    return WEIGHTINGS[config.plan.weighting].law(times(config.spread, event), process)


def encoded_levels(config: Config) -> tuple[float, float, int]:
    """First level, step and number of levels of the encoded data; (0, 0, 0) when it is continuous."""
    values = config.preprocessing.level_values
    return (0.0, 0.0, 0) if values is None else (float(values[0]), float(values[1] - values[0]), len(values))


def bounded(config: Config) -> bool:
    """Whether the model's likelihood is a variational bound on the probability of levels."""
    method = METHODS[config.method]
    return config.preprocessing.levels is not None and (method.on_levels or method.bounds)


WHOLE = 0.25
"""Whole numbers beside fractions are spread over this share of the way to the next: the gaps keep rounding safe."""


def cells(config: Config) -> Tensor | None:
    """How wide discrete values are spread (dequantised) before the model sees them, encoded: () for all (levels, and
    pictures on a fine grid), or per column (d,). None where nothing is spread: continuous data, and methods that know
    the levels themselves.
    """
    prepared = config.preprocessing
    if prepared.levels is not None:
        return None if bounded(config) else torch.tensor(encoded_levels(config)[1])
    if prepared.grid is not None:
        return torch.tensor(prepared.grid.step / prepared.scale[0])
    # A column that never changes has scale 0, and is put back whatever is drawn there.
    discrete = [j in prepared.whole or s == 0 for j, s in enumerate(prepared.scale)]
    if not any(discrete):
        return None
    return torch.tensor(
        [WHOLE / (s or 1.0) if spread else 0.0 for s, spread in zip(prepared.scale, discrete, strict=True)]
    )


def raw_units(config: Config) -> tuple[float, str]:
    """What turns the log-density of encoded items, spread over `cells`, into one per raw unit and discrete value: a
    summand in nats, and words that say so.
    """
    prepared, cell = config.preprocessing, cells(config)
    if bounded(config):
        return 0.0, ""  # the bound is on a probability already
    if cell is None:
        return prepared.log_det, ""
    if cell.ndim == 0:
        return math.prod(prepared.event) * math.log(cell), ", uniform dequantisation"
    # A whole number's cell is `WHOLE` raw units wide; a column that never changes counts nothing.
    spread = int((cell > 0).sum()) * math.log(WHOLE)
    return prepared.log_det + spread, ", uniform dequantisation of the discrete columns"


def lowest_ratio(config: Config) -> float:
    """The noise-to-data ratio under which less than a thousandth of the training took place; never below the process's.

    A denoiser is not asked below it: there it was not trained.
    """
    process = Diffusion(METHODS[config.method].schedule(config.spread), (1,), config.spread)
    u = torch.tensor([1e-3], dtype=torch.float64)
    t = training_times(config).quantile(u, process)
    return max(float(process.ratio(t)), float(process.ratio(0.0)))


MOST_SIGNAL = 1e-3
"""More signal than this at the end of the way forward is worth a warning: the way back starts from none. The methods
here leave at most 1e-4, but vdm up to 0.007, as published; 0.005 is known to spoil brightness and contrast (Lin et al.
2023, arXiv 2305.08891, table 1).
"""


def remaining_signal(config: Config) -> float:
    """The signal-to-noise ratio at t = 1, in squares: what is left of the data where the way back starts."""
    process = Diffusion(METHODS[config.method].schedule(config.spread), (1,), config.spread)
    return (config.spread / float(process.ratio(1.0))) ** 2


def signal_warning(config: Config) -> str | None:
    """A sentence if the end of the way forward is not the simple distribution that the way back starts from."""
    left = remaining_signal(config)
    if left <= MOST_SIGNAL:
        return None
    return (
        f"the forward process ends with a signal-to-noise ratio of {left:.2g}, not under {MOST_SIGNAL:g}: its end is "
        "not the simple distribution that samples start from; use --method edm or flow, or a schedule with more noise"
    )
