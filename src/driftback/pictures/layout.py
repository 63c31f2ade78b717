"""Where the panels of a scene stand on the sheet, in pixels: pure arithmetic, so that a test knows where to look.

A sheet is as wide as a README shows it. Room is left for what is written: numbers and names at the axes, titles above,
the caption and the moment below.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from driftback.pictures.scene import Limits, Panel, Scene

WIDTH, ALONE = 720, 520
"""Pixels across of a sheet with several panels, and with one."""
LEFT, BOTTOM, NAME, TITLE, CAPTION, EDGE = 40, 22, 16, 24, 28, 12
"""Room for the numbers at the left and below, for the name of an axis, a title, the caption, and at free edges."""


@dataclass(frozen=True)
class Box:
    """A panel's place on the sheet: pixels from the left and from the top."""

    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True)
class Sheet:
    """`width` x `height` pixels, a box for each panel, and `foot`, how high the room for the caption is."""

    width: int
    height: int
    boxes: tuple[Box, ...]
    foot: int

    def pixels(self, panel: Panel, number: int, x: np.ndarray) -> np.ndarray:
        """Where points `x` (n, 2) of panel `number` are drawn: (n, 2) pixels from the left and the top, not rounded."""
        box = self.boxes[number]
        left, right, bottom, top = widened(panel, box)
        across = box.left + (x[:, 0] - left) / (right - left) * box.width
        down = box.top + (top - x[:, 1]) / (top - bottom) * box.height
        return np.stack([across, down], 1)


def sheet(scene: Scene) -> Sheet:
    """The places of the panels of `scene`."""
    columns = scene.across
    total = ALONE if columns == 1 else WIDTH
    edges = [_room(panel) for panel in scene.panels]
    # All columns are as wide, and only the first may have names at its left.
    first_left = max(edge[0] for edge in edges[::columns])
    left = max((edge[0] for k, edge in enumerate(edges) if k % columns), default=0)
    wide = (total - first_left - (columns - 1) * left - columns * EDGE) // columns
    boxes, top = [], 0
    for first in range(0, len(scene.panels), columns):
        row = scene.panels[first : first + columns]
        above = max(edge[1] for edge in edges[first : first + columns])
        below = max(edge[2] for edge in edges[first : first + columns])
        high = max(round(wide * panel.shape) for panel in row)
        boxes += [Box(first_left + k * (wide + left + EDGE), top + above, wide, high) for k in range(len(row))]
        top += above + high + below
    foot = CAPTION if scene.caption or scene.moment else 0
    # Video wants an even number of pixels each way.
    height = top + max(foot, EDGE)
    return Sheet(total, height + height % 2, tuple(boxes), foot)


def widened(panel: Panel, box: Box) -> Limits:
    """The limits of `panel`, widened about their middle where one unit has to be as long across as up."""
    left, right, bottom, top = panel.limits
    if not panel.equal:
        return panel.limits
    unit = max((right - left) / box.width, (top - bottom) / box.height)
    x, y = (left + right) / 2, (bottom + top) / 2
    return x - unit * box.width / 2, x + unit * box.width / 2, y - unit * box.height / 2, y + unit * box.height / 2


def _room(panel: Panel) -> tuple[int, int, int]:
    """What a panel needs at its left, above and below."""
    left = LEFT if panel.numbers else EDGE
    below = BOTTOM if panel.numbers else EDGE // 2
    names = [NAME * (name.count("\n") + 1) if name else 0 for name in panel.names]
    above = TITLE + NAME * panel.title.count("\n") if panel.title else EDGE
    return left + names[1], above, below + names[0]
