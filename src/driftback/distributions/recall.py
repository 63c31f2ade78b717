"""The mean of a cloud's points after noise, E[x | x + r eps = y]: what a network that remembers everything would say.

sum_i softmax_i(-|y - x_i|^2 / (2 r^2)) x_i over all points (Karras et al. 2022, arXiv 2206.00364, appendix B.3). In a
few dimensions a tree leaves out what does not count, within a tolerance, and says by how much it may be off
(`driftback.distributions.tree`); else every point is looked at, chunk by chunk, in memory that does not grow.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from driftback.distributions.tree import DIMENSIONS, Tree
from driftback.errors import BadInput

ENTRIES = 1 << 22
"""How many float64 numbers one chunk of distances, or of points, may have: 32 MiB."""
MANY = 2_000
"""From so many points on a tree pays."""
DIGITS = 1e-9
"""What rounding may change in an exponent where squares are expanded, which is faster than taking differences."""


@dataclass(frozen=True, eq=False)
class Recall:
    """`points` (m, d), asked for their mean after noise. With a `tolerance` > 0, in at most six dimensions, it may be
    off by about that share of the noise's deviation r; 0 looks at every point. BadInput for no points.
    """

    points: Tensor
    tolerance: float = 0.0

    def __post_init__(self) -> None:
        if self.points.ndim != 2 or len(self.points) == 0:
            raise BadInput("a recorded cloud without points has no denoiser; give at least one point")
        if not 0 <= self.tolerance < 1:
            raise BadInput(f"a tolerance of {self.tolerance} of the noise is none; give 0 (exact) to .01 or so")

    @cached_property
    def _tree(self) -> Tree | None:
        m, d = self.points.shape
        if self.tolerance == 0 or d > DIMENSIONS or m < MANY:
            return None
        return Tree(self.points.detach().cpu().double().numpy())

    def mean(self, y: Tensor, precision: Tensor) -> Tensor:
        """E[x | y] for `y` (n, d) at `precision` 1 / r^2 (n,) float64: the shape and dtype of `y`."""
        return self.bounded(y, precision)[0]

    def bounded(self, y: Tensor, precision: Tensor) -> tuple[Tensor, Tensor]:
        """The same, and a bound on its distance from the exact one in units of r, (n,) float64: 0 but for rounding
        where every point is looked at.
        """
        plain = y.device.type == "cpu" and not y.requires_grad and bool((precision > 0).all())
        if self._tree is None or not plain:
            return _everywhere(y, self.points.to(y.device), precision), torch.zeros_like(precision)
        sharp = precision.detach().numpy()
        mean, bound = self._tree.mean(y.detach().double().numpy(), sharp, self.tolerance)
        return torch.from_numpy(mean).to(y.dtype), torch.from_numpy(bound * sharp**0.5)


def _everywhere(y: Tensor, points: Tensor, precision: Tensor) -> Tensor:
    width = max(1, min(len(points), ENTRIES // max(1, points.shape[1])))
    rows = max(1, ENTRIES // max(width, points.shape[1], 1))
    parts = [_streamed(*chunk, points, width) for chunk in zip(y.split(rows), precision.split(rows), strict=True)]
    return torch.cat(parts) if parts else torch.zeros_like(y)


def _streamed(y: Tensor, precision: Tensor, points: Tensor, width: int) -> Tensor:
    # A softmax over chunks of points: sums are relative to the largest exponent so far (Milakov and Gimelshein 2018).
    top = y.new_full((len(y), 1), -torch.inf, dtype=torch.float64)
    total, mean = torch.zeros_like(top), y.new_zeros(y.shape, dtype=torch.float64)
    wide, half = y.double(), precision[:, None] / 2
    for chunk in points.split(width):
        chunk = chunk.double()
        exponent = -half * _squares(wide, chunk, float(half.max()))
        new_top = torch.maximum(top, exponent.amax(1, keepdim=True))
        weights, shrink = (exponent - new_top).exp_(), (top - new_top).exp()
        total = total * shrink + weights.sum(1, keepdim=True)
        mean = mean * shrink + weights @ chunk
        top = new_top
    return (mean / total).to(y.dtype)


def _squares(y: Tensor, points: Tensor, sharpest: float) -> Tensor:
    """|y - x|^2, (n, m): by the expanded square where its digits suffice, by differences where the noise is tiny."""
    of_y, of_points = (y**2).sum(1, keepdim=True), (points**2).sum(1)
    largest = float(of_y.detach().max() + of_points.detach().max())
    if 4 * torch.finfo(torch.float64).eps * largest * sharpest < DIGITS:
        return torch.addmm(of_y + of_points, y, points.T, alpha=-2).clamp_(min=0)
    return torch.cdist(y, points, compute_mode="donot_use_mm_for_euclid_dist") ** 2
