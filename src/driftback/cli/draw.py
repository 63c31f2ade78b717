"""`driftback draw`: a density in, samples out, with what can be said of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from driftback.cli import options
from driftback.cli.names import names
from driftback.cli.output import emit, number, show, span, table
from driftback.cli.places import PICTURES, free
from driftback.cli.progress import progress
from driftback.errors import BadInput, DriftbackError

if TYPE_CHECKING:
    from driftback.recipes.density.draws import Draws

EXAMPLES = (
    "driftback draw eight-schools",
    "driftback draw funnel --method hmc -n 8000 --out funnel.npy",
    "driftback draw my_density.py --chains 256 --out runs/mine",
)
SUFFIXES = (".npy", ".npz", ".csv")
ROWS = 12
"""So many quantities are shown, the worst first where there are more."""


WEIGHTED = {"mean": "mean", "error": "error"}
CHAINS = {"mean": "mean", "sd": "sd", "mcse_mean": "error"}
COLUMNS = CHAINS | {"ess_bulk": "ESS bulk", "ess_tail": "ESS tail", "rhat": "R-hat"}
"""What is shown of each quantity, and under which head."""


class Stopped(DriftbackError):
    """Ctrl-C after some draws, which were written."""

    code = 130


def draw(
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="TARGET",
            help="A name, your own FILE.py with log_prob (which is run), or a model's folder. Left out: the names.",
        ),
    ] = None,
    n: Annotated[int, typer.Option("-n", "--n", help="How many points, over all chains.")] = 4000,
    method: Annotated[str, typer.Option(help="nuts, hmc, metropolis ...; without TARGET they are listed.")] = "nuts",
    chains: Annotated[int, typer.Option(min=1, help="How many chains move at once.")] = 16,
    warmup: Annotated[int | None, typer.Option(min=0, help="Moves that tune and are thrown away.")] = None,
    thin: Annotated[int, typer.Option(min=1, help="Keep every so many-th move.")] = 1,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A number of the method; may be repeated."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="draws.npy, .npz (with weights and statistics), .csv, or a folder, which can be resumed."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the folder --out.")] = False,
    plot: Annotated[Path | None, typer.Option(help="Traces, ranks and autocorrelations as a .png or .svg.")] = None,
    scale: Annotated[
        float | None,
        typer.Option(metavar="X", help="How far from 0 the mass lies: there all begin."),
    ] = None,
    source: Annotated[
        str | None, typer.Option(metavar="RUN", help="A fitted model to propose from (--method refined).")
    ] = None,
    unchecked: Annotated[
        bool, typer.Option("--unchecked", help="Do not try first whether the density can be normalised.")
    ] = False,
    seed: options.Seed = 0,
    force: options.Force = False,
    device: Annotated[
        str | None, typer.Option(help="cpu or cuda, where log_prob must compute too. Default: cpu.")
    ] = None,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Draw from a density that is known up to a constant, by Markov chains and their refinements."""
    from driftback.recipes.density.draw import draw as drawn_from
    from driftback.samplers.markov.energy import BadDensity

    if target is None:
        names(json)
        return
    from driftback.recipes.density.populations import POPULATIONS

    given = dict(_pair(text) for text in set_ or ())
    if method in POPULATIONS:
        if plot is not None:
            raise BadInput(
                f"--plot shows chains, and {method} has none; leave it out, or see driftback compare --picture"
            )
        if out is not None and not out.suffix:
            raise BadInput(f"{method} cannot be resumed, so it needs no folder; let --out end in .npy, .npz or .csv")
    if plot is not None:
        free(plot, PICTURES, force=force)
    folder = _folder(out, force, resume)
    with progress("moves", quiet=quiet) as update:
        try:
            found = drawn_from(
                target,
                n,
                method=method,
                chains=chains,
                warmup=warmup,
                thin=thin,
                seed=seed,
                scale=scale,
                source=source,
                check=not unchecked,
                device=device,
                out=folder,
                resume=resume,
                progress=update,
                **given,
            )
        except BadDensity as error:
            if error.draws is not None:
                where = _written(error.draws, out, force=force)
                raise BadInput(f"{error}; the {len(error.draws.x)} points before it are {where}") from error
            raise
    where = _written(found, out, force=force)
    if json:
        emit(found.as_json() | {"target": target, "out": None if out is None else str(out)})
    else:
        _shown(found)
        if out is not None:
            show(f"{len(found.x)} points are {where}")
    if plot is not None:
        _plotted(found, plot, where)
    if not found.complete:
        on = f"; go on with: driftback draw {target} ... --out {out} --resume" if folder is not None else ""
        raise Stopped(f"stopped after {len(found.x)} points, which are {where}{on}")


