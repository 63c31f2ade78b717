"""A model's log-density over a plane: log p of noised points by the probability-flow ODE, as the noise falls.

log p_r(y) = log N(y_1; m, v_1 I) + the gathered divergence along the ODE from y (Chen et al. 2018, arXiv 1806.07366;
Song et al. 2021, arXiv 2011.13456, section 4.3 and equation 39; `driftback.evaluation.likelihood`). Nothing makes it
integrate to one but that the network's flow is followed well, so the sum over the grid is a test: it is told, beside
that of the exact law over the same part of the plane.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch

from driftback.errors import BadInput
from driftback.evaluation.likelihood import ode_log_likelihood
from driftback.pictures.film import Film
from driftback.pictures.preview import axis_names
from driftback.pictures.scene import Density, Limits, Panel, Scene, around, centres
from driftback.pictures.shows.learned import learned
from driftback.pictures.shows.show import Fitted, Options, Show
from driftback.pictures.shows.subject import Subject, subject
from driftback.scores.denoiser import Denoiser

FRAMES = 30
CELLS, FEWER = 34, 26
"""The ODE is followed from the middle of so many cells each way; of a person's model, which may be larger, of fewer."""
HIGH, LOW = 0.8, 0.1
"""Noise at the first frame and at the last, in deviations of the data: less would fall between the cells."""
TOLERANCE = 2e-3
"""Of a step in log p, in nats: it is for the eye."""
DEPTH = 8.0
"""Log-densities are shown down to so many nats below the highest."""

Log = Callable[[float], np.ndarray]
"""From a noise level, in deviations, to log p (cells, cells) in the units of the axes."""


def make(options: Options) -> Film:
    """The film of `options.model`, or of a network fitted in seconds to `options.target`, two moons by default."""
    count = options.frames or FRAMES
    if options.model is not None:
        return Film(SHOW.name, _of_model(_in_the_plane(options.model, options.columns), options, count), count)
    about = subject(options.target or "two-moons", options.columns)
    return Film(SHOW.name, _of_target(about, options, count), count)


def _in_the_plane(model: Fitted, columns: tuple[str, ...] | None) -> Fitted:
    if columns is not None:
        raise BadInput("a model has the columns that it was fitted to; leave --columns out")
    if model.prepared.kind != "points" or model.prepared.event != (2,):
        raise BadInput(f"{model.name} is no model of two columns, and this film is of a plane; show forming instead")
    if not model.density or 0 in model.prepared.scale:
        raise BadInput(f"{model.name} has no density in the plane to show; fit with another method, or show forming")
    return model


def _levels(count: int) -> list[float]:
    return [float(level) for level in np.geomspace(HIGH, LOW, count)]


def _log(denoiser: Denoiser, places: torch.Tensor, volume: float) -> Log:
    """log p of the plane's `places` (cells^2, 2), encoded, where a unit of the axes is `volume` of theirs."""
    cells = round(len(places) ** 0.5)

    def log_p(level: float) -> np.ndarray:
        found = ode_log_likelihood(
            denoiser, places.float(), spread=denoiser.process.spread, low=level, tolerance=TOLERANCE
        )
        return found.nats.numpy().reshape(cells, cells) + np.log(volume)

    return log_p


def _of_target(about: Subject, options: Options, count: int) -> Iterator[Scene]:
    denoiser = learned(about, rng=options.rng(SHOW.name))
    places = about.inside(torch.from_numpy(centres(about.limits, CELLS)))
    log_p = _log(denoiser, places, 1 / float(np.prod(about.scale)))
    for level in _levels(count):
        exact = about.density(1.0, level)
        found, peak = log_p(level), float(exact.values.max())
        with np.errstate(divide="ignore"):
            layers = _above(found, about.limits, peak), _above(np.log(exact.values), about.limits, peak)
        panels = tuple(
            about.panel(layer, title=title)
            for layer, title in zip(layers, ("learned log p", "exact log p"), strict=True)
        )
        moment = f"{_moment(level, found, about.limits)}, exact {exact.integral:.3f}"
        yield Scene(panels, f"A small network's log-density of {about.name}", moment)


def _of_model(model: Fitted, options: Options, count: int) -> Iterator[Scene]:
    prepared, spread = model.prepared, model.denoiser.process.spread
    cloud = np.concatenate([frame.x.double().numpy() for frame in [*model.back(400, options.seed, 24)][-1:]])
    offset, scale = (np.broadcast_to(np.array(part), (2,)) for part in (prepared.offset, prepared.scale))
    # Noise of the first frame has to fit in, too.
    low, high = cloud.min(0) - 1.5 * HIGH * spread, cloud.max(0) + 1.5 * HIGH * spread
    limits = around(np.stack([low, high]) * scale + offset, share=0.0, room=0.0)
    places = torch.from_numpy((centres(limits, FEWER) - offset) / scale)
    log_p = _log(model.denoiser, places, 1 / float(np.prod(scale)))
    x, y = axis_names(prepared)
    for level in _levels(count):
        found = log_p(level)
        density = Density(np.exp(found), limits)
        layers = density, _above(found, limits, float(density.values.max()))
        panels = tuple(
            Panel((layer,), limits, title, (x, y), equal=False)
            for layer, title in zip(layers, ("learned density", "learned log p"), strict=True)
        )
        yield Scene(panels, f"The log-density of a model of {model.name}", _moment(level, found, limits))


def _moment(level: float, log_p: np.ndarray, extent: Limits) -> str:
    return f"noise {level:.2f}, integral {Density(np.exp(log_p), extent).integral:.3f}"


def _above(log_p: np.ndarray, extent: Limits, peak: float) -> Density:
    """`log_p` above `DEPTH` nats below the logarithm of `peak`, which is where it is darkest."""
    return Density(np.clip(log_p - (np.log(peak) - DEPTH), 0, None), extent, peak=DEPTH)


SHOW = Show(
    "log-density",
    "A network's log-density over a plane, by the probability-flow ODE, beside the exact one",
    "Chen et al. 2018, arXiv 1806.07366; Song et al. 2021, arXiv 2011.13456, section 4.3",
    make,
    place=11,
    models=True,
)
