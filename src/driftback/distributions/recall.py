"""The mean of a cloud's points after noise, E[x | x + r eps = y]: what a network that remembers everything would say.

sum_i softmax_i(-|y - x_i|^2 / (2 r^2)) x_i over all points (Karras et al. 2022, arXiv 2206.00364, appendix B.3). In a
few dimensions a tree leaves out what does not count, within a tolerance, and says by how much it may be off
(`driftback.distributions.tree`); else every point is looked at, chunk by chunk, in memory that does not grow. So is its
gradient, J^T v = sum_i w_i (v . (x_i - mean)) (x_i - mean) / r^2.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

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
COUNTS, PART = 50.0, 32
"""An exponent so far below the largest adds nothing; where no more than 1 / 32 of all add something, these alone are
taken from differences."""


@dataclass(frozen=True, eq=False)
class Recall:
    """`points` (m, d), asked for their mean after noise. With a `tolerance` > 0, in at most three dimensions, it may be
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

    @property
    def by_tree(self) -> bool:
        """Whether a tree sums, where it can, so that something is left out."""
        return self._tree is not None

    def mean(self, y: Tensor, precision: Tensor) -> Tensor:
        """E[x | y] for `y` (n, d) at `precision` 1 / r^2 (n,) float64: the shape and dtype of `y`."""
        return self.bounded(y, precision)[0]

    def bounded(self, y: Tensor, precision: Tensor) -> tuple[Tensor, Tensor]:
        """The same, and a bound on its distance from the exact one in units of r, (n,) float64: 0 but for rounding
        where every point is looked at.
        """
        plain = y.device.type == "cpu" and not y.requires_grad and bool((precision > 0).all() & y.isfinite().all())
        if self._tree is None or not plain:
            return _everywhere(y, self.points.to(y.device), precision), torch.zeros_like(precision)
        sharp = precision.detach().numpy()
        found, bound, left = self._tree.mean(y.detach().double().numpy(), sharp, self.tolerance)
        mean, rows = torch.from_numpy(found).to(y.dtype), torch.from_numpy(left)
        mean[rows] = _everywhere(y[rows], self.points, precision[rows])
        return mean, torch.from_numpy(bound * sharp**0.5).masked_fill(rows, 0.0)


def _everywhere(y: Tensor, points: Tensor, precision: Tensor) -> Tensor:
    if len(y) == 0:
        return torch.zeros_like(y)
    if points.requires_grad:
        return _streamed(y, precision, points)
    return _Mean.apply(y, precision, points)


def _streamed(y: Tensor, precision: Tensor, points: Tensor) -> Tensor:
    return torch.cat([_summed(some, sharp, points)[0] for some, sharp in _rows(points, y, precision)]).to(y.dtype)


