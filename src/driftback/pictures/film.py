"""A film is scenes one after another; it is written in the format that its file's name asks for.

Films as .gif, .webp and .mp4, stills as .png and .svg: the last scene, or five moments side by side. A file is written
whole or not at all, and the same scenes make the same bytes with the same versions of the libraries that write them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from driftback.errors import BadInput
from driftback.files import writing
from driftback.pictures.gif import write_gif
from driftback.pictures.layout import sheet
from driftback.pictures.palette import PALETTES
from driftback.pictures.render import picture, pixels, svg
from driftback.pictures.scene import Scene
from driftback.pictures.strip import side_by_side
from driftback.pictures.video import ffmpeg, write_mp4

QUALITY = 82
"""Of a .webp, out of 100."""

Progress = Callable[[int, int], None]
"""Told how many scenes are done, and how many there are."""


@dataclass(frozen=True, eq=False)
class Film:
    """`frames`, each shown for `seconds`, the last one for `hold`. `count` tells how many there will be, if known."""

    name: str
    frames: Iterable[Scene]
    count: int | None = None
    seconds: float = 0.06
    hold: float = 1.5


@dataclass(frozen=True)
class Written:
    """A file that was written: how many `frames` it shows, of how many pixels, how long it plays, and its size."""

    path: Path
    frames: int
    width: int
    height: int
    plays: float
    size: int


def write(
    film: Film, path: Path | str, *, dark: bool = False, strip: bool = False, progress: Progress | None = None
) -> Written:
    """Write `film` to `path`, as its suffix says; a still shows the last scene, or five moments where `strip` is true.

    BadInput for another suffix, for a strip of what is no still, for a film without frames, where nothing can be
    written, and for .mp4 where the extra `video` is missing.
    """
    path = Path(path).expanduser()
    suffix = path.suffix.lower()
    refuse(path, strip=strip)
    scenes = _counted(film, progress)
    if suffix in STILLS:
        return _still(list(scenes), path, dark, strip)
    shots = list(pixels(scenes, dark=dark))
    if not shots:
        raise BadInput(f"{film.name} has no frames, so there is nothing to write to {path}")
    if len({shot.shape for shot in shots}) > 1:
        raise BadInput(f"the frames of {film.name} differ in size; let all its scenes have the same panels")
    with writing(path) as temporary:
        FILMS[suffix](shots, temporary, film, dark)
    height, width, _ = shots[0].shape
    plays = sum(milliseconds(film, len(shots), TICKS.get(suffix, 1))) / 1000
    return Written(path, len(shots), width, height, plays, path.stat().st_size)


def refuse(path: Path, *, strip: bool = False) -> None:
    """BadInput where nothing can be written in the format that the name `path` asks for, before time is spent on it."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise BadInput(f"cannot write a film to {path}: let the name end in {', '.join(SUFFIXES[:-1])} or .svg")
    if strip and suffix not in STILLS:
        raise BadInput(f"a strip is a still, and {path} is a film: let the name end in {' or '.join(STILLS)}")
    if suffix in NEEDS:
        NEEDS[suffix]()


def _counted(film: Film, progress: Progress | None) -> Iterator[Scene]:
    for k, scene in enumerate(film.frames):
        yield scene
        if progress is not None and film.count is not None:
            progress(k + 1, film.count)


def _still(scenes: list[Scene], path: Path, dark: bool, strip: bool) -> Written:
    if not scenes:
        raise BadInput(f"there are no frames, so there is nothing to write to {path}")
    scene = side_by_side(scenes) if strip else scenes[-1]
    with writing(path) as temporary:
        STILLS[path.suffix.lower()](scene, temporary, dark)
    place = sheet(scene)
    return Written(path, 1, place.width, place.height, 0.0, path.stat().st_size)


def _png(scene: Scene, path: Path, dark: bool) -> None:
    Image.fromarray(picture(scene, dark=dark)).save(path, format="PNG", optimize=True)


def _svg(scene: Scene, path: Path, dark: bool) -> None:
    path.write_bytes(svg(scene, dark=dark))


def milliseconds(film: Film, frames: int, tick: int = 1) -> list[int]:
    """How long each of so many frames is shown, in whole ticks of so many milliseconds, two at least; the last one no
    shorter than the others.
    """
    each, last = (max(2, round(1000 * one / tick)) * tick for one in (film.seconds, max(film.hold, film.seconds)))
    return [each] * (frames - 1) + [last]


def _gif(shots: list[np.ndarray], path: Path, film: Film, dark: bool) -> None:
    write_gif(shots, path, PALETTES[dark], milliseconds(film, len(shots), TICKS[".gif"]))


def _webp(shots: list[np.ndarray], path: Path, film: Film, dark: bool) -> None:
    frames = [Image.fromarray(shot) for shot in shots]
    durations = milliseconds(film, len(frames))
    options = {"save_all": True, "loop": 0, "quality": QUALITY, "method": 3}
    frames[0].save(path, format="WEBP", append_images=frames[1:], duration=durations, **options)


def _mp4(shots: list[np.ndarray], path: Path, film: Film, dark: bool) -> None:
    *_, last = milliseconds(film, len(shots))
    write_mp4(shots, path, rate=1 / film.seconds, hold=last / 1000)


FILMS: dict[str, Callable[[list[np.ndarray], Path, Film, bool], None]] = {".gif": _gif, ".webp": _webp, ".mp4": _mp4}
TICKS = {".gif": 10}
"""Milliseconds that a format counts in, where it is not 1."""
STILLS: dict[str, Callable[[Scene, Path, bool], None]] = {".png": _png, ".svg": _svg}
NEEDS: dict[str, Callable[[], object]] = {".mp4": ffmpeg}
"""What raises BadInput where a format's own package is missing."""
SUFFIXES = (*FILMS, *STILLS)
"""The formats; a new one joins by a function and a word."""
