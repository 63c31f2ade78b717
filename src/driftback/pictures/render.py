"""A scene as pixels or as SVG, by matplotlib's Agg: the same scene and palette give the same bytes.

From frame to frame of a film the figure stays, and its artists are handed new numbers: making axes takes longer than
drawing them.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from driftback.pictures.layers import DRAW, SMALL, Update
from driftback.pictures.layout import Sheet, sheet, widened
from driftback.pictures.palette import PALETTES, Palette
from driftback.pictures.scene import Panel, Scene

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

DPI = 100
USUAL, LEAST = 9.5, 7
"""Typographic points of what is written, but for numbers at the axes and words below tiles, and of what would not have
room."""
GAP, KEPT = 16, 0.3
"""Pixels between the caption and the moment, and the share of the width that the moment has at least."""


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
        write: dict[str, Any] = {"fontsize": USUAL, "color": palette.ink, "va": "center", "parse_math": False}
        self.caption: Text = self.figure.text(EDGE_SHARE, foot, "", ha="left", **write)
        self.moment: Text = self.figure.text(1 - EDGE_SHARE, foot, "", ha="right", **write)

    def fits(self, scene: Scene) -> bool:
        """Whether `scene` differs from the one that this was made for in its numbers only."""
        return _key(scene) == self.key

    def show(self, scene: Scene) -> None:
        """Bring everything up to date."""
        self.caption.set_text(plainly(scene.caption))
        self.moment.set_text(plainly(scene.moment))
        room = (1 - 2 * EDGE_SHARE) * self.sheet.width - GAP
        self._fit(self.moment, room)
        # Some room is kept, so that the caption does not change while the moment does.
        taken = max(self.moment.get_window_extent().width, KEPT * room) if scene.moment else 0.0
        self._fit(self.caption, room - taken)
        for kept, panel, box in zip(self.panels, scene.panels, self.sheet.boxes, strict=True):
            left, right, bottom, top = widened(panel, box)
            if (*kept.axes.get_xlim(), *kept.axes.get_ylim()) != (left, right, bottom, top):
                kept.axes.set(xlim=(left, right), ylim=(bottom, top))
            for update, layer in zip(kept.updates, panel.layers, strict=True):
                update(layer)

    def _fit(self, text: Text, room: float) -> None:
        """Make `text` as small as it must be for so many pixels, and where it cannot be read any more cut its end."""
        text.set_fontsize(USUAL)
        wide = text.get_window_extent().width
        if wide > room:
            text.set_fontsize(max(LEAST, float(text.get_fontsize()) * room / wide))
        while text.get_window_extent().width > room and len(text.get_text()) > 1:
            short = text.get_text().rstrip("…")
            keep = min(len(short) - 1, int(len(short) * room / text.get_window_extent().width))
            text.set_text(short[: max(0, keep)] + "…")

    def _panel(self, panel: Panel, number: int) -> _Kept:
        axes = self.figure.add_axes(_placed(self.sheet, number), facecolor=self.palette.paper, label=str(number))
        # A dollar is a dollar; and a title stays where its room is, whatever stands beside it.
        write: dict[str, Any] = {"fontsize": USUAL, "color": self.palette.ink, "parse_math": False}
        axes.set_title(panel.title, y=1.0, pad=6, **write)
        axes.set_xlabel(panel.names[0], labelpad=2, **write)
        axes.set_ylabel(panel.names[1], labelpad=2, **write)
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


def plainly(text: str) -> str:
    """`text` without line ends, tabs and other signs that are not seen."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


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