class _Mean(torch.autograd.Function):
    """`_streamed`, whose gradient streams again: recorded operation by operation it would hold every chunk."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, precision: Tensor, points: Tensor) -> Tensor:
        parts = [_summed(some, sharp, points) for some, sharp in _rows(points, y, precision)]
        mean, top, total = (torch.cat(part) for part in zip(*parts, strict=True))
        ctx.save_for_backward(y, precision, points, mean, top, total)
        return mean.to(y.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        y, precision, points, *sums = ctx.saved_tensors
        if torch.is_grad_enabled():
            # A second derivative is wanted: it is left to torch, and holds every chunk.
            wanted = [part for part in (y, precision) if part.requires_grad]
            slopes = iter(torch.autograd.grad(_streamed(y, precision, points), wanted, gradients, create_graph=True))
            of_y, of_precision = (next(slopes) if part.requires_grad else None for part in (y, precision))
            return of_y, of_precision, None
        return *_pulled(gradients[0], y, precision, points, *sums), None


def _rows(points: Tensor, *parts: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """So many rows of `parts` at a time that with a chunk of points they have `ENTRIES`."""
    rows = max(1, ENTRIES // max(_width(points), points.shape[1], 1))
    return zip(*(part.split(rows, -2 if part.ndim > 1 else 0) for part in parts), strict=True)


def _width(points: Tensor) -> int:
    return max(1, min(len(points), ENTRIES // max(1, points.shape[1])))


def _summed(y: Tensor, precision: Tensor, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The mean (n, d), the largest exponent (n, 1) and the sum of weights relative to it (n, 1)."""
    # A softmax over chunks of points: sums are relative to the largest exponent so far (Milakov and Gimelshein 2018).
    top = y.new_full((len(y), 1), -torch.inf, dtype=torch.float64)
    total, mean = torch.zeros_like(top), y.new_zeros(y.shape, dtype=torch.float64)
    wide, half = y.double(), precision[:, None] / 2
    for chunk in points.split(_width(points)):
        exponent = -half * squares(wide, chunk.double(), half)
        new_top = torch.maximum(top, exponent.amax(1, keepdim=True))
        weights, shrink = (exponent - new_top).exp_(), (top - new_top).exp()
        total = total * shrink + weights.sum(1, keepdim=True)
        # Weights of at most 1 need no more digits than the mean is wanted with.
        mean = mean * shrink + weights.to(y.dtype) @ chunk.to(y.dtype)
        top = new_top
    return mean / total, top, total


def _pulled(v: Tensor, y: Tensor, precision: Tensor, points: Tensor, *sums: Tensor) -> tuple[Tensor, Tensor]:
    """What `v` (..., n, d) makes of the slopes of the mean in `y` (n, d) and in `precision` (n,)."""
    of_y, of_precision = [], []
    for some, wide, sharp, mean, top, total in _rows(points, v.double(), y.double(), precision, *sums):
        half, middle = sharp[:, None] / 2, (some * mean).sum(-1, keepdim=True)
        moved, across, straight = torch.zeros_like(some), torch.zeros_like(middle), torch.zeros_like(middle)
        for chunk in points.split(_width(points)):
            chunk = chunk.double()
            far = squares(wide, chunk, half)
            weighted = (-half * far - top).exp_().div_(total) * (some @ chunk.T - middle)
            moved, across = moved + weighted @ chunk, across + weighted.sum(-1, keepdim=True)
            straight = straight - (weighted * far).sum(-1, keepdim=True) / 2
        # `across` is 0 but for rounding, which far from the origin counts.
        of_y.append(sharp[:, None] * (moved - across * mean))
        of_precision.append(straight[..., 0])
    return torch.cat(of_y, -2).to(y.dtype), torch.cat(of_precision, -1).to(precision.dtype)


def squares(y: Tensor, points: Tensor, half: Tensor) -> Tensor:
    """|y - x|^2 for `y` (..., n, d) and `points` (..., m, d), (..., n, m), all float64, to be multiplied by -`half`, of
    shape (..., n, 1): by the expanded square where its digits suffice for that, by differences where the noise is tiny.
    """
    of_y, of_points = (y**2).sum(-1, keepdim=True), (points**2).sum(-1)[..., None, :]
    largest = float(of_y.detach().max() + of_points.detach().max())
    lost = 4 * torch.finfo(torch.float64).eps * largest * float(half.max())
    if lost < 1:
        product = torch.addmm if y.ndim == 2 else torch.baddbmm
        far = product(of_y + of_points, y, points.mT, alpha=-2).clamp_(min=0)
        if lost < DIGITS:
            return far
        near = half * (far.detach() - far.detach().amin(-1, keepdim=True)) < COUNTS
        if int(near.sum()) * PART <= near.numel():
            some = near.nonzero().split(max(1, ENTRIES // y.shape[-1]))
            exact = [
                (y[*at[:-1]] - points[*at[:-2], at[-1]]).square().sum(-1) for at in (one.unbind(1) for one in some)
            ]
            return far.masked_scatter(near, torch.cat(exact))
    return torch.cdist(y, points, compute_mode="donot_use_mm_for_euclid_dist") ** 2
