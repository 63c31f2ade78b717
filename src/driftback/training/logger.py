"""Who else is told how a training goes: loggers, which take numbers and pictures and keep them wherever they like.

A logger that fails is told of once and left out: a full disk under its files is no reason to lose a training.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from driftback.training.health import Measurement
from driftback.training.loop import Step
from driftback.training.plan import Plan

MOMENTS = 500
"""So often in a training, at most, the numbers of single steps are logged."""


class Logger(Protocol):
    """Takes what a training tells; a method may do nothing."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers by name after `step` steps; a `/` in a name parts groups."""
        ...

    def picture(self, step: int, name: str, image: np.ndarray) -> None:
        """A picture (height, width, 3) uint8 after `step` steps."""
        ...

    def close(self) -> None:
        """The training has ended, or stopped."""
        ...


def _warn(what: str) -> None:
    warnings.warn(what, stacklevel=2)


@dataclass
class Loggers:
    """Several loggers of a training of `steps` steps of `batch` items; `complain` hears of one that fails."""

    each: Sequence[Logger] = ()
    steps: int = 1
    batch: int = 1
    complain: Callable[[str], None] = _warn
    last: tuple[int, float] | None = field(default=None, init=False)

    @classmethod
    def of(cls, plan: Plan, each: Sequence[Logger], complain: Callable[[str], None] = _warn) -> Loggers:
        """Those of a training by `plan`."""
        return cls(tuple(each), plan.steps, plan.batch, complain)

    def stepped(self, step: Step, seconds: float) -> None:
        """A step has ended after `seconds` of training."""
        if not self.each or step.number % max(1, self.steps // MOMENTS):
            return
        values = {"loss/batch": step.loss, "training/gradient": step.gradient, "training/learning rate": step.rate}
        before, self.last = self.last, (step.number, seconds)
        if before is not None and seconds > before[1]:
            values["training/items per second"] = (step.number - before[0]) * self.batch / (seconds - before[1])
        self._tell("scalars", step.number, values)

    def measured(self, found: Measurement) -> None:
        """Losses have been measured: their means, and those of each noise level."""
        sides = {"training items": found.train, "held-out items": found.held_out}
        values = {}
        for name, losses in sides.items():
            if losses is not None:
                values[f"loss/{name}"] = losses.mean
                pairs = zip(losses.ratio, losses.loss, strict=True)
                values |= {f"loss per noise level, {name}/{ratio:.3g}": loss for ratio, loss in pairs}
        self._tell("scalars", found.step, values)

    def drawn(self, step: int, path: Path) -> None:
        """A preview has been drawn to the file `path`."""
        if self.each:
            with suppress(OSError), Image.open(path) as image:
                self._tell("picture", step, "preview", np.asarray(image.convert("RGB")))

    def close(self) -> None:
        """The training has ended, or stopped."""
        self._tell("close")

    def _tell(self, what: str, *about: Any) -> None:
        for logger in self.each:
            try:
                getattr(logger, what)(*about)
            except Exception as error:  # another's code may raise anything
                self.each = [other for other in self.each if other is not logger]
                kind = type(error).__name__
                self.complain(f"{type(logger).__name__} failed ({kind}: {error}) and is told nothing more")
