"""Methods by name: a schedule, what the network predicts, and the noise levels that it is trained on.

Each is a published recipe put together from rooms; `spread` is the standard deviation of the encoded data.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from driftback.data.levels import Levels as Grid
from driftback.errors import BadInput
from driftback.networks.memory import Kind
from driftback.processes.ddpm import DiscreteChain, betas_of
from driftback.processes.schedules import EDM, VE, VP, Cosine, LogSNR, Schedule, Straight, SubVP
from driftback.scores.fourier import Fourier
from driftback.scores.learned_variance import LearnedVariance
from driftback.scores.parametrisation import (
    Levels,
    Parametrisation,
    predict_edm,
    predict_flow,
    predict_noise,
)
from driftback.scores.spikes import HIGH, Spikes, bound_times
from driftback.training.times import ChainTimes, LogNormalRatio, TimeLaw, UniformTimes


@dataclass(frozen=True)
class Method:
    """A recipe: everything that a paper fixes, as functions of the data's standard deviation and an item's shape."""

    about: str
    schedule: Callable[[float], Schedule]
    predicts: Callable[[float], Parametrisation]
    times: Callable[[float, Sequence[int]], TimeLaw]
    captioned: tuple[float, float] | None = None
    """The mean and deviation of log(sigma / 2 sd) for items with captions, where these are others."""
    on_levels: bool = False
    """Whether data on few levels are treated as such (see `driftback.scores.parametrisation.Levels`)."""
    closed_form: Literal["", "corrected", "shown", "recorded", "smoothed", "patches"] = ""
    """Whether the network corrects a mixture's posterior mean, or is shown it (`driftback.networks.closed_form`), or
    the items themselves stand in its place (`driftback.networks.memory`).
    """
    draws: str = "stratified"
    """How noise levels are drawn from the law where nothing is said (`driftback.training.drawing.DRAWINGS`)."""
    bounds: bool = False
    """Whether it is trained on a bound, for data on levels as they are: they are not spread over their cells."""
    spikes: bool = False
    """Whether a coordinate has spikes at its ends; then data have levels (see `driftback.scores.spikes`)."""
    fine: bool = False
    """Whether its U-Nets have one finer resolution than the usual ones (see `driftback.networks.ladder`)."""
    optimiser: str = "adamw"
    """The rule of a step where nothing is said (`driftback.training.optimisers`)."""
    waves: bool = False
    """Whether the network is shown waves of a picture (see `driftback.scores.fourier`)."""
    autoguidance: float = 0.0
    """What samples are drawn with where nothing is said of guidance."""
    steps: int | None = None
    """Heun's rule in so many steps draws where nothing is said; None: a solver that is fitted to the model."""

    @property
    def remembers(self) -> bool:
        """Whether the items are kept as they are, and nothing is trained."""
        return self.closed_form in get_args(Kind)

    def parametrisation(
        self,
        spread: float,
        start: float = 0.0,
        step: float = 0.0,
        count: int = 0,
        event: Sequence[int] = (),
        centre: float = 0.0,
    ) -> Parametrisation:
        """What the network predicts; `start`, `step` and `count` are the encoded levels of discrete data, if any,
        `event` the shape of an item, and `centre` the data's mean where it is known.
        """
        if self.on_levels and count:
            return Levels(start, step, count, spread)
        if self.spikes and count:
            return Spikes(start, step, count, spread, centre)
        return Fourier(self.predicts(spread)) if self.waves and len(event) > 1 else self.predicts(spread)


def noise_law(mean: float, deviation: float, spread: float, event: Sequence[int]) -> TimeLaw:
    """log sigma ~ N(log(2 spread) + mean, deviation^2)."""
    return LogNormalRatio(mean + math.log(2 * spread), deviation)


def _edm_times(spread: float, event: Sequence[int]) -> TimeLaw:
    """EDM's law for pictures; a wider one for points, whose structure may be of any size (measured on eight shapes)."""
    return noise_law(-1.2, 1.2 if len(event) > 1 else 1.6, spread, event)


def _remembered(about: str, kind: Kind) -> Method:
    """A method without training: EDM's way back, in as many steps as its paper has for small pictures twice."""
    return Method(about, lambda spread: EDM(160 * spread), predict_edm, _edm_times, closed_form=kind, steps=36)


CHAIN = DiscreteChain(betas_of(Cosine(), 4000))
"""Improved DDPM's chain: the cosine schedule in 4,000 steps, its last betas cut at .999 (section 3 of the paper)."""


