"""A law of torch.distributions as a target: its batch is part of the event, and outside of its support it has no mass.

Torch's own log_prob raises outside of the support, or is NaN there.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution


@dataclass(frozen=True, eq=False)
class Law:
    """The density of a `law`; one of batch shape (3,) is that of three independent coordinates."""

    law: Distribution

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Batch and event of the law."""
        return (*self.law.batch_shape, *self.law.event_shape)

    def log_prob(self, x: Tensor) -> Tensor:
        """The log-density at `x` (n, *event), (n,); minus infinity outside of the support."""
        inside = self.law.support.check(x)  # type: ignore[union-attr]
        wide = inside.reshape(*inside.shape, *[1] * (x.ndim - inside.ndim))
        value = self.law.log_prob(torch.where(wide, x, self.law.sample().to(x)))
        return torch.where(inside, value, -torch.inf).reshape(len(x), -1).sum(1)
