"""Sums over patches of pictures, weighted by likeness, and their gradient, in memory that does not grow.

For the pixels of a tile of the picture, y_i the patches about them, x_j those of all pictures and m_j their middles:
mean_i = sum_j w_ij m_j, w_ij = softmax_j(-|y_i - x_j|^2 / (2 r^2)); and for v, J^T v = sum_i of the patches
sum_j w_ij (v_i . (m_j - mean_i)) (x_j - y_i) / r^2, each put back where it was cut. Tiles, pictures and items go by
in parts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from driftback.distributions.recall import squares

ENTRIES = 1 << 23
"""How many exponents, or numbers of patches, are held at once: 64 MiB in float64."""
TOGETHER = 32
"""A tile is so small that so many pictures' patches of it fit."""


@dataclass(frozen=True)
class Tile:
    """Rows `top` to `end` and columns `left` to `right` of a picture, and patches of `size` about their pixels, or,
    with `whole`, all of it as one patch.
    """

    top: int
    end: int
    left: int
    right: int
    size: int
    whole: bool = False

    @property
    def places(self) -> int:
        """How many patches there are."""
        return 1 if self.whole else (self.end - self.top) * (self.right - self.left)

    def numbers(self, x: Tensor) -> int:
        """How many numbers a patch of `x` (n, c, h, w) has."""
        return x[0].numel() if self.whole else x.shape[1] * self.size**2

    def cut(self, x: Tensor) -> Tensor:
        """The patches of `x` (n, c, h, w), (places, n, numbers) float64: rounded to float32, a product of large ones
        has an error that a small r makes large. Beyond its edges a picture is 0.
        """
        if self.whole:
            return x.double().flatten(1)[None]
        reach, (high, wide) = self.size // 2, x.shape[2:]
        rows, columns = (self.top - reach, self.end + reach), (self.left - reach, self.right + reach)
        inside = x[..., max(0, rows[0]) : rows[1], max(0, columns[0]) : columns[1]].double()
        beyond = (max(0, -columns[0]), max(0, columns[1] - wide), max(0, -rows[0]), max(0, rows[1] - high))
        return F.unfold(F.pad(inside, beyond), self.size).permute(2, 0, 1).contiguous()

    def back(self, patches: Tensor, like: Tensor) -> Tensor:
        """What patches (places, n, numbers) add up to in pictures of the shape of `like` (n, c, h, w)."""
        if self.whole:
            return patches[0].reshape(like.shape)
        reach, (high, wide) = self.size // 2, like.shape[2:]
        sides = (self.end - self.top + 2 * reach, self.right - self.left + 2 * reach)
        put = F.fold(patches.permute(1, 2, 0), sides, self.size)
        top, left = self.top - reach, self.left - reach
        return F.pad(put, (left, wide - left - sides[1], top, high - top - sides[0]))

    def middle(self, x: Tensor) -> Tensor:
        """The pixels of the tile in `x` (n, k, h, w), (places, n, k) float64."""
        # By shapes that torch's batched gradients know.
        if self.whole:
            return x.double().reshape(1, len(x), -1)
        part = x.double().narrow(2, self.top, self.end - self.top).narrow(3, self.left, self.right - self.left)
        return part.reshape(*part.shape[:2], self.places).permute(2, 0, 1)

    def put(self, middles: Tensor, out: Tensor) -> None:
        """`middles` (places, n, k) as the tile of `out` (n, k, h, w)."""
        if self.whole:
            out.copy_(middles[0].reshape(out.shape))
        else:
            part = out[..., self.top : self.end, self.left : self.right]
            part.copy_(middles.permute(1, 2, 0).reshape(part.shape))


def mean(y: Tensor, precision: Tensor, pictures: Tensor, shift: int, size: int) -> Tensor:
    """E[x | y] pixel by pixel of `y` (n, c, h, w) at `precision` (n,) float64, by patches of an odd `size`, at most
    2 side - 1, of `pictures` (m, c, h, w), each also moved by up to `shift`. A second derivative holds every part.
    """
    if len(y) == 0:
        return torch.zeros_like(y)
    if pictures.requires_grad:
        return _streamed(y, precision, pictures, shift, size)
    mean: Tensor = _Mean.apply(y, precision, pictures, shift, size)
    return mean


