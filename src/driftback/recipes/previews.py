"""What a preview of a training costs: it is drawn with few steps, often, and with the same seed each time."""

from __future__ import annotations

from collections.abc import Sequence

from driftback.recipes.model import block


def preview_steps(event: Sequence[int]) -> int:
    """How many steps a preview of items of shape `event` takes."""
    return 20 if len(event) == 1 else 12


def preview_evaluations(event: Sequence[int]) -> int:
    """How many items a preview's network sees, all steps together."""
    return block(event) * (2 * preview_steps(event) - 1)
