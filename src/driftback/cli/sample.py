"""`driftback sample`: as many new items as you want, in the units of the data."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from driftback.cli import options, seen
from driftback.cli.output import emit, say, show, span
from driftback.cli.progress import progress
from driftback.errors import BadInput

if TYPE_CHECKING:
    from driftback.data.preprocessing import Preprocessing

EXAMPLES = (
    "driftback sample runs/digits -n 100 --label 3 --out threes.png",
    "driftback sample runs/moons -n 1000 --seed 7 --out new.csv",
    'driftback sample runs/emoji --prompt "a red heart" -n 16 --guidance 1 --out hearts.png',
    "driftback sample runs/photos --inpaint a.png --mask m.png -n 16 --out filled.png",
    "driftback sample runs/houses --given rooms=4 -n 1000 --out of-four-rooms.csv",
    "driftback sample runs/houses --times prices.py -n 1000 --out dear.csv",
)
BATCH = "Items in memory at once, rounded up to whole blocks of 1024 points or of at most 64 pictures."
MOST_COLUMNS = 16
"""A picture of at most so many classes or sentences has a column for each, with its words above."""
FAR = 5.0
"""Samples that reach so many times as far as the data, in the root mean square, are told."""
SUFFIXES = {"points": (".npy", ".npz", ".csv", ".png"), "pictures": (".npy", ".npz", ".png", "")}


def sample(
    run: options.Run,
    out: Annotated[
        Path, typer.Option(help="new.npy, new.npz, new.csv (points), grid.png, or a folder (pictures), by its suffix.")
    ],
    n: Annotated[int, typer.Option("-n", "--n", help="How many.")] = 100,
    seed: options.Seed = 0,
    label: Annotated[
        list[str] | None, typer.Option(metavar="CLASS", help="Only items of this class; several take turns.")
    ] = None,
    prompt: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", help="Only items that this sentence describes; several take turns."),
    ] = None,
    value: Annotated[
        list[str] | None,
        typer.Option(metavar="X", help="Only items with this number; with several numbers NAME=X, once for each."),
    ] = None,
    shape: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HxW", help="Only pictures of this bucket, as 24x40; several take turns. driftback info lists them."
        ),
    ] = None,
    steps: Annotated[
        str,
        typer.Option(
            metavar="auto|N",
            help="Steps on the way back. auto: as many as --tolerance wants; 18 of Heun's rule with method corrected.",
        ),
    ] = "auto",
    tolerance: Annotated[
        float | None,
        typer.Option(
            metavar="ERROR", help="Solve to this error, in standard deviations of the data; 0.01 where nothing is said."
        ),
    ] = None,
    evaluations: Annotated[
        int | None, typer.Option(metavar="N", help="The best that so many network evaluations per item can do.")
    ] = None,
    sampler: Annotated[
        str | None, typer.Option(metavar="NAME", help="A solver by name; driftback verify lists them.")
    ] = None,
    grid: Annotated[
        str | None, typer.Option(metavar="NAME", help="Its time grid: karras (default), log-snr, cosine or uniform.")
    ] = None,
    guidance: Annotated[float, typer.Option(help="Push towards what is asked for; 0 is none.")] = 0.0,
    guidance_interval: Annotated[
        str | None,
        typer.Option(
            metavar="LO:HI", help="Push only there: noise to data, in standard deviations of the data, as 0.2:2."
        ),
    ] = None,
    autoguidance: Annotated[
        float | None,
        typer.Option(
            help="Push away from the model as it was early in its training; 0 is none. Where nothing is said of "
            "guidance, 0.5 with method corrected, else 0."
        ),
    ] = None,
    inpaint: seen.Inpaint = None,
    mask: seen.MaskFile = None,
    known: seen.GivenTexts = None,
    colourise: seen.Colourise = False,
    upscale: seen.Upscale = None,
    deblur: seen.Deblur = None,
    noise: seen.Noise = None,
    times: seen.Times = None,
    method: seen.Way = None,
    particles: seen.Particles = None,
    batch_size: Annotated[int | None, typer.Option(help=BATCH)] = None,
    checkpoint: options.Weights = options.Checkpoint.last,
    ema: options.Ema = None,
    force: options.Force = False,
    device: options.Device = None,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Draw new items from a fitted model and write them to a file or folder.

    Item i of a seed is the same for every -n and every --batch-size, up to rounding where several blocks are drawn at
    once.
    """
    import numpy as np

    from driftback.data.writers import write
    from driftback.pictures.headed import headed
    from driftback.pictures.preview import axis_names, on_white, preview
    from driftback.recipes.conditions import Wanted
    from driftback.recipes.model import load
    from driftback.recipes.solver import TOLERANCE
    from driftback.recipes.way_back import Asked

    model = load(run, device=device, checkpoint=checkpoint.value, ema=ema)
    prepared = model.config.preprocessing
    target = _target(out, prepared, force)
    wanted = Wanted(
        _in_turn(label, n),
        _in_turn(prompt, n),
        _value(value),
        _in_turn([options.shape(one) for one in shape or ()], n),
    )
    observed = seen.observation(
        model.config,
        inpaint=inpaint,
        mask=mask,
        given=known,
        colourise=colourise,
        upscale=upscale,
        deblur=deblur,
        noise=noise,
        times=times,
    )
    if observed is not None:
        from driftback.recipes.posterior import shaped

        wanted = shaped(wanted, observed, n)
        if model.classes and not wanted.told:
            name = model.config.alike.label or "label"
            say(f"the samples have no {name}: what is known tells of it what its shares do not; --label asks for one")
    given = model.given(n, wanted, seed=seed)
    for line in given.said:
        say(f"warning: {line}")
    began = time.perf_counter()
    asked = Asked(
        _steps(steps),
        sampler,
        tolerance,
        evaluations,
        None,
        guidance,
        grid,
        autoguidance,
        _interval(guidance_interval),
    )
    if observed is None:
        seen.refuse_alone(method, particles)
    told: dict[str, Any] = {}
    with progress("drawing", quiet=quiet) as update:
        if observed is None:
            drawn = model.draw(
                n,
                asked,
                wanted=wanted,
                seed=seed,
                batch_size=batch_size,
                progress=lambda done, total: update(done, total, ""),
            )
        else:
            drawn, told = seen.filled(
                model,
                observed,
                n,
                asked,
                method,
                particles,
                wanted,
                seed,
                update,
                batch_size=batch_size,
                noise=noise,
            )
            given = given if wanted.told else replace(given, words=None, columns={})
    x, bucket = drawn.x, given.bucket
    shapes = None if bucket is None or prepared.buckets is None else np.array(prepared.buckets.shapes)[bucket]
    seconds = time.perf_counter() - began
    # A folder has the column that is read of any; other files have the name that the data had.
    own = model.config.alike.caption if target.suffix else None
    beside = {own or name: column for name, column in given.columns.items()}
    if target.suffix.lower() == ".png":
        if prepared.kind == "points" and x.shape[1] > 2:
            say(f"{out} shows the columns {' and '.join(axis_names(prepared)[:2])} of {x.shape[1]}; write .csv for all")
        turns = prompt or label or shape or []
        x = on_white(x, prepared, bucket)
        if prepared.kind == "pictures" and 1 < len(turns) <= min(n, MOST_COLUMNS):
            headed(x, target, prepared, turns)
        else:
            preview(x, target, prepared)
    else:
        write(
            x,
            target,
            columns=prepared.columns,
            labels=given.words if model.classes else None,
            bounds=prepared.bounds,
            label=model.config.alike.label or "label",
            shapes=shapes,
            beside=beside,
            overwrite=force,
        )
    if json:
        spent = drawn.evaluations
        facts = {"out": str(out), "n": n, "shape": x.shape, "evaluations": spent, "seconds": round(seconds, 3)}
        facts |= {} if shapes is None else {"shapes": shapes.tolist()}
        emit(facts | {"error": drawn.error, "autoguidance": drawn.autoguidance} | told)
    else:
        near = "" if drawn.error is None else f", error {drawn.error:.2g} standard deviations"
        near += f", autoguidance {drawn.autoguidance:g}" if drawn.autoguidance else ""
        near += "".join(f", {name.replace('_', ' ')} {value:.4g}" for name, value in told.items())
        show(f"wrote {n} {prepared.kind} to {out} ({drawn.evaluations} evaluations each{near}, {span(seconds)})")
    if shapes is not None and target.suffix.lower() == ".npy":
        say(f"{out} holds whole canvases; an .npz tells the shape of each picture too, and so does --json")
    if drawn.reach > FAR:
        say(f"warning: the samples reach {drawn.reach:.3g} times as far as the data: the sampler is not stable here")
    if drawn.error is not None and evaluations is None and drawn.error > (tolerance or TOLERANCE):
        say(f"the longest fitted solver errs by {drawn.error:.2g}: for less, name one with --sampler and --steps")