def tiles(event: tuple[int, ...], size: int) -> Iterator[Tile]:
    """The tiles of pictures (c, h, w) for patches of `size`: one, or several where patches are large."""
    channels, high, wide = event
    if size // 2 >= max(high, wide) - 1:
        yield Tile(0, high, 0, wide, size, whole=True)
        return
    places = max(1, ENTRIES // (TOGETHER * channels * size**2))
    rows, columns = max(1, min(high, places // wide)), min(wide, places)
    for top in range(0, high, rows):
        for left in range(0, wide, columns):
            yield Tile(top, min(high, top + rows), left, min(wide, left + columns), size)


class _Mean(torch.autograd.Function):
    """`_streamed`, whose gradient streams again: recorded operation by operation it would hold every part."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, precision: Tensor, pictures: Tensor, shift: int, size: int) -> Tensor:
        out, sums = torch.empty_like(y), []
        for tile, rows in _parts(y, size):
            found = _summed(y[rows], precision[rows], pictures, shift, tile)
            tile.put(found[0], out[rows])
            sums += found
        ctx.save_for_backward(y, precision, pictures, *sums)
        ctx.shift, ctx.size = shift, size
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        y, precision, pictures, *sums = ctx.saved_tensors
        if torch.is_grad_enabled():
            # A second derivative is wanted: it is left to torch, and holds every part.
            wanted, again = [part for part in (y, precision) if part.requires_grad], (pictures, ctx.shift, ctx.size)
            slopes = iter(torch.autograd.grad(_streamed(y, precision, *again), wanted, gradients, create_graph=True))
            of_y, of_precision = (next(slopes) if part.requires_grad else None for part in (y, precision))
            return of_y, of_precision, None, None, None
        return *_pulled(gradients[0], y, precision, pictures, ctx.shift, ctx.size, sums), None, None, None


def _streamed(y: Tensor, precision: Tensor, pictures: Tensor, shift: int, size: int) -> Tensor:
    out = torch.zeros_like(y)
    for tile, rows in _parts(y, size):
        tile.put(_summed(y[rows], precision[rows], pictures, shift, tile)[0], out[rows])
    return out


def _parts(y: Tensor, size: int) -> Iterator[tuple[Tile, slice]]:
    """Each tile with so many items at a time that their patches of it have `ENTRIES` numbers."""
    for tile in tiles(tuple(y.shape[1:]), size):
        rows = max(1, ENTRIES // (tile.places * tile.numbers(y)))
        for first in range(0, len(y), rows):
            yield tile, slice(first, min(len(y), first + rows))


def _others(pictures: Tensor, shift: int, y: Tensor, tile: Tile) -> Iterator[tuple[Tensor, Tensor]]:
    """Patches (places, k, numbers) and middles (places, k, channels) of a tile, of all pictures, k at a time."""
    many = max(1, ENTRIES // (tile.places * max(len(y), tile.numbers(y))))
    high, wide = pictures.shape[2:]
    for part in pictures.split(many):
        wider = F.pad(part.to(y), (shift, shift, shift, shift), mode="replicate") if shift else part.to(y)
        for up in range(2 * shift + 1):
            for left in range(2 * shift + 1):
                x = wider[:, :, up : up + high, left : left + wide]
                yield tile.cut(x), tile.middle(x)


def _summed(y: Tensor, precision: Tensor, pictures: Tensor, shift: int, tile: Tile) -> list[Tensor]:
    """The mean of a tile (places, n, channels), the largest exponent (places, n, 1) and the sum of weights relative to
    it (places, n, 1).
    """
    own, half = tile.cut(y), (precision / 2)[None, :, None]
    top = torch.full((len(own), len(y), 1), -torch.inf, dtype=torch.float64, device=y.device)
    total, mean = torch.zeros_like(top), torch.zeros_like(tile.middle(y))
    for x, middle in _others(pictures, shift, y, tile):
        exponent = -half * squares(own, x, half)
        new_top = torch.maximum(top, exponent.amax(2, keepdim=True))
        weights, shrink = (exponent - new_top).exp_(), (top - new_top).exp()
        total = total * shrink + weights.sum(2, keepdim=True)
        mean = mean * shrink + torch.bmm(weights, middle)
        top = new_top
    return [mean / total, top, total]


def _pulled(
    v: Tensor, y: Tensor, precision: Tensor, pictures: Tensor, shift: int, size: int, sums: list[Tensor]
) -> tuple[Tensor, Tensor]:
    """What `v` (n, c, h, w) makes of the slopes of the mean in `y` (n, c, h, w) and in `precision` (n,)."""
    of_y: list[list[Tensor]] = []
    of_precision: list[list[Tensor]] = []
    for k, (tile, rows) in enumerate(_parts(y, size)):
        mean, top, total = sums[3 * k : 3 * k + 3]
        own, asked, half = tile.cut(y[rows]), tile.middle(v[rows]), (precision[rows] / 2)[None, :, None]
        level = (asked * mean).sum(2, keepdim=True)
        moved, across, straight = 0 * asked[..., :1] * own, torch.zeros_like(level), torch.zeros_like(level)
        for x, middle in _others(pictures, shift, y[rows], tile):
            far = squares(own, x, half)
            weighted = (-half * far - top).exp_().div_(total) * (torch.bmm(asked, middle.mT) - level)
            moved, across = moved + torch.bmm(weighted, x), across + weighted.sum(2, keepdim=True)
            straight = straight - (weighted * far).sum(2, keepdim=True) / 2
        if rows.start == 0:
            of_y.append([])
            of_precision.append([])
        # `across` is 0 but for rounding, which far from the origin counts.
        of_y[-1].append(tile.back(2 * half * (moved - across * own), v[rows]))
        of_precision[-1].append(straight.sum((0, 2)))
    slope, sharper = (torch.stack([torch.cat(one) for one in all_of]).sum(0) for all_of in (of_y, of_precision))
    return slope.to(y.dtype), sharper.to(precision.dtype)
