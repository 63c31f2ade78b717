"""Methods that remember the items and train nothing: what stands in the place of network, plan and measurements.

Their model is made by one step that changes nothing, so that all else is as for the others: a folder, previews, losses
by noise level on held-out items, and a verdict on memorising.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from driftback.arguments import whole
from driftback.errors import BadInput
from driftback.networks.ladder import Asked, Ladder
from driftback.networks.memory import Memory
from driftback.networks.presets import NetworkSpec
from driftback.recipes.budget import Judging
from driftback.recipes.methods import METHODS
from driftback.training.health import Verdict

NONE = NetworkSpec(kind="none", widths=(1,), depth=1, conditioning=2)
"""No network."""
BATCH = 2
LOOKED_AT = Judging(measured=16, previews=0, judged=16)
"""What is looked at: each look asks every item that is remembered."""


def verdict(items: int, memory: Memory) -> Verdict:
    """What is said in the place of how a training went: how many of so many `items` the `memory` holds, what it does
    not do, and how far a tree may be off.
    """
    kind, kept = memory.spec.kind, memory.spec.items
    many = f"{kept:,} items" if kept == items else f"{kept:,} of {items:,} items"
    said = f"nothing was trained: {many} are remembered; driftback evaluate tells copies of them"
    if kind == "smoothed" and float(memory.width) > 0:
        said += f"; smoothed by {float(memory.width) / memory.spread:.2g} deviations of the data in each number"
    if kind == "patches" and bool((memory.sizes > 1).any()):
        sizes = memory.sizes.clamp(max=max(memory.event[1:]))
        said += f"; their patches have {int(sizes.min())} to {int(sizes.max())} pixels a side, by the noise"
    if kind == "smoothed" and float(memory.width) == 0:
        said += "; none is smoothed, which erred least or could not be tried, so it is as method recorded"
    if kind == "patches" and bool((memory.sizes == 1).all()):
        said += "; patches of one pixel erred least or no others could be tried, so each pixel is drawn by itself"
    if (off := memory.off()) > 0:
        said += f"; its tree is off by at most {1.05 * off:.2g} of the noise, as bounded at noised items"  # rounded up
    return Verdict(said)


def moved(shift: int | None, name: str, event: Sequence[int]) -> int:
    """By how many pixels patches of items of shape `event` are compared with others away from their place: `shift`, 0
    where it is None. BadInput where the method `name` has no patches, and where pictures are not as large.
    """
    if shift is None:
        return 0
    if METHODS[name].closed_form != "patches":
        raise BadInput(f"method {name} compares no patches; leave --shift out, or take --method patches")
    shift = whole(shift, "shift", 0)
    if shift >= min(event[1:]):
        raise BadInput(f"pictures of {event[1]} x {event[2]} pixels cannot be moved by {shift}; give 0 or a few")
    return shift


def instead(name: str, condition: Any, asked: dict[str, Any]) -> Asked | None:
    """What stands in the place of a network where the method `name` remembers; None where it learns.

    BadInput where captions or numbers are to be told, of which it knows nothing, and for options of a training in
    `asked`.
    """
    if not METHODS[name].remembers:
        return None
    if condition is not None:
        raise BadInput(f"method {name} knows classes alone; leave captions and numbers out, or take another method")
    given = [option for option, value in asked.items() if value is not None]
    if given:
        raise BadInput(f"method {name} trains nothing; leave --{given[0].replace('_', '-')} out")
    return Asked(Ladder({"": NONE}, "", ("",)), own=NONE)
