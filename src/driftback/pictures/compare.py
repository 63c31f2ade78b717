"""Where every way of drawing from one target has put its points, side by side, over the exact ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from driftback.files import writing
from driftback.pictures.palette import LIGHT

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN, ACROSS = 1000, 3
"""So many points are drawn in a panel, and so many panels stand side by side."""


def comparison_figure(panels: Sequence[tuple[str, np.ndarray]], truth: np.ndarray | None) -> Figure:
    """A panel for each (title, points (n, d)): the first two coordinates, or the first against density for d = 1."""
    from matplotlib.figure import Figure

    rows = -(-len(panels) // ACROSS)
    across = min(ACROSS, len(panels))
    figure = Figure(figsize=(3.2 * across, 3.3 * rows), layout="constrained")
    axes = figure.subplots(rows, across, squeeze=False).flatten()
    clouds = [_flat(points) for _, points in panels]
    frame = _flat(truth) if truth is not None else np.concatenate(clouds)
    low, high = np.quantile(frame, [0.002, 0.998], axis=0)
    room = 0.1 * (high - low) + 1e-9
    for ax, (title, _), points in zip(axes, panels, clouds, strict=False):
        if truth is not None:
            ax.plot(*frame.T, ".", color=LIGHT.roles["faint"], markersize=2, zorder=1)
        ax.plot(*points.T, ".", color=LIGHT.roles["made"], markersize=2, zorder=2)
        ax.set(xlim=(low[0] - room[0], high[0] + room[0]), ylim=(low[1] - room[1], high[1] + room[1]))
        ax.set_title(title, fontsize=9)
        ax.tick_params(labelsize=7)
    for ax in axes[len(panels) :]:
        ax.set_axis_off()
    return figure


def comparison_picture(panels: Sequence[tuple[str, np.ndarray]], truth: np.ndarray | None, path: Path) -> None:
    """Write `comparison_figure` to a .png or .svg."""
    figure = comparison_figure(panels, truth)
    with writing(path) as temporary:
        kind = path.suffix.lower().removeprefix(".")
        # No date and no version of the library, so that one seed gives one file.
        metadata = {"Date": None} if kind == "svg" else {"Software": None}
        figure.savefig(temporary, format=kind, dpi=110, metadata=metadata)


def _flat(x: np.ndarray) -> np.ndarray:
    """Up to `SHOWN` points as (n, 2); those with one coordinate get their number as the second."""
    flat = np.asarray(x, dtype=np.float64).reshape(len(x), -1)[:SHOWN]
    if flat.shape[1] == 1:
        flat = np.column_stack([flat[:, 0], np.linspace(0, 1, len(flat))])
    return flat[:, :2]
