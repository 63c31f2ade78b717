"""How each kind of layer is put on axes: a function that makes its artists and returns what brings them up to date."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from driftback.pictures.palette import Palette, colour
from driftback.pictures.scene import Arrows, Bars, Curve, Density, Layer, Paths, Points, Tiles

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SMALL = 8
"""Typographic points of the words below tiles, and of the numbers at the axes."""
RIM = 0.35
"""Typographic points of paper about a dot, which tell it from a density of the same lightness."""
HEAD = 0.35
"""The head of an arrow is this share of its length; half of it is how wide it is."""

Update = Callable[[Any], None]
"""Hands a layer's artists the numbers of another layer of the same kind."""


def _thin(axes: Axes) -> float:
    """Dots and lines are as wide as they say, and thinner on panels that are smaller than usual."""
    return float(min(1.0, (axes.bbox.width / 300) ** 0.5))


def _points(axes: Axes, layer: Points, palette: Palette, order: int) -> Update:
    look: dict[str, Any] = {"color": palette.roles[layer.role], "markeredgecolor": palette.paper, "zorder": order}
    (dots,) = axes.plot([], [], "o", markeredgewidth=RIM, **look)

    def update(layer: Points) -> None:
        dots.set_data(layer.x[:, 0], layer.x[:, 1])
        dots.set(markersize=layer.size * _thin(axes), alpha=layer.alpha)

    return update


def _density(axes: Axes, layer: Density, palette: Palette, order: int) -> Update:
    from matplotlib.colors import ListedColormap

    colours = ListedColormap(palette.ramp)
    image = axes.imshow(
        layer.values, cmap=colours, origin="lower", aspect="auto", interpolation="bilinear", zorder=order
    )

    def update(layer: Density) -> None:
        image.set_data(layer.values)
        image.set_extent(layer.extent)
        image.set_clim(0, layer.peak or float(layer.values.max()) or 1.0)
        image.set_alpha(layer.alpha)

    return update


def _arrows(axes: Axes, layer: Arrows, palette: Palette, order: int) -> Update:
    from matplotlib.collections import PolyCollection

    shapes = PolyCollection([], facecolors=palette.roles[layer.role], edgecolors="none", zorder=order)
    axes.add_collection(shapes, autolim=False)

    def update(layer: Arrows) -> None:
        # Heads are symmetrical on the picture, also where one unit is not as long across as up.
        (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
        unit = np.array([axes.bbox.width / (right - left), axes.bbox.height / (top - bottom)])
        shapes.set_verts(list(arrow_shapes(layer.x * unit, layer.v * unit) / unit))
        shapes.set_alpha(layer.alpha)

    return update


def arrow_shapes(x: np.ndarray, v: np.ndarray) -> np.ndarray:
    """The outlines (n, 7, 2) of arrows from `x` (n, 2) to `x + v`."""
    across = np.stack([-v[:, 1], v[:, 0]], 1) * HEAD / 2
    neck = x + (1 - HEAD) * v
    thin = 0.25 * across
    corners = (x - thin, neck - thin, neck - across, x + v, neck + across, neck + thin, x + thin)
    return np.stack(corners, 1)


def _paths(axes: Axes, layer: Paths, palette: Palette, order: int) -> Update:
    from matplotlib.collections import LineCollection

    lines = LineCollection([], colors=palette.roles[layer.role], linewidths=layer.width * _thin(axes), zorder=order)
    axes.add_collection(lines, autolim=False)

    def update(layer: Paths) -> None:
        lines.set_segments(list(layer.lines))
        lines.set_alpha(layer.alpha)

    return update


def _bars(axes: Axes, layer: Bars, palette: Palette, order: int) -> Update:
    steps = axes.stairs(layer.heights, layer.edges, fill=True, color=palette.roles[layer.role], zorder=order)

    def update(layer: Bars) -> None:
        steps.set_data(layer.heights, layer.edges)
        steps.set_alpha(layer.alpha)

    return update


def _curve(axes: Axes, layer: Curve, palette: Palette, order: int) -> Update:
    (line,) = axes.plot([], [], color=palette.roles[layer.role], linewidth=layer.width * _thin(axes), zorder=order)

    def update(layer: Curve) -> None:
        line.set_data(layer.x, layer.y)
        line.set_alpha(layer.alpha)

    return update


def _tiles(axes: Axes, layer: Tiles, palette: Palette, order: int) -> Update:
    paper = np.rint(255 * colour(palette.paper)).astype(np.uint8)
    image = axes.imshow(tiled(layer, paper), interpolation="nearest", aspect="auto", zorder=order)
    style: dict[str, Any] = {"fontsize": SMALL, "color": palette.ink, "ha": "center", "va": "center", "clip_on": True}
    style["parse_math"] = False
    texts = [axes.text(0, 0, word, zorder=order, **style) for word in layer.words]

    def update(layer: Tiles) -> None:
        (width, height), (high, wide) = layer.size, layer.pictures.shape[1:3]
        image.set_data(tiled(layer, paper))
        image.set_extent((0, width, 0, height))
        for i, text in enumerate(texts):
            left, top = layer.corner(i)
            text.set_position((left + wide / 2, height - top - high - layer.below / 2))

    return update


def tiled(layer: Tiles, paper: np.ndarray | int = 255) -> np.ndarray:
    """The pictures of `layer` on one sheet (height, width, 3) uint8 of the colour `paper` (3,), white by default."""
    width, height = layer.size
    sheet = np.full((height, width, 3), paper, np.uint8)
    high, wide = layer.pictures.shape[1:3]
    for i, one in enumerate(layer.pictures):
        left, top = layer.corner(i)
        sheet[top : top + high, left : left + wide] = one
    return sheet


DRAW: dict[type[Layer], Callable[..., Update]] = {
    Points: _points,
    Density: _density,
    Arrows: _arrows,
    Paths: _paths,
    Bars: _bars,
    Curve: _curve,
    Tiles: _tiles,
}
"""How each kind of layer is put on axes; a new kind joins by its class in `scene`, and a function and a line here."""
