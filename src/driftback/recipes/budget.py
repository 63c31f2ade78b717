"""A budget of seconds as steps, and as how much is measured on the way: judging has to fit into it too.

A training step of b items costs `per_step` seconds; an item that is only looked at costs about half of its share (no
way back, which is two thirds, but smaller batches). A sixth of the budget is for looking: losses, previews, and the
final likelihood are made smaller until they fit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field

MEASUREMENTS = 12
PREVIEWS = 6
MOST_MEASURED = 512
"""At most so many held-out items are measured while training, and at most twice so many for the final likelihood."""


class Judging(BaseModel):
    """How much of a training's time goes into looking at it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    measured: int = Field(default=MOST_MEASURED, ge=1, description="held-out items measured at each of 12 moments")
    previews: int = Field(default=PREVIEWS, ge=0, description="how often samples are drawn to look at")
    judged: int = Field(default=2 * MOST_MEASURED, ge=1, description="held-out items of the final likelihood")


LOOKED_AT = 0.5
"""Seconds for an item that is only looked at, in units of an item trained on; 0.35 to 0.5 were measured."""
SHARE, SPARE = 0.15, 0.05
"""The share of a budget that looking may take, and what is left for the unexpected; what looking leaves is trained."""
START = 5.0
"""Seconds for reading the data and measuring a step."""
DRAWS = 36
"""Evaluations per item of the final likelihood."""


BATCHES = ((256, 128), (16_384, 32))
"""For pictures of at most so many numbers, so many items per step: what keeps a step under a second on a laptop."""


def usual_batch(event: Sequence[int]) -> int:
    """Items of shape `event` per step when nothing is said."""
    if len(event) == 1:
        return 512
    return next((batch for numbers, batch in BATCHES if math.prod(event) <= numbers), 4)


def plan_within(
    seconds: float, per_step: float, batch: int, *, held_out: int, preview: int, bound: bool, spent: float = 0.0
) -> tuple[int, Judging]:
    """How many steps fit into `seconds`, and how much is judged besides.

    `preview` is the number of evaluations that one preview takes (0: there are none), `bound` says whether the final
    likelihood is measured; `spent` are seconds of the budget that went by before the first step.
    """
    each = LOOKED_AT * per_step / batch
    bearable = SHARE * seconds / each
    most = min(MOST_MEASURED, max(held_out, 64))
    measured = int(max(16, min(most, 0.35 * bearable / (2 * MEASUREMENTS))))
    previews = int(min(PREVIEWS, 0.3 * bearable / preview)) if preview else PREVIEWS
    judged = int(max(8, min(2 * MOST_MEASURED, 0.35 * bearable / DRAWS)))
    looking = each * (
        2 * MEASUREMENTS * measured + previews * preview + (DRAWS * min(judged, held_out) if bound else 0)
    )
    looking += max(0.0, 4 * per_step - START / 2)
    whole = measured == most
    judging = Judging(measured=MOST_MEASURED if whole else measured, previews=previews, judged=judged)
    left = (1 - SPARE) * seconds - START - spent - looking
    return max(10, int(left / per_step)), judging