def _in_turn(asked: list[Any] | None, n: int) -> list[Any] | None:
    """What each of `n` items is asked for by."""
    return [asked[i % len(asked)] for i in range(n)] if asked else None


def _interval(text: str | None) -> tuple[float, float] | None:
    try:
        ends = None if text is None else tuple(float(end) for end in text.split(":"))
    except ValueError:
        ends = ()
    if ends is None or len(ends) == 2:
        return ends
    raise BadInput(f"--guidance-interval is two numbers with a colon between them, such as 0.2:2, not {text}")


def _value(texts: list[str] | None) -> Any:
    """--value X as a number, and --value NAME=X, once for each, as numbers by name."""
    if not texts:
        return None
    pairs = [text.rpartition("=")[::2] for text in texts]
    try:
        numbers = [(name.strip(), float(number)) for name, number in pairs]
    except ValueError:
        raise BadInput(f"--value is a number such as 3.5, or NAME=3.5, not {' '.join(texts)}") from None
    if len({name for name, _ in numbers}) < len(numbers) or len({bool(name) for name, _ in numbers}) > 1:
        raise BadInput("--value is given once for each number: name each, --value age=3 --value size=2")
    return dict(numbers) if numbers[0][0] else numbers[0][1]


def _steps(text: str) -> int | None:
    """None for auto."""
    if text == "auto":
        return None
    try:
        return int(text)
    except ValueError:
        raise BadInput(f"--steps is a whole number or auto, not {text}") from None


def _target(out: Path, prepared: Preprocessing, force: bool) -> Path:
    """Where to write, refused before any time is spent on drawing."""
    target, suffix = out.expanduser(), out.suffix.lower()
    known = SUFFIXES[prepared.kind]
    if suffix not in known:
        written = ", ".join(each or "no suffix (a folder)" for each in known)
        raise BadInput(f"cannot write {prepared.kind} to {out}: let the name end in {written}")
    if target.exists() and target.is_dir() != (suffix == ""):
        raise BadInput(f"{out} is a {'folder' if target.is_dir() else 'file'} already; choose another name")
    if target.exists() and not force and not (target.is_dir() and not any(target.iterdir())):
        raise BadInput(f"{out} exists already; replace it with --force, or choose another name")
    return target
