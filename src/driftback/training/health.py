"""Is it working? A plain verdict from the measured losses, per noise level, on training and held-out items.

A measurement holds the step and the losses of the averaged weights on equally many training and held-out items with
the same noise. The training is said to memorise from the step after which the held-out loss only rose, once it has
risen by more than its own noise, while the training loss fell. A held-out loss that rises by less, but at every one of
the last measurements, is called rising: it has not settled.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from driftback.training.levels import LevelLosses


@dataclass(frozen=True)
class Measurement:
    """The losses after `step` steps; `held_out` is None where nothing was held out."""

    step: int
    train: LevelLosses
    held_out: LevelLosses | None

    def as_json(self) -> dict:
        """A dictionary for `metrics.jsonl`."""
        return {"kind": "levels", **asdict(self)}

    @classmethod
    def from_json(cls, record: dict) -> Measurement:
        """The measurement back from its dictionary."""
        losses = [
            record[k] and LevelLosses(tuple(record[k]["ratio"]), tuple(record[k]["loss"]))
            for k in ("train", "held_out")
        ]
        return cls(record["step"], *losses)


@dataclass(frozen=True)
class Verdict:
    """A sentence, the step with the lowest held-out loss, and the step since which the model memorises, if it does."""

    text: str
    best_step: int | None = None
    memorising_since: int | None = None


RISE = 0.02
"""A held-out loss this share above its lowest value counts as risen; two seeds of one training differ by less than half
of it.
"""


RISING, IN_A_ROW = 0.005, 3
"""A held-out loss is rising once it rose at this many measurements in a row and is this share above its lowest value.
Of 12 trainings that memorised nothing, single measurements went up by as much as 0.009, and none up three times."""


FEWEST = 50
"""Fewer steps than this say nothing about what a training would come to."""


def verdict(history: list[Measurement], *, ended: bool = True) -> Verdict:
    """The verdict on the measurements so far, oldest first; `ended` says whether the training has."""
    if not history:
        return Verdict("no measurement yet")
    first, last = history[0], history[-1]
    if last.held_out is None:
        return Verdict("nothing was held out, so memorising cannot be seen; hold data out to be told")
    held = [(m.held_out.mean, m.step) for m in history if m.held_out is not None]
    best, best_step = min(held)
    if last.step < FEWEST:
        return Verdict(f"too few steps to tell: {last.step}, of at least {FEWEST}", best_step)
    if held[-1][0] > best + RISE * abs(best) and last.train.mean < _at(history, best_step).train.mean:
        return Verdict(f"memorising since step {best_step}; the best checkpoint is {best_step}", best_step, best_step)
    if len(history) > 1 and held[-1][0] >= held[0][0] and last.train.mean >= first.train.mean:
        return Verdict("not learning: the loss has not fallen; try a lower --learning-rate", best_step)
    rises = _rises([loss for loss, _ in held])
    if rises >= IN_A_ROW and held[-1][0] > best + RISING * abs(best):
        since = held[-1 - rises][1]
        return Verdict(f"held-out loss rising since step {since}; the best checkpoint is {best_step}", best_step)
    if len(held) > 2 and held[-2][0] - held[-1][0] > 0.005 * abs(held[-1][0]):
        return Verdict("still improving when it ended; more minutes would help" if ended else "improving", best_step)
    settled = "has settled, without memorising" if ended else "is level"
    return Verdict(f"healthy: the held-out loss {settled}", best_step)


def _rises(losses: list[float]) -> int:
    """How many of the last losses each rose above the one before."""
    falls = [i for i in range(1, len(losses)) if losses[i] <= losses[i - 1]]
    return len(losses) - 1 - (falls[-1] if falls else 0)


def _at(history: list[Measurement], step: int) -> Measurement:
    return next(m for m in history if m.step == step)
