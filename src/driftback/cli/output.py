"""What reaches the person: results on standard output, all else on standard error, so that a pipe sees results alone.

With `--json` the result is one JSON object and nothing more.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any


def say(line: str = "") -> None:
    """A line for the person who watches, on standard error."""
    print(line, file=sys.stderr, flush=True)


def show(line: str = "") -> None:
    """A line of the result, on standard output."""
    print(line, flush=True)


def emit(record: Mapping[str, Any]) -> None:
    """The result as one JSON object on standard output; numbers that are not finite become null."""
    print(json.dumps(_plain(record), allow_nan=False), flush=True)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> None:
    """A table on standard output; the columns numbered in `right` hold numbers."""
    from rich.console import Console
    from rich.table import Table

    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for j, name in enumerate(head):
        drawn.add_column(name, justify="right" if j in right else "left", no_wrap=j in right)
    for row in rows:
        drawn.add_row(*row)
    # A pipe has no width: what reads it shall find each row on one line.
    Console(markup=False, highlight=False, width=None if sys.stdout.isatty() else 200).print(drawn)


def number(value: float | None, digits: int = 3) -> str:
    """A number for a table, or a dash."""
    return "-" if value is None or not math.isfinite(value) else f"{value:.{digits}g}"


def span(seconds: float) -> str:
    """A time for a person: '42 s', '3 min 20 s', '2 h 5 min'."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s" if seconds >= 1 or seconds == 0 else f"{seconds:.1f} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def amount(size: float) -> str:
    """A number of bytes for a person: '12 MB', '3.4 GB'."""
    return f"{size / 1e6:.0f} MB" if size < 1e9 else f"{size / 1e9:.1f} GB"
