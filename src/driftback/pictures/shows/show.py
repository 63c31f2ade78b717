"""What a film says of itself, and what may be asked of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from driftback.arguments import whole
from driftback.pictures.film import Film
from driftback.randomness import Rng


@dataclass(frozen=True)
class Options:
    """The `seed`, the `target` (a name, or a file of points; None for the film's own), two `columns` of that file, and
    how many `frames` there are (None: as many as the film thinks right). BadInput for fewer than 2.
    """

    seed: int = 0
    target: str | None = None
    columns: tuple[str, ...] | None = None
    frames: int | None = None

    def __post_init__(self) -> None:
        if self.frames is not None:
            whole(self.frames, "frames", 2)

    def rng(self, name: str) -> Rng:
        """The key of a film."""
        return Rng(self.seed).child("show", name)


@dataclass(frozen=True)
class Show:
    """`about`, one line with the idea, and `source`, who it is from; `make` makes the film.

    `place` is where it stands in the story, chapter by chapter.
    """

    name: str
    about: str
    source: str
    make: Callable[[Options], Film]
    place: int = 99
