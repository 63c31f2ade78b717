"""`driftback compare`: Markov chains, populations and the reverse SDE on one target with one budget."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from driftback.cli import options
from driftback.cli.output import emit, number, show, span, table
from driftback.cli.places import PICTURES, free
from driftback.cli.progress import progress
from driftback.errors import BadInput, DriftbackError

if TYPE_CHECKING:
    from driftback.recipes.density.entries import Comparison, Entry


class Stopped(DriftbackError):
    """Ctrl-C after some ways, which were shown."""

    code = 130


EXAMPLES = ("driftback compare gmm40 --picture gmm40.png", "driftback compare two-gaussians --budget 50000 --json")


def compare(
    target: Annotated[str, typer.Argument(metavar="TARGET", help="A name (driftback draw lists them), or FILE.py.")],
    budget: Annotated[int, typer.Option(metavar="N", help="Evaluations of density or score, for each.")] = 200_000,
    n: Annotated[int, typer.Option("-n", "--n", help="How many points each way draws.")] = 1000,
    ways: Annotated[str, typer.Option(metavar="NAMES", help="Only these: nuts,smc. Default: all.")] = "",
    minutes: Annotated[float, typer.Option(metavar="X", help="How long the network learns.")] = 0.5,
    picture: Annotated[Path | None, typer.Option(help="Where the points are, as a .png or .svg.")] = None,
    seed: options.Seed = 0,
    force: options.Force = False,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Draw from one target by every way there is, with one budget, and judge the points against exact ones."""
    from driftback.recipes.density.compare import compare as compared

    if picture is not None:
        free(picture, PICTURES, force=force)
    with progress("ways", quiet=quiet) as update:
        chosen = tuple(name.strip() for name in ways.split(",") if name.strip())
        chosen = tuple(name if name == "informed-flips" else name.replace("-", " ") for name in chosen)
        found = compared(target, budget=budget, n=n, ways=chosen, minutes=minutes, seed=seed, progress=update)
    if picture is not None:
        from driftback.pictures.compare import comparison_picture

        panels = [(entry.name, entry.points) for entry in found.entries if entry.points is not None]
        if panels:
            comparison_picture(panels, found.truth, picture.expanduser())
    if json:
        emit(found.as_json() | {"picture": None if picture is None else str(picture)})
    else:
        _shown(found)
    if not any(entry.points is not None for entry in found.entries):
        raise BadInput("no way could be taken; what stands beside each says why")
    if found.stopped:
        raise Stopped(f"stopped in '{found.stopped}'; the ways before it were judged")


HEAD = ("way", "sliced W1", "floor", "energy", "floor", "modes", "off by", "ESS", "log Z", "evaluations", "seconds")


def _shown(found: Comparison) -> None:
    rows = [_row(entry, found.known_modes) for entry in found.entries if entry.points is not None]
    if rows:
        table(HEAD, rows, right=tuple(range(1, len(HEAD))))
    truth = found.problem.truth
    if truth.log_z is not None:
        show(f"the true log Z is {truth.log_z:.5g}")
    if found.truth is not None:
        show("floor: the 97.5 % quantile of the distance between exact draws; off by: total variation of the modes")
    for entry in found.entries:
        if entry.why:
            show(f"{entry.name}: not taken, {entry.why}")
        elif entry.before:
            show(f"{entry.name}: learned for {span(entry.before)} before, once and for all")


def _row(entry: Entry, modes: int | None) -> tuple[str, ...]:
    distances = [
        number(value, 3)
        for one in (entry.sliced, entry.energy)
        for value in ((None, None) if one is None else (one.value, one.floor_high))
    ]
    visited = "-" if entry.modes is None else f"{entry.modes} of {modes}"
    z = "-" if entry.log_z is None else f"{entry.log_z:.4g} ± {number(entry.log_z_error, 2)}"
    return (
        entry.name,
        *distances,
        visited,
        number(entry.variation, 2),
        number(entry.ess, 3),
        z,
        f"{entry.evaluations:,}",
        f"{entry.seconds:.1f}",
    )
