"""Which preset a budget of time bears: the largest that still sees enough, by speeds measured on this machine.

The best size N of a network and the number D of items that it sees grow alike with the operations that are spent (in
language models N and D both with their square root: Hoffmann et al. 2022, arXiv 2203.15556, table 2), so a preset wants
D >= `ITEMS_PER_PARAMETER` N. Too large a network that sees too little is worse than a small one, and too small a one is
a waste of a night. The ladder is climbed from its foot, and a rung that could not even at twice the expected speed see
what it wants is not measured.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

ITEMS_PER_PARAMETER = 0.1
"""Half a million parameters are known to do well on the 100,000 Fashion-MNIST pictures that five minutes on two cores
show them, a fifth of a picture for each; half of that leaves room for a slower machine. After 50 seconds of one core,
where `tiny` saw 0.18, `small` 0.03 and `medium` 0.01 for each, their held-out losses were 0.261, 0.279 and 0.311.
"""
SURPRISE = 2.0
"""A larger network gets more operations a second out of a machine, by up to so much from one rung to the next."""


@dataclass(frozen=True)
class Rung:
    """A preset by name, with its parameters and its operations for one item."""

    name: str
    parameters: int
    flops: int

    @property
    def wants(self) -> int:
        """How many items it wants to see at least."""
        return round(ITEMS_PER_PARAMETER * self.parameters)


@dataclass(frozen=True)
class Choice:
    """The rung that was chosen, its measured seconds per step, and why, in words."""

    rung: Rung
    per_step: float
    reason: str


def choose(
    rungs: Sequence[Rung],
    measured: Callable[[Rung], float],
    sees: Callable[[Rung, float], int],
    *,
    batch: int,
    items: str,
    within: Callable[[Rung, float], str],
) -> Choice:
    """Climb `rungs`, smallest first, as far as they see what they want.

    `measured` gives a rung's seconds per step of `batch` items, `sees` how many items it would see at so many seconds
    per step; `items` and `within` say in words what is seen, and in how long (what limits it).
    """
    chosen, per_step = rungs[0], measured(rungs[0])
    seen, refused = sees(chosen, per_step), ""
    none = ", and none is larger" if rungs[1:] else ""
    for rung in rungs[1:]:
        if seen < chosen.wants:
            break  # already the smallest sees too little
        expected = per_step * rung.flops / chosen.flops
        if sees(rung, expected / SURPRISE) < rung.wants:
            refused = _refused(rung, "would see about", sees(rung, expected))
            break
        own = measured(rung)
        if sees(rung, own) < rung.wants:
            refused = _refused(rung, "would see", sees(rung, own))
            break
        chosen, per_step, seen = rung, own, sees(rung, own)
    preset = f"preset {chosen.name}" if chosen.name else "this network"
    rate, limit = batch / per_step, within(chosen, per_step)
    reason = f"{preset}: {rate:,.0f} {items} a second measured, {seen:,} in {limit}"
    if seen < chosen.wants:
        smaller = ", but none is smaller" if rungs[1:] else ""
        return Choice(chosen, per_step, f"{reason}, below the {chosen.wants:,} it wants{smaller}")
    return Choice(chosen, per_step, reason + (refused or none))


def _refused(rung: Rung, verb: str, seen: int) -> str:
    return f"; {rung.name} {verb} {seen:,}, below the {rung.wants:,} it wants"
