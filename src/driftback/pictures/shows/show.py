"""What a film says of itself, and what may be asked of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from driftback.arguments import whole
from driftback.data.preprocessing import Preprocessing
from driftback.errors import BadInput
from driftback.pictures.film import Film
from driftback.pictures.way import Way
from driftback.randomness import Rng
from driftback.scores.denoiser import Denoiser


@dataclass(frozen=True, eq=False)
class Fitted:
    """A person's own model, as far as a film looks at it: its `denoiser` of what `prepared` encodes.

    `back(n, seed, steps)` is the way back of n items, in so many steps; `density` says whether it has one.
    """

    name: str
    denoiser: Denoiser
    prepared: Preprocessing
    back: Callable[[int, int, int], Way]
    density: bool = True


@dataclass(frozen=True)
class Options:
    """The `seed`, the `target` (a name, or a file of points; None for the film's own), two `columns` of that file or of
    the `model`'s data, how many `frames` there are (None: as many as the film thinks right), and a fitted `model`.
    BadInput for fewer than 2 frames, and for a model beside a target.
    """

    seed: int = 0
    target: str | None = None
    columns: tuple[str, ...] | None = None
    frames: int | None = None
    model: Fitted | None = None

    def __post_init__(self) -> None:
        if self.frames is not None:
            whole(self.frames, "frames", 2)
        if self.model is not None and self.target is not None:
            raise BadInput("a film is of a model or of a target, not of both; leave out --target or --model")

    def rng(self, name: str) -> Rng:
        """The key of a film."""
        return Rng(self.seed).child("show", name)


def stride(steps: int, frames: int) -> int:
    """How many steps go from each of `frames` to the next, so that there are `steps` at least, however few they are."""
    return -(-steps // (frames - 1))


@dataclass(frozen=True)
class Show:
    """`about`, one line with the idea, and `source`, who it is from; `make` makes the film.

    `place` is where it stands in the story, chapter by chapter; `models` says that it can be of a fitted model.
    """

    name: str
    about: str
    source: str
    make: Callable[[Options], Film]
    place: int = 99
    models: bool = False
