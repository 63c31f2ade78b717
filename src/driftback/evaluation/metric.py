"""A number that is never alone: a value, its interval, and the floor that real data reaches against real data.

The interval [low, high] is a 95 % interval for what the statistic is on average at these numbers of items. The floor
[floor_low, floor_high] is the 95 % band in which the same statistic falls when both sets are real: a perfect model
lands inside it in 95 of 100 judgements, and no model can be shown to be better than that.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

INSIDE = "inside the floor"
WORSE = "worse than the floor"
CLOSER = "below the floor: closer than real sets are"
ABOVE = "above the floor"
MEMORISED = "memorised"
NOT_MEMORISED = "not memorised"
TOO_FEW = "too few items"
ELSEWHERE = "cannot tell: DATA lie elsewhere than the training items"
PER_CLASS = ("label agreement: ", "kernel distance: ")
"""How the names of those measurements begin that are made of one class alone."""
UNKNOWN = "cannot tell: the training items are not known"


@dataclass(frozen=True)
class Metric:
    """One measurement, ready for JSON. None stands where a number does not apply."""

    name: str
    value: float | None
    low: float | None
    high: float | None
    floor_low: float | None
    floor_high: float | None
    n: int
    """How many of the samples were measured."""
    verdict: str
    """Plain words; for distances the permutation p-value follows after a comma."""

    def as_json(self) -> dict[str, float | int | str | None]:
        """The eight fields as plain numbers and strings."""
        return asdict(self)


def place(value: float, floor: tuple[float, float], below: str = CLOSER, above: str = WORSE) -> str:
    """Where `value` lies against the band `floor`: the word `below`, 'inside the floor', or the word `above`."""
    return below if value < floor[0] else above if value > floor[1] else INSIDE
