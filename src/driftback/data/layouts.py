"""Layouts: where rows, columns and channels stand in a raw item, and the way to the internal order and back.

Points are (d,); pictures are (channels, height, width) inside, whatever the order that they came in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from driftback.errors import BadInput


@dataclass(frozen=True)
class Layout:
    """How items (n, *raw event) are turned into the internal order and back; both are views where they can be."""

    inward: Callable[[np.ndarray], np.ndarray]
    outward: Callable[[np.ndarray], np.ndarray]


def _same(x: np.ndarray) -> np.ndarray:
    return x


LAYOUTS: dict[str, Layout] = {
    "d": Layout(_same, _same),
    "hw": Layout(lambda x: x[:, None], lambda z: z[:, 0]),
    "hwc": Layout(lambda x: np.moveaxis(x, -1, 1), lambda z: np.moveaxis(z, 1, -1)),
    "chw": Layout(_same, _same),
}


def layout_of(event: tuple[int, ...]) -> str:
    """The layout of an item of this raw shape: (d,), (h, w), (h, w, c) or (c, h, w).

    Channels come first if and only if the first axis is 1, 3 or 4 and the last is not; otherwise the last axis, of at
    most 4, holds them. Raises BadInput for any other shape.
    """
    if len(event) in (1, 2):
        return ("d", "hw")[len(event) - 1]
    if len(event) == 3:
        if event[0] in (1, 3, 4) and event[-1] not in (1, 3, 4):
            return "chw"
        if event[-1] <= 4:
            return "hwc"
        raise BadInput(
            f"cannot tell which axis of an item of shape {event} holds the channels: put 1 to 4 channels last"
        )
    raise BadInput(
        f"items of shape {event} are neither points (d,) nor pictures (h, w), (h, w, c), (c, h, w): reshape them"
    )
