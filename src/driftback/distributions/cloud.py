"""The empirical distribution of a cloud of points: every draw is one of the points, each as likely as any other.

p(x) = 1/m sum_i delta(x - x_i), drawn from with replacement (Efron 1979, 'Bootstrap methods'). It has no density;
with noise on top it is a mixture, whose denoiser is `driftback.scores.recorded.RecordedDenoiser`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from driftback.errors import BadInput
from driftback.randomness import Rng, as_rng


@dataclass(frozen=True, eq=False)
class Cloud:
    """The points (m, *event), and a label (m,) for each if there are any. BadInput if there is no point."""

    points: Tensor
    labels: Tensor | None = None

    def __post_init__(self) -> None:
        if self.points.ndim < 1 or len(self.points) == 0:
            raise BadInput("a cloud without points has nothing to draw; give an array of shape (m, *event) with m >= 1")
        if self.labels is not None and self.labels.shape != (len(self.points),):
            raise BadInput(f"{len(self.points)} points have labels of shape {tuple(self.labels.shape)}; give one each")

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The shape of one point."""
        return tuple(self.points.shape[1:])

    def indices(self, n: int, *, rng: Rng | int | None = None) -> Tensor:
        """The numbers (n,) of the points that `sample` draws under the same key; with them, its labels."""
        share = as_rng(rng).uniform((n,), dtype=torch.float64)
        return (share * len(self.points)).long().to(self.points.device)

    def sample(self, n: int, *, rng: Rng | int | None = None) -> Tensor:
        """Draw `n` points, (n, *event), of the dtype and device of the cloud."""
        return self.points[self.indices(n, rng=rng)]
