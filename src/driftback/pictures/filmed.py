"""Whatever a sampler yields, as a film: numbers as a histogram, points as a scatter, pictures as tiles.

A chain may be long, and no more is held than is shown: of a stream of unknown length every k-th frame is kept, and k is
doubled whenever there are twice too many, so that what is left is evenly spaced.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from driftback.arguments import near, real, whole
from driftback.errors import BadInput
from driftback.pictures.film import Film, Progress, Written, refuse, write
from driftback.pictures.preview import axis_names, tiles
from driftback.pictures.scene import Bars, Limits, Panel, Points, Scene, Tiles, around, squared
from driftback.pictures.way import Way
from driftback.samplers.frame import Frame

MOST = 80
"""A film shows at most so many frames."""
BINS = 60
STEADY = 2.5
"""Where the cloud is never so many times as wide as at another time, the axes stand still; else they follow it."""
WORDS, ROW = 12, 80
"""Letters of a word below a tile, and of all words in a row of them: more would lie over each other."""
SHORTEST, LONGEST = 0.02, 600.0
"""Seconds that a frame may be shown: browsers slow down what is faster, and a .gif cannot say what is longer."""

Column = str | int


@dataclass(frozen=True, eq=False)
class Seen:
    """What is kept of a frame: its time, `x` (n, 1), (n, 2) or pictures (n, h, w, 3), who was `accepted` (n,), and the
    `names` of the numbers.
    """

    t: float
    x: np.ndarray
    accepted: np.ndarray | None = None
    names: tuple[str, ...] = ()


def film(
    frames: Iterable[Frame],
    path: Path | str,
    *,
    columns: Sequence[Column] | None = None,
    most: int = MOST,
    seconds: float = 0.06,
    hold: float = 1.5,
    caption: str = "",
    dark: bool = False,
    strip: bool = False,
    progress: Progress | None = None,
) -> Written:
    """Write the frames of any sampler to `path`: .gif, .webp or .mp4, or a still, .png or .svg, of the last one.

    `Model.frames` are shown in the units of the data: pictures as tiles, with their captions or classes if there are
    any. Other frames are points: one number as a histogram, two as a scatter, of more the first two, or the two
    `columns` (names or numbers from 0 on) that are asked for. Of many frames at most `most` are shown, evenly spaced,
    each for `seconds`, the last for `hold`. `strip` shows five moments side by side in a still. A file that is there is
    replaced. Raises BadInput for what cannot be shown or written.
    """
    if not isinstance(path, str | Path):
        raise BadInput(f"a film is written to a file, and {_a(path)} is no name of one; give 'film.gif'")
    target = Path(path).expanduser()
    refuse(target, strip=strip)
    seconds, hold = real(seconds, "seconds"), real(hold, "hold")
    if not (SHORTEST <= seconds <= LONGEST and 0 <= hold <= LONGEST):
        raise BadInput(
            f"seconds must be {SHORTEST:g} to {LONGEST:g}, and hold 0 to {LONGEST:g}, not {seconds:g} and {hold:g}"
        )
    shown = tuple(scenes(frames, columns=columns, most=most, caption=caption))
    made = Film(target.stem, shown, len(shown), seconds, hold)
    return write(made, target, dark=dark, strip=strip, progress=progress)


def scenes(
    frames: Iterable[Frame], *, columns: Sequence[Column] | None = None, most: int = MOST, caption: str = ""
) -> Iterator[Scene]:
    """A scene for each of at most `most` evenly spaced `frames`, the first and the last among them."""
    way = frames if isinstance(frames, Way) else None
    if way is not None and way.prepared.kind == "pictures":
        if columns is not None:
            raise BadInput("columns are those of points, and these are pictures; leave columns out")
        yield from _pictures(way, most, caption)
        return
    yield from _points(frames, way, columns, most, caption)


def _points(
    frames: Iterable[Frame], way: Way | None, columns: Sequence[Column] | None, most: int, caption: str
) -> Iterator[Scene]:
    def seen(frame: Frame) -> Seen:
        x = way.items(frame) if way is not None else bare(frame.x)
        if not x.size or x.ndim == 0:
            raise BadInput(f"there are no points at t = {frame.t:g}, so there is nothing to film")
        x = x.reshape(len(x), -1).astype(np.float64)
        known = axis_names(way.prepared) if way is not None else tuple(f"x{j}" for j in range(x.shape[1]))
        picked = chosen(columns, known)
        if not np.isfinite(x).all():
            raise BadInput(f"some points are not finite at t = {frame.t:g}, so they have no place in a picture")
        accepted = None if frame.accepted is None else frame.accepted.cpu().numpy().astype(bool)
        return Seen(frame.t, x[:, picked], accepted, tuple(known[j] for j in picked))

    kept = thinned(frames, most, seen)
    # Columns of data have units of their own; the numbers of bare points are taken to have one.
    for one, limits in zip(kept, camera([one.x for one in kept], square=way is None), strict=True):
        panel = _histogram(one, limits) if one.x.shape[1] == 1 else _scatter(one, limits)
        yield Scene((panel,), caption, _moment(one.t, way))


def _moment(t: float, way: Way | None) -> str:
    """Where a frame is: of what knows its process how much noise there is, of anything else the sampler's own time."""
    return f"t = {t:.3g}" if way is None else f"noise / data = {way.noise(t):.3g}"