def _plotted(found: Draws, plot: Path, where: str) -> None:
    from driftback.pictures.chains import diagnostic_plots

    try:
        diagnostic_plots(found.quantities.cpu().numpy(), found.names, plot.expanduser())
    except BadInput as error:
        raise BadInput(f"no plot: {error}; the {len(found.x)} points are {where}") from error


def _pair(text: str) -> tuple[str, Any]:
    from driftback.recipes.density.draw import ARGUMENTS

    name, sign, value = text.partition("=")
    if not sign or not name:
        raise BadInput(f"--set {text} is no NAME=VALUE; write --set depth=8")
    if name in ARGUMENTS:
        raise BadInput(f"--set {text}: {name} is no number of a method; see driftback draw --help for --{name}")
    for kind in (int, float):
        try:
            return name, kind(value)
        except ValueError:
            continue
    if value.lower() in ("true", "false"):
        return name, value.lower() == "true"
    raise BadInput(f"--set {text}: {value} is no number; give one, or true or false")


def _folder(out: Path | None, force: bool, resume: bool) -> Path | None:
    """The folder of a run, if `out` is one; refused before any time is spent on drawing."""
    from driftback.recipes.density import kept

    if out is None:
        if resume:
            raise BadInput("--resume goes on with a folder; name it with --out")
        return None
    target = out.expanduser()
    if target.suffix:
        if resume:
            raise BadInput("--resume goes on with a folder; give one with --out")
        free(out, SUFFIXES, force=force, what="write draws to")
        return None
    if force and not resume:
        kept.clear(target)
    return target


def _written(found: Draws, out: Path | None, *, force: bool) -> str:
    from driftback.recipes.density.kept import write_draws

    if out is None:
        return "not kept (give --out)"
    write_draws(found, out.expanduser(), overwrite=force)
    by_weight = found.weighted and out.suffix.lower() in (".npy", ".csv")
    return f"in {out}{', drawn again by their weights, which a .npz keeps' if by_weight else ''}"


def _shown(found: Draws) -> None:
    from driftback.evaluation.weights import Weighted

    diagnostics = found.diagnostics
    columns = WEIGHTED if isinstance(diagnostics, Weighted) else COLUMNS
    head = ("quantity", *columns.values())
    rows = [(row.name, *(number(getattr(row, name), 4) for name in columns)) for row in diagnostics.rows[:ROWS]]
    table(head, rows, right=tuple(range(1, len(head))))
    if found.log_z is not None:
        error = "" if found.log_z_error is None else f" ± {number(found.log_z_error)}"
        show(f"log Z {found.log_z:.4f}{error}")
    show(
        f"{len(found.x)} points by {found.method} in {span(found.seconds)}: {found.density_evaluations:,} evaluations, "
        f"{found.gradient_evaluations:,} of them with gradient"
    )
    if found.ess is not None:
        show(_worth(found))
    for sentence in (*diagnostics.sentences, *found.notes):
        show(sentence)


def _worth(found: Draws) -> str:
    parts = [f"{number(found.ess / found.seconds)} a second"] if found.ess and found.seconds else []
    if found.ess and found.gradient_evaluations:
        parts.append(f"{number(found.ess / found.gradient_evaluations)} per gradient")
    elif found.ess and found.density_evaluations:
        parts.append(f"{number(found.ess / found.density_evaluations)} per evaluation")
    return f"they are worth {number(found.ess)} independent ones (the least ESS): {', '.join(parts)}"
