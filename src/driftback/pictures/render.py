"""A scene as pixels or as SVG, by matplotlib's Agg: the same scene and palette give the same bytes.

From frame to frame of a film the figure stays, and its artists are handed new numbers: making axes takes longer than
drawing them. Each kind of layer has one function here that puts it on axes and returns what brings it up to date.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from driftback.pictures.layout import Sheet, sheet, widened
from driftback.pictures.palette import PALETTES, Palette, colour
from driftback.pictures.scene import Arrows, Bars, Curve, Density, Layer, Panel, Paths, Points, Scene, Tiles

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

DPI = 100
SMALL, USUAL = 8, 9.5
"""Typographic points of the numbers at the axes and the words below tiles, and of everything else that is written."""
HEAD = 0.35
"""The head of an arrow is this share of its length; half of it is how wide it is."""

Update = Callable[[Any], None]
"""Hands a layer's artists the numbers of another layer of the same kind."""


def pixels(scenes: Iterable[Scene], *, dark: bool = False) -> Iterator[np.ndarray]:
    """Each scene as (height, width, 3) uint8. Scenes that follow one another and are built alike cost less."""
    drawn: _Drawn | None = None
    for scene in scenes:
        with _plain():
            drawn = drawn if drawn is not None and drawn.fits(scene) else _Drawn(scene, PALETTES[dark])
            drawn.show(scene)
            canvas: Any = drawn.figure.canvas
            canvas.draw()
            shot = np.asarray(canvas.buffer_rgba())[..., :3].copy()
        yield shot


def picture(scene: Scene, *, dark: bool = False) -> np.ndarray:
    """One scene as (height, width, 3) uint8."""
    return next(pixels([scene], dark=dark))


def svg(scene: Scene, *, dark: bool = False) -> bytes:
    """One scene as SVG, its letters as outlines, so that it looks the same everywhere."""
    with _plain():
        drawn = _Drawn(scene, PALETTES[dark])
        drawn.show(scene)
        out = io.BytesIO()
        drawn.figure.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()


@contextmanager
def _plain() -> Iterator[None]:
    """matplotlib as it comes, whatever a person's own settings say, with its own type."""
    from matplotlib import rc_context, rcParamsDefault

    own = {name: value for name, value in rcParamsDefault.items() if "backend" not in name}
    with rc_context(own | {"font.family": ["DejaVu Sans"], "svg.hashsalt": "driftback", "svg.fonttype": "path"}):
        yield


@dataclass(frozen=True, eq=False)
class _Kept:
    """A panel's axes, and what brings each of its layers up to date."""

    axes: Axes
    updates: tuple[Update, ...]


class _Drawn:
    """A figure made for one scene, which can show others that are built alike."""

    def __init__(self, scene: Scene, palette: Palette) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self.key, self.sheet, self.palette = _key(scene), sheet(scene), palette
        size = self.sheet.width / DPI, self.sheet.height / DPI
        self.figure: Figure = Figure(figsize=size, dpi=DPI, facecolor=palette.paper)
        FigureCanvasAgg(self.figure)
        self.panels = [self._panel(panel, k) for k, panel in enumerate(scene.panels)]
        foot = self.sheet.foot / 2 / self.sheet.height
        write: dict[str, Any] = {"fontsize": USUAL, "color": palette.ink, "va": "center"}
        self.caption: Text = self.figure.text(EDGE_SHARE, foot, "", ha="left", **write)
        self.moment: Text = self.figure.text(1 - EDGE_SHARE, foot, "", ha="right", **write)

    def fits(self, scene: Scene) -> bool:
        """Whether `scene` differs from the one that this was made for in its numbers only."""
        return _key(scene) == self.key

    def show(self, scene: Scene) -> None:
        """Bring everything up to date."""
        self.caption.set_text(scene.caption)
        self.moment.set_text(scene.moment)
        for kept, panel, box in zip(self.panels, scene.panels, self.sheet.boxes, strict=True):
            left, right, bottom, top = widened(panel, box)
            if (*kept.axes.get_xlim(), *kept.axes.get_ylim()) != (left, right, bottom, top):
                kept.axes.set(xlim=(left, right), ylim=(bottom, top))
            for update, layer in zip(kept.updates, panel.layers, strict=True):
                update(layer)

    def _panel(self, panel: Panel, number: int) -> _Kept:
        axes = self.figure.add_axes(_placed(self.sheet, number), facecolor=self.palette.paper, label=str(number))
        axes.set_title(panel.title, fontsize=USUAL, color=self.palette.ink, pad=6)
        axes.set_xlabel(panel.names[0], fontsize=USUAL, color=self.palette.ink, labelpad=2)
        axes.set_ylabel(panel.names[1], fontsize=USUAL, color=self.palette.ink, labelpad=2)
        axes.tick_params(labelsize=SMALL, colors=self.palette.ink, length=3, width=0.6)
        if panel.numbers:
            axes.locator_params(nbins=max(2, min(5, self.sheet.boxes[number].width // 60)))
            axes.ticklabel_format(scilimits=(-2, 4))
            for axis in (axes.xaxis, axes.yaxis):
                axis.get_offset_text().set(fontsize=SMALL, color=self.palette.ink)
        else:
            axes.set(xticks=[], yticks=[])
        for spine in axes.spines.values():
            spine.set(color=self.palette.roles["faint"], linewidth=0.8, visible=panel.frame)
        updates = tuple(DRAW[type(layer)](axes, layer, self.palette, k) for k, layer in enumerate(panel.layers))
        axes.set_autoscale_on(False)
        return _Kept(axes, updates)


EDGE_SHARE = 0.02
"""How far from the edge the caption begins, as a share of the width."""


def _placed(sheet: Sheet, number: int) -> tuple[float, float, float, float]:
    """A box as matplotlib has it: left, bottom, width and height as shares of the figure."""
    box = sheet.boxes[number]
    bottom = sheet.height - box.top - box.height
    return box.left / sheet.width, bottom / sheet.height, box.width / sheet.width, box.height / sheet.height


def _key(scene: Scene) -> tuple[Any, ...]:
    """What scenes that can share a figure have in common."""
    return scene.columns, bool(scene.caption or scene.moment), tuple(map(_panel_key, scene.panels))


def _panel_key(panel: Panel) -> tuple[Any, ...]:
    changes = {"x", "y", "v", "lines", "values", "edges", "heights", "pictures", "alpha", "peak", "extent", "size"}
    layers = tuple(
        (type(layer), *(getattr(layer, f.name) for f in fields(layer) if f.name not in changes))
        for layer in panel.layers
    )
    return panel.title, panel.names, panel.equal, panel.shape, panel.frame, panel.numbers, layers


def _thin(axes: Axes) -> float:
    """Dots and lines are as wide as they say, and thinner on panels that are smaller than usual."""
    return float(min(1.0, (axes.bbox.width / 300) ** 0.5))


def _points(axes: Axes, layer: Points, palette: Palette, order: int) -> Update:
    (dots,) = axes.plot([], [], "o", color=palette.roles[layer.role], markeredgewidth=0, zorder=order)

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
