"""A training's health as it stands in its log: the verdict, the course of the losses, and where in the noise they lie.

A mean over noise levels can be flat while low noise still improves or is already learned by heart, so each level is
told by itself, beside what it was at the step with the lowest held-out loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from driftback.recipes import config as configs
from driftback.recipes.log import LOG, last_summary, read_log
from driftback.training.health import Measurement, verdict

BARS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True)
class AtLevel:
    """The losses at one noise level (noise over signal) at the last measurement, and the held-out one at the best."""

    noise: float
    train: float
    held_out: float | None
    held_out_at_best: float | None


@dataclass(frozen=True)
class Health:
    """What `driftback info RUN --health` tells; None where nothing was held out or measured."""

    verdict: str
    best_step: int | None
    memorising_since: int | None
    steps: tuple[int, ...]
    train: tuple[float, ...]
    """The mean loss on training items at each of the steps."""
    held_out: tuple[float, ...]
    """The mean loss on held-out items at each of the steps; empty where nothing was held out."""
    levels: tuple[AtLevel, ...]

    def as_json(self) -> dict[str, Any]:
        """Plain numbers and lists."""
        return asdict(self)


def health(folder: Path) -> Health:
    """The health of the training in `folder`. Raises DamagedModel where there is no model."""
    configs.read(folder)
    history = [Measurement.from_json(record) for record in read_log(folder / LOG) if record.get("kind") == "levels"]
    said = verdict(history, ended=last_summary(folder) is not None)
    best = next((m for m in history if m.step == said.best_step), None)
    held = tuple(m.held_out.mean for m in history if m.held_out is not None)
    return Health(
        said.text,
        said.best_step,
        said.memorising_since,
        tuple(m.step for m in history),
        tuple(m.train.mean for m in history),
        held,
        _levels(history[-1], best) if history else (),
    )


def _levels(last: Measurement, best: Measurement | None) -> tuple[AtLevel, ...]:
    held = dict(_pairs(last, held=True))
    then = {} if best is None else dict(_pairs(best, held=True))
    return tuple(AtLevel(r, loss, held.get(r), then.get(r)) for r, loss in _pairs(last, held=False))


def _pairs(found: Measurement, *, held: bool) -> list[tuple[float, float]]:
    losses = found.held_out if held else found.train
    return [] if losses is None else list(zip(losses.ratio, losses.loss, strict=True))


def bars(values: Sequence[float]) -> str:
    """The values as a line of bars, the lowest shortest; all alike are all short."""
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    return "".join(BARS[round((value - low) / span * (len(BARS) - 1))] for value in values)
