"""`driftback show`: the pictures and films of the post, from the library's own samplers, for any target."""

from __future__ import annotations

import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from driftback.cli import options
from driftback.cli.output import emit, say, span
from driftback.cli.output import show as line
from driftback.cli.places import free
from driftback.cli.progress import progress
from driftback.errors import BadInput

if TYPE_CHECKING:
    from driftback.pictures.shows import Fitted
    from driftback.pictures.way import Way

EXAMPLES = (
    "driftback show --list",
    "driftback show random-walk --out walk.gif --seed 3 --dark",
    "driftback show forward --target points.csv --columns height,weight",
    "driftback show way-back --target two-moons --strip --out way.png",
    "driftback show forming --model runs/digits --out forming.gif",
)


def show(
    name: Annotated[str | None, typer.Argument(metavar="FILM", help="A name of --list. Left out: the list.")] = None,
    list_: Annotated[bool, typer.Option("--list", help="One line for each film: its idea and its source.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            help="film.gif, .webp or .mp4 (with the extra video), or a still, .png or .svg. Default: FILM.gif."
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            help="A shape of the plane by name, or your own points: a .csv, .npy or .npz. Default: the film's own."
        ),
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="The folder of a fitted model, in the place of a target: forming, log-density.")
    ] = None,
    columns: options.Columns = None,
    frames: Annotated[int | None, typer.Option(min=2, help="How many frames. Default: the film's own number.")] = None,
    dark: Annotated[bool, typer.Option("--dark", help="On a dark ground.")] = False,
    strip: Annotated[bool, typer.Option("--strip", help="A still of five moments, not of the last one.")] = False,
    seed: options.Seed = 0,
    force: options.Force = False,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Show an idea of diffusion as a film or a still. Of a target that is no mixture of Gaussians the points are
    recorded, and their exact law with noise is what is drawn.
    """
    from driftback.arguments import near
    from driftback.pictures.film import SUFFIXES, refuse, write
    from driftback.pictures.shows import SHOWS, Options

    if name is None or list_:
        _listed(json)
        return
    if name not in SHOWS:
        raise BadInput(f"there is no film {name}{near(name, SHOWS)}")
    if model is not None and not SHOWS[name].models:
        able = " and ".join(one.name for one in SHOWS.values() if one.models)
        raise BadInput(f"{name} is a film of a target, not of a model; leave --model out, or show {able}")
    path = Path(f"{name}.gif") if out is None else out.expanduser()
    free(path, SUFFIXES, force=force, what="write a film to")
    refuse(path, strip=strip)
    began = time.perf_counter()
    asked = Options(seed, target, options.names(columns), frames, None if model is None else _fitted(model))
    with (
        progress("frames", quiet=quiet) as update,
        warnings.catch_warnings(record=True, action="always", category=UserWarning) as noticed,
    ):
        try:
            film = SHOWS[name].make(asked)
            found = write(film, path, dark=dark, strip=strip, progress=lambda done, total: update(done, total, ""))
        finally:
            for told in dict.fromkeys(str(one.message) for one in noticed):
                say(f"warning: {told}")
    seconds = time.perf_counter() - began
    if json:
        size = {"width": found.width, "height": found.height, "bytes": found.size}
        emit({"film": name, "out": str(path), "frames": found.frames} | size | {"seconds": round(seconds, 3)})
        return
    many = "1 frame" if found.frames == 1 else f"{found.frames} frames"
    line(
        f"wrote {name} to {path}: {many} of {found.width} x {found.height}, {found.size / 1000:,.0f} kB, "
        f"in {span(seconds)}"
    )


def _fitted(folder: Path) -> Fitted:
    """The model in `folder`, as a film sees it."""
    from driftback.networks.memory import Memory
    from driftback.pictures.shows import Fitted
    from driftback.recipes.model import load

    found = load(folder)

    def back(n: int, seed: int, steps: int) -> Way:
        return found.frames(n, seed=seed, steps=steps, grid="cosine")

    remembers = isinstance(found.denoiser.network.closed_form, Memory)
    return Fitted(found.config.name, found.denoiser, found.config.preprocessing, back, not remembers)


def _listed(json: bool) -> None:
    from driftback.cli.output import table
    from driftback.pictures.shows import SHOWS

    if json:
        emit({"films": [{"name": one.name, "about": one.about, "source": one.source} for one in SHOWS.values()]})
        return
    table(("film", "idea", "source"), [(one.name, one.about, one.source) for one in SHOWS.values()])
