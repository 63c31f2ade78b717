"""Points drawn from a density, and the density that they are drawn from: two pictures of one thing.

By the law of large numbers the share of the points in any cell goes to the density's integral over it, so a cloud says
all that the density says, and the density all that an endless cloud would (Murphy 2023, 'Probabilistic Machine
Learning: Advanced Topics', chapter 20). The film fades each into the other, and back.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from driftback.pictures.film import Film
from driftback.pictures.scene import Points, Scene
from driftback.pictures.shows.show import Options, Show
from driftback.pictures.shows.subject import Subject, subject

FRAMES, POINTS = 40, 1500
CLOUD, DENSITY = "a point cloud", "its density"


def make(options: Options) -> Film:
    """The film of `options.target`, two Gaussians by default."""
    about = subject(options.target or "two-gaussians", options.columns)
    count = options.frames or FRAMES
    return Film(SHOW.name, tuple(_scenes(about, options, count)), count, seconds=0.08)


def _scenes(about: Subject, options: Options, count: int) -> Iterator[Scene]:
    x = about.outside(about.sample(POINTS, rng=options.rng(SHOW.name)))
    density = about.density()
    for k in range(count):
        # There and back, and a moment of rest where only one of the two is seen.
        share = 0.5 - 0.75 * math.cos(2 * math.pi * k / (count - 1))
        share = min(1.0, max(0.0, share))
        panels = []
        for faded in (share, 1 - share):
            points = Points(x, "made", 2.6, 0.75 * (1 - faded))
            title = DENSITY if faded > 0.5 else CLOUD
            panels.append(about.panel(replace(density, alpha=faded), points, title=title))
        yield Scene(tuple(panels), f"{POINTS:,} points of {about.name}, and the density that they are drawn from")


SHOW = Show(
    "point-cloud",
    "A distribution is a cloud of points or a density: each tells the other",
    "Murphy 2023, Probabilistic Machine Learning: Advanced Topics, chapter 20",
    make,
    place=1,
)
