"""Frames that know the units of their data: a sampler's frames, and what turns their points into what a person gave.

Samplers move encoded points and know nothing of data. Whoever starts them does, and hands both on as one iterator: for
everything that only wants frames it is one like any other, and a film can ask it for items.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from driftback.data.preprocessing import Preprocessing
from driftback.pictures.preview import on_white
from driftback.processes.diffusion import Diffusion
from driftback.samplers.frame import Frame


@dataclass(frozen=True, eq=False)
class Way(Iterator[Frame]):
    """The frames of n items, encoded by `prepared`, under `process`; `words` (n,) tell what they are drawn on, and
    `bucket` (n,) which shape each picture has, where there are any.
    """

    frames: Iterator[Frame]
    prepared: Preprocessing
    process: Diffusion
    words: tuple[str, ...] = ()
    bucket: np.ndarray | None = None

    def __iter__(self) -> Iterator[Frame]:
        return self

    def __next__(self) -> Frame:
        return next(self.frames)

    def items(self, frame: Frame) -> np.ndarray:
        """The points of `frame` in the units and the layout of the data, (n, *event)."""
        return self.prepared.decode(frame.x)

    def pictures(self, frame: Frame) -> np.ndarray:
        """The pictures of `frame`, shrunk, (n, *event), white outside of their bucket."""
        return on_white(self.prepared.decode(self.shrunk(frame).x, self.bucket), self.prepared, self.bucket)

    def noise(self, t: float) -> float:
        """The noise at time `t`, in deviations of the data."""
        return float(self.process.ratio(t)) / self.process.spread

    def shrunk(self, frame: Frame) -> Frame:
        """`frame` with the deviation of the data; without it pictures would begin all black and white."""
        return replace(frame, x=frame.x * shrinking(self.process, frame.t))


def shrinking(process: Diffusion, t: float) -> float:
    """What brings x_t to the deviation of the data."""
    return process.spread / process.simple_at(t).deviation
