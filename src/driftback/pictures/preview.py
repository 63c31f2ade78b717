"""A look at what a model draws now: a grid of pictures, or a scatter of the first two columns of points."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from driftback.data.buckets import WHITE
from driftback.data.layouts import LAYOUTS
from driftback.data.preprocessing import Preprocessing
from driftback.files import writing
from driftback.pictures.layers import tiled
from driftback.pictures.palette import LIGHT
from driftback.pictures.scene import Tiles


def preview(x: np.ndarray, path: Path, prepared: Preprocessing) -> None:
    """Draw raw items `x` (n, *event) to the PNG file `path`, whole or not at all."""
    image = scatter(x, names=axis_names(prepared)) if prepared.kind == "points" else picture_grid(x, prepared)
    with writing(path) as temporary:
        image.save(temporary, format="PNG")


def axis_names(prepared: Preprocessing) -> tuple[str, ...]:
    """What to write at the axes of points: the names of their columns, or their numbers."""
    return prepared.columns or tuple(f"column {j}" for j in range(prepared.event[0]))


def on_white(x: np.ndarray, prepared: Preprocessing, bucket: np.ndarray | None) -> np.ndarray:
    """Raw pictures `x` (n, *event) with white, as a sheet has, outside of their `bucket` (n,), if there are any."""
    return x if bucket is None or prepared.buckets is None else prepared.buckets.painted(x, bucket, WHITE)


def tiles(x: np.ndarray, prepared: Preprocessing) -> np.ndarray:
    """Raw pictures `x` (n, *event) as colours on a screen, (n, height, width, 3) uint8, without transparency."""
    low, high = prepared.bounds or (float(x.min()), float(x.max()))
    inside = LAYOUTS[prepared.layout].inward(x).astype(np.float64)
    shown = np.rint((inside - low) / ((high - low) or 1.0) * 255).clip(0, 255).astype(np.uint8)
    colours = shown[:, :3] if shown.shape[1] >= 3 else shown[:, :1].repeat(3, 1)
    return np.moveaxis(colours, 1, -1)


def picture_grid(
    x: np.ndarray, prepared: Preprocessing, *, columns: int | None = None, least: int = 480
) -> Image.Image:
    """Raw pictures `x` (n, *event) side by side, enlarged by a whole factor to `least` pixels across or more."""
    sheet = tiled(Tiles(tiles(x, prepared), columns or max(1, int(np.ceil(np.sqrt(len(x)))))))
    factor = max(1, -(-least // sheet.shape[1]))
    return Image.fromarray(sheet.repeat(factor, 0).repeat(factor, 1))


def scatter(x: np.ndarray, *, real: np.ndarray | None = None, names: Sequence[str] = ()) -> Image.Image:
    """Points `x` (n, d): the first two columns as a scatter, over `real` ones in grey; one column as a histogram.

    `names` are written at the axes. Few points have larger dots: ten must be seen, and thousands told apart.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.8, 4.8), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    if x.shape[1] == 1:
        for points, colour in ((real, LIGHT.roles["faint"]), (x, LIGHT.roles["made"])):
            if points is not None:
                axes.hist(points[:, 0], bins=60, density=True, color=colour, alpha=0.7)
    else:
        for points, colour in ((real, LIGHT.roles["faint"]), (x, LIGHT.roles["made"])):
            if points is not None:
                axes.scatter(
                    points[:, 0],
                    points[:, 1],
                    s=min(36, max(2, 2000 / len(points))),
                    color=colour,
                    linewidths=0,
                    rasterized=True,
                )
        axes.set_aspect("equal", "datalim")
    if names:
        axes.set(xlabel=names[0], ylabel=names[1] if x.shape[1] > 1 else "density")
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3])