METHODS: dict[str, Method] = {
    "levels": Method(
        "data on few levels: the network predicts each coordinate's level from the others, its own evidence is exact",
        lambda spread: EDM(160 * spread),
        predict_edm,
        _edm_times,
        on_levels=True,
    ),
    "corrected": Method(
        "edm whose network corrects the exact denoiser of a mixture of Gaussians, fitted in a few seconds beforehand",
        lambda spread: EDM(160 * spread),
        predict_edm,
        _edm_times,
        # More of much noise, for what a caption says is all that is known there; wide, so that detail is learned too.
        captioned=(-0.2, 1.8),
        closed_form="corrected",
        optimiser="muon",
        # Measured on Fashion-MNIST after 5 and 30 minutes (docs/benchmarks.md); 18 steps are EDM's for small pictures.
        autoguidance=0.5,
        steps=18,
    ),
    "spikes": Method(
        "the bound on the probability of levels: each is the lowest, the highest, or from Gaussians, given the others",
        lambda spread: EDM(HIGH * spread),
        predict_edm,
        lambda spread, event: bound_times(spread),
        closed_form="shown",
        bounds=True,
        spikes=True,
        # Both measured on Fashion-MNIST (docs/benchmarks.md, "Bits per dimension").
        fine=True,
        optimiser="muon",
    ),
    "edm": Method(
        "preconditioned denoising (Karras et al. 2022, arXiv 2206.00364)",
        lambda spread: EDM(160 * spread),
        predict_edm,
        _edm_times,
    ),
    "ddpm": Method(
        "noise prediction with the simple loss on the variance-preserving schedule (Ho et al. 2020, arXiv 2006.11239)",
        lambda spread: VP(),
        predict_noise,
        lambda spread, event: UniformTimes(1e-3),
    ),
    "iddpm": Method(
        "noise prediction with learned variances and the hybrid loss, 4,000 cosine steps (Nichol and Dhariwal 2021, "
        "arXiv 2102.09672)",
        lambda spread: CHAIN,
        lambda spread: LearnedVariance(predict_noise(spread), CHAIN),
        lambda spread, event: ChainTimes(4000),
    ),
    "score-sde-vp": Method(
        "denoising score matching, weighted by sigma^2, on VP (Song et al. 2021, arXiv 2011.13456)",
        lambda spread: VP(),
        predict_noise,
        lambda spread, event: UniformTimes(1e-5),
    ),
    "score-sde-sub-vp": Method(
        "denoising score matching, weighted by sigma^2, on sub-VP (Song et al. 2021, arXiv 2011.13456)",
        lambda spread: SubVP(),
        predict_noise,
        lambda spread, event: UniformTimes(1e-3),
    ),
    "score-sde-ve": Method(
        "denoising score matching, weighted by sigma^2, on VE (Song et al. 2021, arXiv 2011.13456)",
        lambda spread: VE(0.02 * spread, 100 * spread),
        predict_noise,
        lambda spread, event: UniformTimes(1e-5),
    ),
    "vdm": Method(
        "the continuous-time bound, its schedule learned for the least variance (Kingma et al. 2021, arXiv 2107.00630)",
        lambda spread: LogSNR(),
        predict_noise,
        lambda spread, event: UniformTimes(1e-6),
        draws="importance",
        bounds=True,
        waves=True,
    ),
    "flow": Method(
        "flow matching along straight lines (Lipman et al. 2023, arXiv 2210.02747; Liu et al. 2023, arXiv 2209.03003)",
        lambda spread: Straight(),
        predict_flow,
        lambda spread, event: UniformTimes(1e-4),
    ),
    "recorded": _remembered(
        "no training: the exact score of the recorded items, which it returns (Karras et al. 2022, arXiv 2206.00364)",
        "recorded",
    ),
    "smoothed": _remembered(
        "no training: that score smoothed, which ends between the items (Scarvelis et al. 2023, arXiv 2310.12395)",
        "smoothed",
    ),
    "patches": _remembered(
        "no training: pictures by the exact score of their patches (Kamb and Ganguli 2024, arXiv 2412.20292)",
        "patches",
    ),
}

MOST_LEVELS = 32
"""Above so many levels their treatment one by one costs more than it gives."""


MOST_CORRECTED, LEAST_CORRECTED = 16_384, 1_000
"""Pictures of at most so many numbers, and at least so many of them, are learned from a mixture on."""


def default_method(levels: Grid | None, event: Sequence[int], items: int) -> str:
    """`levels` for data on at most 32 levels; for pictures `corrected`, where they are enough and not too large; else
    `edm`.
    """
    if levels is not None and levels.count <= MOST_LEVELS:
        return "levels"
    bearable = len(event) > 1 and math.prod(event) <= MOST_CORRECTED and items >= LEAST_CORRECTED
    return "corrected" if bearable else "edm"


def refuse_unfit(name: str, levels: Grid | None, event: Sequence[int]) -> None:
    """Raise BadInput where the method of this name is not for data on such `levels`, of items of shape `event`."""
    if METHODS[name].closed_form == "patches" and len(event) == 1:
        raise BadInput("method patches is for pictures, and these are points; use --method smoothed or edm")
    if METHODS[name].spikes and levels is None:
        raise BadInput(
            f"method {name} is for values on levels, as pictures have, and these have none; use --method edm"
        )


def method_named(name: str) -> Method:
    """The method of this name. Raises BadInput listing the names."""
    if name not in METHODS:
        raise BadInput(f"there is no method '{name}'; choose one of {', '.join(METHODS)}")
    return METHODS[name]