def bare(x: Tensor) -> np.ndarray:
    """Points (n, *event) as float64. BadInput for complex ones."""
    if x.is_complex():
        raise BadInput("the points are complex, and have no place in a picture; film their real or imaginary part")
    return x.detach().cpu().double().numpy()


def _histogram(one: Seen, limits: Limits) -> Panel:
    left, right, _, _ = limits
    edges = np.linspace(left, right, BINS + 1)
    heights = np.histogram(one.x[:, 0], edges)[0] / (len(one.x) * (edges[1] - edges[0]))
    # A little air above the highest bar.
    top = 1.1 * float(heights.max()) or 1.0
    bars = Bars(edges, heights)
    return Panel((bars,), (left, right, 0.0, top), names=(one.names[0], "density"), equal=False, shape=0.6)


def _scatter(one: Seen, limits: Limits) -> Panel:
    size = min(6.0, max(1.6, 60 / np.sqrt(len(one.x))))
    if one.accepted is None:
        layers: tuple[Points, ...] = (Points(one.x, "made", size),)
    else:
        layers = (
            Points(one.x[~one.accepted], "rejected", size),
            Points(one.x[one.accepted], "accepted", size),
        )
    return Panel(layers, limits, names=(one.names[0], one.names[1]), equal=False)


def _pictures(way: Way, most: int, caption: str) -> Iterator[Scene]:
    def seen(frame: Frame) -> Seen:
        return Seen(frame.t, tiles(way.pictures(frame), way.prepared))

    words = tuple(word if len(word) <= WORDS else f"{word[: WORDS - 1]}…" for word in way.words)
    for one in thinned(way, most, seen):
        columns = int(np.ceil(np.sqrt(len(one.x))))
        room = columns * max(map(len, words), default=0) <= ROW
        shown = Tiles(one.x, columns, words if room else ())
        width, height = shown.size
        panel = Panel((shown,), (0, width, 0, height), shape=height / width, frame=False, numbers=False)
        yield Scene((panel,), caption, _moment(one.t, way))


def thinned(stream: Iterable[Frame], most: int, seen: Callable[[Frame], Seen]) -> list[Seen]:
    """At most `most` of a stream of unknown length, evenly spaced, the first and the last among them, as `seen`.

    Never more than `most` are held. The last step may be shorter than the others. BadInput for `most` < 2.
    """
    most, stride = whole(most, "most", 2), 1
    kept: list[Seen] = []
    last: Frame | None = None
    if not isinstance(stream, Iterable):
        raise BadInput(f"a film is made of frames, as model.frames(64) yields them, and {_a(stream)} has none")
    for k, frame in enumerate(stream):
        if not isinstance(frame, Frame):
            raise BadInput(f"a film is made of frames, as model.frames(64) yields them, and {_a(frame)} is none")
        last = frame
        if k % stride == 0 and len(kept) == most - 1:
            kept, stride = kept[::2], 2 * stride
        if k % stride == 0:
            kept.append(seen(frame))
            last = None
    return kept if last is None else [*kept, seen(last)]


def _a(what: object) -> str:
    name = type(what).__name__
    return f"{'an' if name[0] in 'AEIOUaeiou' else 'a'} {name}"


def camera(clouds: Sequence[np.ndarray], *, square: bool) -> list[Limits]:
    """Limits for each of the `clouds` (n, 1) or (n, 2), `square` or not: the same for all, or where some are `STEADY`
    times as wide as others those of each, so that what is narrow is seen too.
    """
    flat = [cloud if cloud.shape[1] == 2 else np.column_stack([cloud, 0 * cloud]) for cloud in clouds]
    each = [squared(around(cloud)) if square else around(cloud) for cloud in flat]
    if not each:
        return each
    sides = np.array(each)
    widths = sides[:, [1, 3]] - sides[:, [0, 2]]
    if (widths.max(0) > STEADY * widths.min(0)).any():
        return each
    (left, _, bottom, _), (_, right, _, top) = sides.min(0).tolist(), sides.max(0).tolist()
    together = left, right, bottom, top
    return [squared(together) if square else together] * len(each)


def chosen(columns: Sequence[Column] | None, names: Sequence[str]) -> list[int]:
    """The numbers of the one or two columns to show: those asked for by name or number, else the first two."""
    if columns is None:
        return list(range(min(2, len(names))))
    found = [_column(one, names) for one in columns]
    if len(found) not in (1, 2) or len(set(found)) < len(found):
        raise BadInput(f"a picture shows one column or two different ones, not {', '.join(map(str, columns))}")
    return found


def _column(asked: Any, names: Sequence[str]) -> int:
    if asked in names:
        return list(names).index(asked)
    number = int(asked) if str(asked).isdecimal() else -1
    if not 0 <= number < len(names):
        raise BadInput(f"there is no column {asked}{near(str(asked), names)}, or a number from 0 to {len(names) - 1}")
    return number
