"""How far it is and how long it will take, on standard error: a bar in a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from driftback.cli.output import say, span

EVERY = 5.0
"""Seconds between two lines where there is no terminal."""

Update = Callable[[int, int, str], None]
Back = TypeVar("Back")


class Forecast:
    """When it will end: the first part, which may have loaded or compiled something, says nothing of the rest."""

    def __init__(self) -> None:
        self.first: tuple[int, float] | None = None

    def left(self, done: int, total: int, now: float) -> str:
        """The time that is left at the second `now`, for a person; empty with the first part."""
        if self.first is None:
            self.first = done, now
        before, began = self.first
        return f"{span((now - began) / (done - before) * (total - done))} left" if done > before else ""


@contextmanager
def progress(what: str, *, quiet: bool = False, start: int = 0) -> Iterator[Update]:
    """Yields `update(done, total, text)`: how far `what` is and when it will end; `start` was done before."""
    with (_silent if quiet else _bar if sys.stderr.isatty() else _lines)(what, start) as update:
        yield update


def reading(act: Callable[..., Back], option: str, *, quiet: bool = False) -> Callable[..., Back]:
    """`act`, which shows how far it is with reading where that takes long; it is told by its `option`."""

    def shown(*given: Any, **options: Any) -> Back:
        with progress("reading", quiet=quiet) as update:
            return act(*given, **options, **{option: lambda done, total: update(done, total, "")})

    return shown


@contextmanager
def _silent(what: str, start: int) -> Iterator[Update]:
    yield lambda done, total, text: None


@contextmanager
def _lines(what: str, start: int) -> Iterator[Update]:
    said, forecast = time.monotonic(), Forecast()

    def update(done: int, total: int, text: str) -> None:
        nonlocal said
        now = time.monotonic()
        if done <= start:
            return
        left = forecast.left(done, total, now)
        if now - said < EVERY:
            return
        said = now
        say("  ".join(part for part in (f"{what} {done}/{total}", left, text) if part))

    yield update


@contextmanager
def _bar(what: str, start: int) -> Iterator[Update]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[left]}  {task.fields[text]}", markup=False),
    )
    forecast = Forecast()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, completed=start, total=None, left="", text="")

        def update(done: int, total: int, text: str) -> None:
            left = forecast.left(done, total, time.monotonic()) if done > start else ""
            bar.update(task, completed=done, total=total, left=left, text=text)

        yield update
