"""Ctrl-C without loss: the first asks the training to stop after its step, the second stops at once.

After the training, when there is nothing left to save, the first stops at once too. `kill` (SIGTERM) asks in the same
way.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stop:
    """Whether someone asked to stop: call it for a yes or no; `code` is the exit status that says how."""

    def __init__(self) -> None:
        self.signal = 0
        self.waits = True
        """Whether the first signal only asks; else it raises KeyboardInterrupt at once."""

    def __call__(self) -> bool:
        return self.signal != 0

    @property
    def code(self) -> int:
        """128 + the number of the signal, as shells have it: 130 for Ctrl-C, 143 for kill."""
        return 128 + self.signal


@contextmanager
def stoppable() -> Iterator[Stop]:
    """While the block runs, the first SIGINT or SIGTERM only sets the yielded `Stop`, as long as that `waits`."""
    stop = Stop()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def asked(number: int, frame: FrameType | None) -> None:
        stop.signal = number
        for each, handler in before.items():
            signal.signal(each, handler)
        if not stop.waits:
            raise KeyboardInterrupt

    for number in before:
        signal.signal(number, asked)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
