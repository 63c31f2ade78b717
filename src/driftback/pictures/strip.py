"""A film on one sheet: a few of its moments side by side, a row for each panel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from textwrap import fill
from typing import Any

import numpy as np

from driftback.pictures.scene import Layer, Scene, Tiles

STRIP, LETTERS, FEW = 5, 16, 9
"""A strip shows so many moments, breaks what is written beside them into lines of so many letters, and shows so many of
the pictures of each."""


def side_by_side(scenes: Sequence[Scene], moments: int = STRIP) -> Scene:
    """`moments` of the `scenes`, evenly spaced from the first to the last, side by side: a row for each panel.

    The moments are written above the columns, and the panels' titles, up to a colon, at the left of the rows.
    """
    places = np.unique(np.linspace(0, len(scenes) - 1, moments).round().astype(int))
    shown = [scenes[k] for k in places]
    panels = [
        replace(
            scene.panels[row],
            layers=tuple(map(_fewer, scene.panels[row].layers)),
            title=fill(scene.moment, LETTERS) if row == 0 else "",
            names=("", fill(scene.panels[row].title.partition(":")[0], LETTERS) if column == 0 else ""),
            numbers=False,
        )
        for row in range(len(shown[0].panels))
        for column, scene in enumerate(shown)
    ]
    # Pictures that are fewer fill their panel again.
    panels = [replace(panel, **_whole(panel.layers[0])) for panel in panels]
    return Scene(tuple(panels), shown[-1].caption, columns=len(shown))


def _fewer(layer: Layer) -> Layer:
    """Of many small pictures the first few, without their words: a strip has no room for more."""
    if not isinstance(layer, Tiles):
        return layer
    return replace(layer, pictures=layer.pictures[:FEW], columns=min(layer.columns, math.isqrt(FEW)), words=())


def _whole(layer: Layer) -> dict[str, Any]:
    if not isinstance(layer, Tiles):
        return {}
    width, height = layer.size
    return {"limits": (0, width, 0, height), "shape": height / width}
