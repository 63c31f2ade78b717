"""The figures of a report, as images that live inside a page: losses, pictures side by side, points over points.

Nothing here computes a result; it draws what the fit and the evaluation found.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from driftback.data.preprocessing import Preprocessing
from driftback.pictures.palette import LIGHT
from driftback.pictures.preview import picture_grid
from driftback.training.health import Measurement

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SEEN, HELD, REAL = (LIGHT.roles[role] for role in ("made", "start", "faint"))
FRAME = 360
"""Pixels of a preview's longer side in the report."""


def png(image: Image.Image) -> str:
    """A picture as a `data:` address."""
    file = io.BytesIO()
    image.save(file, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def pictures(x: np.ndarray, prepared: Preprocessing, *, columns: int, least: int = 480) -> str:
    """Raw pictures `x` (n, *event) in rows of `columns`, as a `data:` address."""
    return png(picture_grid(x, prepared, columns=columns, least=least))


def film(folder: Path) -> list[tuple[int, str]]:
    """The previews of a training in `folder`, one seed throughout, as their steps and `data:` addresses."""
    found = []
    for path in sorted(folder.glob("step-*.png")):
        # A preview that a person has moved or cut short leaves the others as they are.
        with suppress(OSError, ValueError):
            with Image.open(path) as image:
                small = image.convert("RGB")
            # A grid stays sharp where it fits, and is averaged where it does not.
            small.thumbnail((FRAME, FRAME))
            found.append((int(path.stem.removeprefix("step-")), png(small)))
    return found


def losses(history: Sequence[Measurement]) -> str:
    """Training and held-out loss: over the steps, and at the end per noise level, as a `data:` address."""
    figure = _figure(7.6, 3.2)
    course, levels = figure.subplots(1, 2)
    sides = (("training items", SEEN, "o", "train"), ("held-out items", HELD, "s", "held_out"))
    for name, colour, mark, side in sides:
        known = [(m.step, found) for m in history if (found := getattr(m, side)) is not None]
        if known:
            course.plot([step for step, _ in known], [found.mean for _, found in known], f"{mark}-", color=colour, ms=3)
            last = known[-1][1]
            levels.plot(last.ratio, last.loss, f"{mark}-", color=colour, label=name, ms=4)
    course.set(xlabel="step", ylabel="loss, mean over noise levels", title="While it learned")
    levels.set(xlabel="noise level (noise / signal)", ylabel="loss", xscale="log", title="At the end, per noise level")
    levels.legend(frameon=False)
    return _drawn(figure)


def points(real: np.ndarray, new: np.ndarray, names: Sequence[str]) -> tuple[str, str]:
    """Points (n, d): the new ones over the real ones, and both side by side on the same axes, as two `data:` addresses.

    The first two columns are shown; a single column as a histogram.
    """
    together, apart = _figure(4.8, 4.4), _figure(7.6, 3.8)
    axes = together.add_subplot()
    _points(axes, real, REAL, "real", names)
    _points(axes, new, SEEN, "new", names)
    axes.legend(frameon=False, loc="upper right", markerscale=4)
    left, right = apart.subplots(1, 2, sharex=True, sharey=True)
    _points(left, real, REAL, "real", names)
    _points(right, new, SEEN, "new", names)
    left.set_title("real, held out")
    right.set_title("new")
    # Thousands of points are smaller as pixels than as shapes.
    return _drawn(together, "png"), _drawn(apart, "png")


def _points(axes: Axes, x: np.ndarray, colour: str, label: str, names: Sequence[str]) -> None:
    if x.shape[1] == 1:
        axes.hist(x[:, 0], bins=60, density=True, color=colour, alpha=0.6, label=label)
        axes.set_xlabel(names[0])
        return
    axes.scatter(x[:, 0], x[:, 1], s=3, color=colour, alpha=0.5, linewidths=0, label=label)
    axes.set(xlabel=names[0], ylabel=names[1])


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _drawn(figure: Figure, kind: str = "svg") -> str:
    from matplotlib import rc_context

    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    file = io.BytesIO()
    about = {"Date": None, "Creator": None, "Format": None, "Type": None} if kind == "svg" else None
    # No date inside and no random names: the same model gives the same file.
    with rc_context({"svg.hashsalt": "driftback"}):
        figure.savefig(file, format=kind, dpi=160, metadata=about)
    media = "svg+xml" if kind == "svg" else kind
    return f"data:image/{media};base64,{base64.b64encode(file.getvalue()).decode()}"
