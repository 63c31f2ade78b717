"""The denoiser of a recorded cloud: the exact E[x_0 | x_t] when the data are these points and nothing else.

E[x_0 | x_t] = sum_i softmax_i(-|x_t - alpha x_i|^2 / (2 sigma^2)) x_i: a mixture whose components have no width
(Karras et al. 2022, arXiv 2206.00364, appendix B.3). Run backwards it returns the recorded points themselves; a network
is wanted because it does not.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from driftback.errors import BadInput
from driftback.processes.diffusion import Diffusion
from driftback.scores.denoiser import Denoiser
from driftback.shapes import as_time

ENTRIES = 1 << 22
"""How many float64 numbers one chunk of distances, or of points, may have: 32 MiB."""


@dataclass(frozen=True, eq=False)
class RecordedDenoiser(Denoiser):
    """E[x_0 | x_t] of the cloud `points` (m, *event) with optional `labels` (m,); memory does not grow with m times n.

    `asked`, () or (n,), is the class conditioned on (see `given`).
    """

    process: Diffusion
    points: Tensor
    labels: Tensor | None = None
    asked: Tensor | None = None

    def __post_init__(self) -> None:
        if len(self.points) == 0:
            raise BadInput("a recorded cloud without points has no denoiser; give at least one point")
        if self.labels is not None and self.labels.shape != (len(self.points),):
            raise BadInput(f"{len(self.points)} points have labels of shape {tuple(self.labels.shape)}; give one each")

    def denoised(self, x: Tensor, t: float | Tensor) -> Tensor:
        """E[x_0 | x_t = x] for `x` (n, *event) at times `t` in (0, 1], () or (n,): the shape of `x`."""
        t, n = as_time(t, x), len(x)
        points = self.points.to(x.device).flatten(1)
        queries = x.flatten(1)
        alpha = self.process.alpha(t).reshape(-1, 1).expand(n, 1)
        sigma = self.process.sigma(t).reshape(-1, 1).expand(n, 1)
        if self.asked is None or self.labels is None:
            return _softmax_mean(queries, points, alpha, sigma).reshape(x.shape)
        asked, labels = self.asked.to(x.device).expand(n), self.labels.to(x.device)
        out = torch.empty_like(queries)
        for label in asked.unique():
            rows = asked == label
            out[rows] = _softmax_mean(queries[rows], points[labels == label], alpha[rows], sigma[rows])
        return out.reshape(x.shape)

    def given(self, label: int | Tensor) -> RecordedDenoiser:
        """The denoiser of the points with `label`, one for all items or one each (n,). BadInput if there are none."""
        if self.labels is None:
            raise BadInput("this recorded cloud has no labels; give its points labels to condition on one")
        asked = torch.as_tensor(label, device=self.labels.device)
        if not bool(torch.isin(asked, self.labels).all()):
            known = ", ".join(str(known) for known in self.labels.unique().tolist())
            raise BadInput(f"no recorded point has the label {label}; the labels are {known}")
        return replace(self, asked=asked)


def _softmax_mean(x: Tensor, points: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """The mean of `points` (m, d), weighted for each of `x` (n, d); `alpha` and `sigma` are (n, 1) float64."""
    width = max(1, min(len(points), ENTRIES // max(1, points.shape[1])))
    rows = max(1, ENTRIES // max(width, points.shape[1], 1))
    parts = [
        _streamed(*chunk, points, width)
        for chunk in zip(x.split(rows), alpha.split(rows), sigma.split(rows), strict=True)
    ]
    return torch.cat(parts)


def _streamed(x: Tensor, alpha: Tensor, sigma: Tensor, points: Tensor, width: int) -> Tensor:
    # A softmax over chunks of points: sums are relative to the largest exponent so far (Milakov and Gimelshein 2018).
    top = x.new_full((len(x), 1), -torch.inf, dtype=torch.float64)
    total, mean = torch.zeros_like(top), x.new_zeros(x.shape, dtype=torch.float64)
    # |x - alpha p|^2 = alpha^2 |x / alpha - p|^2, so that one cloud serves all items; at alpha = 0 no point stands out.
    y, precision = x.double() / torch.where(alpha > 0, alpha, 1.0), (alpha / sigma) ** 2
    for chunk in points.split(width):
        chunk = chunk.double()
        # Distances from differences: the expanded square would lose all its digits at a tiny sigma.
        distance = torch.cdist(y, chunk, compute_mode="donot_use_mm_for_euclid_dist")
        exponent = -precision / 2 * distance**2
        new_top = torch.maximum(top, exponent.amax(1, keepdim=True))
        weights, shrink = (exponent - new_top).exp(), (top - new_top).exp()
        total = total * shrink + weights.sum(1, keepdim=True)
        mean = mean * shrink + weights @ chunk
        top = new_top
    return (mean / total).to(x.dtype)
