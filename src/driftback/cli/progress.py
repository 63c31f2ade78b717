"""How far it is and how long it will take, on standard error: a bar in a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from driftback.cli.output import say, span

EVERY = 5.0
"""Seconds between two lines where there is no terminal."""

Update = Callable[[int, int, str], None]


@contextmanager
def progress(what: str, *, quiet: bool = False, start: int = 0) -> Iterator[Update]:
    """Yields `update(done, total, text)`: how far `what` is and when it will end; `start` was done before."""
    with (_silent if quiet else _bar if sys.stderr.isatty() else _lines)(what, start) as update:
        yield update


@contextmanager
def _silent(what: str, start: int) -> Iterator[Update]:
    yield lambda done, total, text: None


@contextmanager
def _lines(what: str, start: int) -> Iterator[Update]:
    began = said = time.monotonic()

    def update(done: int, total: int, text: str) -> None:
        nonlocal said
        now = time.monotonic()
        if now - said < EVERY or done <= start:
            return
        said = now
        left = (now - began) / (done - start) * (total - done)
        say(f"{what} {done}/{total}  {span(left)} left  {text}".rstrip())

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
    began = time.monotonic()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, completed=start, total=None, left="", text="")

        def update(done: int, total: int, text: str) -> None:
            left = (time.monotonic() - began) / max(1, done - start) * (total - done)
            bar.update(task, completed=done, total=total, left=f"{span(left)} left", text=text)

        yield update
