"""A plan: everything that decides the weights a training ends with, apart from the data and the machine.

The number of steps is part of it, so that a plan, once made, gives the same weights however often it is interrupted.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, field_validator

from driftback.training.augment import AUGMENTATIONS

RATE = 2e-3
"""The highest learning rate where nothing is said."""


class Plan(BaseModel):
    """How to train: sizes, rates and the seed. Immutable, and written into the model's `config.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(ge=1, description="optimiser steps")
    batch: int = Field(default=256, ge=1, description="items per step")
    learning_rate: float = Field(default=RATE, gt=0)
    warmup: int = Field(default=100, ge=0, description="steps of linear warm-up")
    decay_from: float = Field(default=0.3, ge=0, le=1, description="share of the steps after which the rate falls to 0")
    weight_decay: float = Field(default=0.01, ge=0)
    clip: float = Field(default=1.0, gt=0, description="largest norm of the gradient")
    ema: float = Field(default=0.998, ge=0, lt=1, description="decay of the averaged weights")
    label_drop: float = Field(default=0.1, ge=0, le=1, description="share of items trained without their class")
    seed: int = Field(default=0, ge=0)
    augment: tuple[str, ...] = Field(default=(), description="names of driftback.training.augment, in their order")
    weighting: str = Field(default="simple", description="how much each noise level counts (training/weightings.py)")
    optimiser: str = Field(default="adamw", description="the rule of a step (training/optimisers.py)")
    times: str = Field(default="stratified", description="how noise levels are drawn (training/drawing.py)")
    noise: tuple[float, float] | None = Field(
        default=None, description="mean and deviation of log(sigma / 2 sd), sd the data's; None: the method's law"
    )
    snapshots: int = Field(default=0, ge=0, description="how often averages are kept for others (training/posthoc.py)")

    @field_validator("augment")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := set(names) - set(AUGMENTATIONS):
            raise ValueError(f"there is no augmentation {min(unknown)}")
        return names

    def rate(self, step: int) -> float:
        """The learning rate at step `step`: linear warm-up, constant, then linear to zero at the end."""
        warm = min(1.0, (step + 1) / max(1, self.warmup))
        left = (1 - step / self.steps) / max(1e-9, 1 - self.decay_from)
        return self.learning_rate * warm * min(1.0, left)
