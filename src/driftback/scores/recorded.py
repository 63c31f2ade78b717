"""The denoiser of a recorded cloud: the exact E[x_0 | x_t] when the data are these points and nothing else.

A mixture whose components have no width, at y = x_t / alpha and r = sigma / alpha (`driftback.distributions.recall`).
Run backwards it returns the recorded points themselves; a network is wanted because it does not.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from driftback.distributions.recall import Recall
from driftback.errors import BadInput
from driftback.processes.diffusion import Diffusion
from driftback.scores.denoiser import Denoiser
from driftback.shapes import as_time


@dataclass(frozen=True, eq=False)
class RecordedDenoiser(Denoiser):
    """E[x_0 | x_t] of the cloud `points` (m, *event) with optional `labels` (m,); memory does not grow with m times n.

    `asked`, () or (n,), is the class conditioned on (see `given`). With a `tolerance` > 0 the predicted noise may be
    off by about so much in points of at most three numbers, which makes a million of them quick; `bound` tells by how
    much.
    """

    process: Diffusion
    points: Tensor
    labels: Tensor | None = None
    asked: Tensor | None = None
    tolerance: float = 0.0
    recalls: dict[int | None, Recall] = field(default_factory=dict, init=False, repr=False)
    """Made when first asked for: None is that of all points, else that of a class; other points have others."""

    def __post_init__(self) -> None:
        if len(self.points) == 0:
            raise BadInput("a recorded cloud without points has no denoiser; give at least one point")
        if self.labels is not None and self.labels.shape != (len(self.points),):
            raise BadInput(f"{len(self.points)} points have labels of shape {tuple(self.labels.shape)}; give one each")

    def denoised(self, x: Tensor, t: float | Tensor) -> Tensor:
        """E[x_0 | x_t = x] for `x` (n, *event) at times `t` in (0, 1], () or (n,): the shape of `x`."""
        return self._bounded(x, t)[0]

    def bound(self, x: Tensor, t: float | Tensor) -> Tensor:
        """How far the predicted noise at `x` may be off at most, in its norm, (n,) float64; 0 where it is exact."""
        return self._bounded(x, t)[1]

    def _bounded(self, x: Tensor, t: float | Tensor) -> tuple[Tensor, Tensor]:
        t, n = as_time(t, x), len(x)
        alpha, sigma = (part.reshape(-1).expand(n) for part in (self.process.alpha(t), self.process.sigma(t)))
        # |x - alpha p|^2 = alpha^2 |x / alpha - p|^2, so that one cloud serves all items; at alpha = 0 no point stands
        # out.
        y = x.flatten(1).double() / torch.where(alpha > 0, alpha, 1.0)[:, None]
        precision = (alpha / sigma) ** 2
        if self.asked is None or self.labels is None:
            mean, bound = self._recall(None).bounded(y, precision)
            return mean.to(x.dtype).reshape(x.shape), bound
        asked, out = self.asked.to(x.device).expand(n), torch.empty_like(y)
        bound = torch.zeros_like(precision)
        for label in asked.unique():
            rows = asked == label
            out[rows], bound[rows] = self._recall(int(label)).bounded(y[rows], precision[rows])
        return out.to(x.dtype).reshape(x.shape), bound

    def _recall(self, label: int | None) -> Recall:
        if label not in self.recalls:
            points = self.points.flatten(1)
            if label is not None and self.labels is not None:
                points = points[self.labels == label]
            self.recalls[label] = Recall(points, self.tolerance)
        return self.recalls[label]

    def of(self, rows: Tensor) -> RecordedDenoiser:
        if self.asked is None or self.asked.ndim == 0:
            return self
        return self._of_class(self.asked[rows])

    def given(self, label: int | Tensor) -> RecordedDenoiser:
        """The denoiser of the points with `label`, one for all items or one each (n,). BadInput if there are none."""
        if self.labels is None:
            raise BadInput("this recorded cloud has no labels; give its points labels to condition on one")
        asked = torch.as_tensor(label, device=self.labels.device)
        if not bool(torch.isin(asked, self.labels).all()):
            known = ", ".join(str(known) for known in self.labels.unique().tolist())
            raise BadInput(f"no recorded point has the label {label}; the labels are {known}")
        return self._of_class(asked)

    def _of_class(self, asked: Tensor) -> RecordedDenoiser:
        other = replace(self, asked=asked)
        object.__setattr__(other, "recalls", self.recalls)  # the points are the same
        return other
