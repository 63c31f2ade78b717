"""A frame: where the points are at one time of their way. Samplers are generators of frames.

Trajectories, progress bars, callbacks, films and early stopping are then a `for` loop over what a sampler yields.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from driftback.randomness import Rng
from driftback.scores.denoiser import Denoiser


@dataclass(frozen=True)
class Frame:
    """Points `x` (n, *event) at time `t`, and what happened on the way there."""

    t: float
    x: Tensor
    evaluations: int = 0
    """Network or score evaluations per point, so far."""
    accepted: Tensor | None = None
    """(n,) bool, for samplers that accept and reject."""
    log_weights: Tensor | None = None
    """(n,) in nats, for samplers that weight their points; the log of the mean weight is their estimate of log Z."""
    families: Tensor | None = None
    """(n,) numbers, for samplers that copy their points: only those of different families are independent."""


class Sampler(Protocol):
    """Ingredient three: carries a cloud of points through a sequence of times."""

    def __call__(self, x: Tensor, times: Tensor, *, rng: Rng | int | None = None) -> Iterator[Frame]:
        """Yield one frame per entry of `times` (float64, (steps + 1,)), the first being `x` (n, *event) itself."""
        ...


def last(frames: Iterator[Frame]) -> Frame:
    """Run a sampler to its end and keep the last frame only."""
    kept = deque(frames, maxlen=1)
    if not kept:
        raise ValueError("a sampler yielded no frame; give it at least one time")
    return kept[0]


def denoised_end(denoiser: Denoiser, frames: Iterator[Frame]) -> Iterator[Frame]:
    """The same frames, and where noise is left at t = 0 (VE) one more: its points denoised.

    The last step of Song et al. 2021, arXiv 2011.13456, appendix G (Tweedie's formula).
    """
    frame = None
    for frame in frames:
        yield frame
    if frame is not None and frame.t == 0 and float(denoiser.process.sigma(0.0)) > 0:
        yield Frame(0.0, denoiser.denoised(frame.x, 0.0), frame.evaluations + 1)
