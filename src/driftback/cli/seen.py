"""What `driftback sample` is told of an item that was seen in part: an observation from options."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from driftback.cli.output import say
from driftback.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Callable

    from driftback.distributions.observation import Observation
    from driftback.recipes.conditions import Wanted
    from driftback.recipes.config import Config
    from driftback.recipes.factor import Factor
    from driftback.recipes.model import Model
    from driftback.recipes.way_back import Asked, Drawn

PANEL = "What is known of it"
EXACT = {"repaint": "puts what is known in its place as if it were exact", "dps": "steps down the misfit alone"}
"""What the methods do that do not ask how exact what is known is."""
Inpaint = Annotated[
    Path | None,
    typer.Option(metavar="PICTURE", help="Fill in the part of this picture that --mask hides.", rich_help_panel=PANEL),
]
MaskFile = Annotated[
    Path | None,
    typer.Option("--mask", metavar="PICTURE", help="White is hidden, black is seen.", rich_help_panel=PANEL),
]
GivenTexts = Annotated[
    list[str] | None,
    typer.Option(
        "--given",
        metavar="COLUMN=X",
        help="A column that is known; several may be. Or a picture, for the three below.",
        rich_help_panel=PANEL,
    ),
]
Colourise = Annotated[
    bool, typer.Option("--colourise", help="The picture of --given has lost its colours.", rich_help_panel=PANEL)
]
Upscale = Annotated[
    int | None, typer.Option(help="The picture of --given is so many times smaller.", rich_help_panel=PANEL)
]
Deblur = Annotated[
    float | None,
    typer.Option(help="The picture of --given is blurred by a Gaussian of X pixels.", rich_help_panel=PANEL),
]
Noise = Annotated[
    float | None,
    typer.Option(
        help="How exact what is known is, in standard deviations of the data. Default: 0.01.", rich_help_panel=PANEL
    ),
]
Times = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.py",
        help="Multiply the model's density by exp of log_prob(x), (n,), of this Python file; x (n, ...) in the units "
        "of the data.",
        rich_help_panel=PANEL,
    ),
]
Way = Annotated[
    str | None,
    typer.Option(
        "--method",
        help="How to fill in: smc (the default of rows), mmps (that of pictures), pigdm, repaint or dps; with --times "
        "smc or guided.",
        rich_help_panel=PANEL,
    ),
]
Particles = Annotated[
    int | None,
    typer.Option(
        help="The particles of smc, no fewer than -n. Default: 4 for each row, 1,024 at least; of pictures 256.",
        rich_help_panel=PANEL,
    ),
]


def observation(
    config: Config,
    *,
    inpaint: Path | None,
    mask: Path | None,
    given: list[str] | None,
    colourise: bool,
    upscale: int | None,
    deblur: float | None,
    noise: float | None,
    times: Path | None,
) -> Observation | Factor | None:
    """What was seen, or a second density; None where nothing is said of them. BadInput where the options do not go
    together.
    """
    from driftback.recipes import seen
    from driftback.recipes.factor import from_file

    said = {"--colourise": colourise or None, "--upscale": upscale, "--deblur": deblur}
    done = [name for name, asked in said.items() if asked is not None]
    sure = seen.NOISE if noise is None else noise
    if times is not None:
        if inpaint or mask or given or done or noise is not None:
            raise BadInput("--times multiplies by a density of its own; leave the options of what was seen out")
        return from_file(times.expanduser(), config)
    if (inpaint is None) != (mask is None):
        raise BadInput("--inpaint and --mask belong together: the picture, and which part of it is to be filled in")
    if inpaint is not None and mask is not None:
        if given or done:
            raise BadInput(f"--inpaint says what is known; leave {(done or ['--given'])[0]} out")
        item, hide, doubt = seen.read_masked(config, inpaint.expanduser(), mask.expanduser())
        if doubt is not None:
            say(f"warning: {doubt}")
        return seen.hidden(config, item, hide, sure)
    if not given:
        if done:
            raise BadInput(f"{done[0]} says what was done to a picture; give it with --given PICTURE")
        if noise is not None:
            raise BadInput("--noise belongs to something that is known; give --inpaint or --given too")
        return None
    if not done:
        return seen.columns(config, _columns(given), sure)
    if len(done) > 1 or len(given) > 1:
        raise BadInput(f"one picture and one of {', '.join(done)} at a time")
    path = Path(given[0]).expanduser()
    factor = 1 if upscale is None else upscale
    if upscale is not None and upscale < 2:
        raise BadInput(f"--upscale {upscale} makes no picture larger; give a factor of 2 or more")
    x = seen.read(config, path, factor, 1 if colourise else None)
    if upscale is not None:
        return seen.smaller(config, x, upscale, sure)
    if deblur is not None:
        return seen.blurred(config, x, deblur, sure)
    return seen.grey(config, x, sure)


def refuse_alone(method: str | None, particles: int | None) -> None:
    """BadInput for options that say how to fill in, where nothing is known."""
    if method is not None or particles is not None:
        raise BadInput(
            "--method and --particles say how to fill in; say what is known by --inpaint, --given or --times"
        )


def filled(
    model: Model,
    observed: Observation | Factor,
    n: int,
    asked: Asked,
    method: str | None,
    particles: int | None,
    wanted: Wanted,
    seed: int,
    update: Callable[[int, int, str], None],
    *,
    batch_size: int | None = None,
    noise: float | None = None,
) -> tuple[Drawn, dict[str, Any]]:
    """Items after an observation, and what `smc` tells of its particles."""
    from driftback.recipes.posterior import fill
    from driftback.recipes.way_back import Asked, Drawn

    if asked != Asked(asked.steps):
        raise BadInput("what is known fixes the way back but for --steps and --method; leave the other options out")
    if batch_size is not None:
        raise BadInput("what is known is filled in by whole blocks, whatever --batch-size; leave it out")
    if noise is not None and method in EXACT:
        say(f"{method} {EXACT[method]}, so that --noise changes nothing")
    found = fill(
        model,
        observed,
        n,
        method=method,
        wanted=wanted,
        steps=asked.steps if isinstance(asked.steps, int) else None,
        particles=particles,
        seed=seed,
        progress=lambda done, total: update(done, total, ""),
    )
    for line in found.said:
        say(f"warning: {line}")
    told = {"misfit": found.misfit, "effective": found.effective, "log_evidence": found.log_evidence}
    told |= {"families": found.families}
    return Drawn(found.x, found.evaluations, None), {name: v for name, v in told.items() if v is not None}


def _columns(texts: list[str]) -> dict[str, float]:
    values: dict[str, float] = {}
    for text in texts:
        name, equals, number = (part.strip() for part in text.rpartition("="))
        if not equals or not name:
            raise BadInput(
                f"--given is COLUMN=X, once for each column, not {text}; of a picture say what was done to it "
                "(--colourise, --upscale or --deblur)"
            )
        if name in values:
            raise BadInput(f"--given says what {name} is twice; give each column once")
        try:
            values[name] = float(number)
        except ValueError:
            raise BadInput(
                f"--given {name}=X wants a number, not '{number}'; classes, sentences and numbers that a model is "
                "asked by go to --label, --prompt and --value"
            ) from None
    return values
