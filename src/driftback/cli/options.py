"""Options that several commands share, each described once."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from driftback.errors import BadInput

READING = "How to read the data"

Source = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="A built-in name (digits, two-moons ...), a .npy, .npz, .csv or IDX file, or a folder of pictures.",
    ),
]
Data = Annotated[
    str | None,
    typer.Argument(metavar="DATA", help="Read like SOURCE of fit. Left out: the held-out items of the fitted data."),
]
Run = Annotated[Path, typer.Argument(metavar="RUN", help="The folder that 'driftback fit --out' made.")]
Seed = Annotated[int, typer.Option(min=0, help="The same seed gives the same result.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on standard error.")]
Force = Annotated[bool, typer.Option("--force", help="Replace what is there already.")]
Device = Annotated[str | None, typer.Option(help="cpu or cuda. Default: a GPU where there is one.")]
Size = Annotated[
    str | None,
    typer.Option(metavar="PIXELS", help="Bring pictures to this size: 32, or 32x48.", rich_help_panel=READING),
]
Channels = Annotated[int | None, typer.Option(help="Read pictures with 1, 3 or 4 channels.", rich_help_panel=READING)]
Aspect = Annotated[
    str | None,
    typer.Option(
        metavar="HOW",
        help="Pictures of another aspect than --size: crop (the default), pad, resize (stretched), or bucket (the "
        "nearest of a few shapes).",
        rich_help_panel=READING,
    ),
]
Caption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="The column of a folder's metadata, or the array, that holds a text. Default: text or caption.",
        rich_help_panel=READING,
    ),
]
Numbers = Annotated[
    str | None,
    typer.Option(
        "--numbers",
        "--number",
        metavar="NAMES",
        help="Columns of a folder's metadata, or arrays, of numbers beside each item: age,height.",
        rich_help_panel=READING,
    ),
]
Columns = Annotated[
    str | None,
    typer.Option(metavar="NAMES", help="Columns of a table to use: height,weight.", rich_help_panel=READING),
]
LabelColumn = Annotated[
    str | None,
    typer.Option("--label", metavar="NAME", help="The column or array that holds the class.", rich_help_panel=READING),
]
GroupColumn = Annotated[
    str | None,
    typer.Option(
        "--group",
        metavar="NAME",
        help="The array that tells which items are held out together.",
        rich_help_panel=READING,
    ),
]
Items = Annotated[
    int | None,
    typer.Option("--n", metavar="N", help="Use this many items (points of a built-in shape).", rich_help_panel=READING),
]


class Checkpoint(StrEnum):
    """Which weights to use."""

    last = "last"
    best = "best"


Weights = Annotated[Checkpoint, typer.Option("--checkpoint", help="The last weights, or those best on held-out items.")]

Ema = Annotated[
    float | None,
    typer.Option(
        "--ema",
        metavar="LENGTH",
        help="Average the weights over another length, 0.02 to 0.25: its deviation in shares of the training.",
    ),
]


def reading(
    size: str | None = None,
    channels: int | None = None,
    columns: str | None = None,
    label: str | None = None,
    n: int | None = None,
    *,
    aspect: str | None = None,
    caption: str | None = None,
    numbers: str | None = None,
    group: str | None = None,
) -> dict[str, Any]:
    """The reading options as `driftback.data.load` takes them, without those that were not given."""
    asked = {
        "size": None if size is None else _size(size),
        "channels": channels,
        "columns": names(columns),
        "y": label,
        "n": n,
        "aspect": aspect,
        "caption": caption,
        "numbers": names(numbers),
        "group": group,
    }
    return {name: value for name, value in asked.items() if value is not None}


def names(text: str | None) -> tuple[str, ...] | None:
    """The names in a list with commas between them; None for None."""
    return None if text is None else tuple(name.strip() for name in text.split(","))


def shape(text: str) -> tuple[int, int]:
    """A height and a width, as in 24x40."""
    sides = text.lower().split("x")
    if len(sides) == 2 and all(side.isdecimal() for side in sides):
        return int(sides[0]), int(sides[1])
    raise BadInput(f"--shape {text} is no shape; write 24x40 for height and width")


def _size(text: str) -> int | tuple[int, int]:
    try:
        sides = [int(side) for side in text.lower().split("x")]
        if len(sides) <= 2:
            return sides[0] if len(sides) == 1 else (sides[0], sides[1])
    except ValueError:
        pass
    raise BadInput(f"--size {text} is no size; write 32, or 32x48 for height and width")
