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
    from driftback.recipes.model import Model
    from driftback.recipes.way_back import Asked, Drawn

PANEL = "What is known of it"
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
Way = Annotated[
    str | None,
    typer.Option(
        "--method",
        help="How to fill in: mmps (default), pigdm, smc (weighted particles), repaint or dps.",
        rich_help_panel=PANEL,
    ),
]
Particles = Annotated[
    int | None, typer.Option(help="The particles of smc. Default: 256, and no fewer than -n.", rich_help_panel=PANEL)
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
) -> Observation | None:
    """What was seen, None where nothing is said of it. BadInput where the options do not go together."""
    from driftback.recipes import seen

    done = [name for name, asked in (("--colourise", colourise), ("--upscale", upscale), ("--deblur", deblur)) if asked]
    sure = seen.NOISE if noise is None else noise
    if (inpaint is None) != (mask is None):
        raise BadInput("--inpaint and --mask belong together: the picture, and which part of it is to be filled in")
    if inpaint is not None and mask is not None:
        if given or done:
            raise BadInput(f"--inpaint says what is known; leave {(done or ['--given'])[0]} out")
        hide = seen.read_mask(config, mask.expanduser())
        return seen.hidden(config, seen.read(config, inpaint.expanduser()), hide, sure)
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
    if upscale:
        return seen.smaller(config, seen.read(config, path, seen.divided(config, upscale)), upscale, sure)
    if deblur:
        return seen.blurred(config, seen.read(config, path), deblur, sure)
    return seen.grey(config, seen.read(config, path, channels=1), sure)


def filled(
    model: Model,
    observed: Observation,
    n: int,
    asked: Asked,
    method: str | None,
    particles: int | None,
    wanted: Wanted,
    seed: int,
    update: Callable[[int, int, str], None],
) -> tuple[Drawn, dict[str, Any]]:
    """Items after an observation, and what `smc` tells of its particles."""
    from driftback.recipes.posterior import STEPS, fill
    from driftback.recipes.way_back import Asked, Drawn

    if asked != Asked(asked.steps):
        raise BadInput("what is known fixes the way back but for --steps and --method; leave the other options out")
    found = fill(
        model,
        observed,
        n,
        method=method or "mmps",
        wanted=wanted,
        steps=asked.steps if isinstance(asked.steps, int) else STEPS,
        particles=particles,
        seed=seed,
        progress=lambda done, total: update(done, total, ""),
    )
    for line in found.said:
        say(f"warning: {line}")
    told = {"effective": found.effective, "log_evidence": found.log_evidence}
    return Drawn(found.x, found.evaluations, None), {name: v for name, v in told.items() if v is not None}


def _columns(texts: list[str]) -> dict[str, float]:
    values: dict[str, float] = {}
    for text in texts:
        name, equals, number = text.rpartition("=")
        try:
            if not equals or not name or name.strip() in values:
                raise ValueError
            values[name.strip()] = float(number)
        except ValueError:
            raise BadInput(
                f"--given is COLUMN=X, once for each column, not {text}; of a picture say what was done to it "
                "(--colourise, --upscale or --deblur)"
            ) from None
    return values
