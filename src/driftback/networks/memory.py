"""What is remembered and not learned: the items themselves, in the place of a network's weights.

In the slot of a mixture that a network corrects (`driftback.networks.closed_form`) stands E[x_0 | y] of the recorded
cloud, of the cloud smoothed, or of its patches, y = x_0 + r eps, and what is left for the network to correct is
multiplied by 0: EDM's output is O = (D - c_skip y) / c_out, with nothing to train. How wide to smooth, or how large a
patch to take at which noise level, is what errs least on a few items that are left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt
from torch import Tensor, nn

from driftback.distributions.patches import LEVELS, Patches, SizedPatches, noise_levels
from driftback.distributions.recall import Recall
from driftback.distributions.smoothing import smoothed
from driftback.errors import BadInput
from driftback.randomness import Rng

Kind = Literal["recorded", "smoothed", "patches"]
TOLERANCE = 2e-4
"""What the tree of a cloud in few dimensions may be off, in deviations of the noise."""
WIDTHS = (0.0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4)
"""How far the cloud may be smoothed, in distances of a new item to the nearest: what reaches the next item is the noise
in its direction alone, not that of all numbers together."""
LEFT_OUT, COMPARED = 48, 2_000
"""So many items are left out to choose by, a fifth of them at most, and so many others tried on them."""
PATCHED = 200_000
"""Patches, which cost more, are tried on a third of them, and of pictures of so many numbers in all."""
MEASURED = 16
"""At so many items with noise it is asked how far the tree may be off, for each noise level."""


class MemorySpec(BaseModel):
    """What is remembered, in a model's `config.json`: how many `items`, of how many `classes`, and as what `kind`.

    A smoothed cloud is asked at `draws` points about each; patches are moved by up to `shift` pixels.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    items: PositiveInt
    classes: NonNegativeInt = 0
    features: Literal[0] = 0
    draws: int = Field(default=8, ge=2)
    shift: NonNegativeInt = 0
    role: Literal["corrected"] = "corrected"


class Memory(nn.Module):
    """As `ClosedForm`: for what the network is shown, c_in y (n, *event), and a number, log(r) / 4 (n,), the mean as a
    further input (n, *event), EDM's O (n, *event), and a scale of 0 for what the network adds.
    """

    points: Tensor
    labels: Tensor
    width: Tensor
    sizes: Tensor
    channels = 1

    def __init__(self, spec: MemorySpec, event: tuple[int, ...], spread: float) -> None:
        super().__init__()
        self.spec, self.event, self.spread = spec, event, spread
        self.register_buffer("points", torch.zeros(spec.items, *event))
        self.register_buffer("labels", torch.full((spec.items,), -1))
        self.register_buffer("width", torch.zeros(()))
        self.register_buffer("sizes", torch.ones(LEVELS, dtype=torch.int64))
        self._recalls: dict[tuple[int, int, int], Recall] = {}
        self._off: dict[tuple[int, int, float], float] = {}

    @torch.no_grad()
    def fill(self, x0: Tensor, told: Tensor | None, *, rng: Rng) -> None:
        """Remember items `x0` (m, *event) and their classes (m,), if they have any, and choose by some left out."""
        self.points.copy_(x0)
        if told is not None:
            self.labels.copy_(told)
        order = torch.from_numpy(rng.child("left out").generator().permutation(len(x0)))
        few = min(LEFT_OUT, len(x0) // 5)
        out, rest = x0[order[:few]], x0[order[few : few + COMPARED]]
        if few == 0 or self.spec.kind == "recorded":
            return
        if self.spec.kind == "smoothed":
            self.width.fill_(self._best_width(out, rest, rng))
        else:
            numbers = rest[0].numel()
            patches = Patches(rest[: max(50, PATCHED // numbers)], self.spec.shift)
            self.sizes.copy_(SizedPatches.chosen(patches, out[:16], spread=self.spread, rng=rng).sizes)

    def forward(self, shown: Tensor, number: Tensor, told: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        ratio = torch.exp(4 * number)
        variance = self.spread**2 + ratio**2
        each = (-1, *[1] * (shown.ndim - 1))
        y = shown * variance.sqrt().reshape(each)
        mean = self.mean(y, ratio, told)
        out = ratio * self.spread * variance.rsqrt()
        offset = (mean - y * (self.spread**2 / variance).reshape(each)) / out.reshape(each)
        return mean / self.spread, offset, torch.zeros_like(out).reshape(each)

    def weight(self, ratio: Tensor, told: Tensor | None) -> Tensor:
        """What makes of a squared error of O one that is counted: nothing is trained, so it stays what it is."""
        return torch.ones_like(ratio)

    def mean(self, y: Tensor, ratio: Tensor, told: Tensor | None) -> Tensor:
        """E[x_0 | y] for `y` (n, *event) at ratios (n,), of items of the classes `told` (n,) where these are given."""
        if told is None or not self.spec.classes:
            return self._mean_of(None, y, ratio)
        mean = torch.empty_like(y)
        for label in told.unique().tolist():
            rows = told == label
            # The last row of a table of classes is that of none.
            mean[rows] = self._mean_of(None if label == self.spec.classes else int(label), y[rows], ratio[rows])
        return mean

    @torch.no_grad()
    def off(self) -> float:
        """How far the mean may be off at most, in deviations of the noise, with its rounding, as a tree bounds it at
        some noised items of each level; 0 where every item is looked at.
        """
        key = (self.points.data_ptr(), self.points._version, float(self.width))
        if key not in self._off:
            self._off = {key: 0.0 if self.spec.kind == "patches" else self._most_off()}
        return self._off[key]

    def _most_off(self) -> float:
        rng, most = Rng(0).child("off"), 0.0
        index = torch.from_numpy(rng.generator().permutation(len(self.points))[:MEASURED])
        points, labels = self.points[index], self.labels[index]
        for k, ratio in enumerate(noise_levels(self.spread).tolist()):
            y = points + ratio * rng.child("noise", k).normal(points.shape, dtype=points.dtype, device=points.device)
            for label in labels.unique().tolist():
                recall = self._recall(label if label >= 0 else None)
                if not recall.by_tree:
                    continue

                def bound(near: Tensor, recall: Recall = recall, ratio: float = ratio) -> Tensor:
                    items = near.flatten(0, 1).flatten(1)
                    precision = torch.full((len(items),), ratio**-2, dtype=torch.float64, device=near.device)
                    mean, off = recall.bounded(items, precision)
                    rounding = torch.finfo(near.dtype).eps * mean.norm(dim=1) / ratio
                    told = (off + rounding * (off > 0)).to(near)
                    return told.reshape(*near.shape[:2], *[1] * (near.ndim - 2)).expand(near.shape)

                width = float(self.width)
                found = smoothed(bound, y[labels == label], width, self.spec.draws if width else 1)
                most = max(most, float(found.max()))
        return most

    def _mean_of(self, label: int | None, y: Tensor, ratio: Tensor) -> Tensor:
        recall, precision = self._recall(label), ratio.double() ** -2
        if self.spec.kind == "patches":
            patches = Patches(recall.points.unflatten(1, self.event), self.spec.shift)
            return SizedPatches(patches, self.sizes, self.spread).mean(y, precision)
        if self.spec.kind == "recorded" or float(self.width) == 0:
            return _asked(recall, precision)(y[None])[0]
        return smoothed(_asked(recall, precision), y, float(self.width), self.spec.draws)

    def _recall(self, label: int | None) -> Recall:
        # Weights that are read again, or moved, are others: the tree is made anew.
        key = (-1 if label is None else label, self.points.data_ptr(), self.points._version)
        if key not in self._recalls:
            self._recalls = {known: one for known, one in self._recalls.items() if known[1:] == key[1:]}
            points = self.points if label is None else self.points[self.labels == label]
            if len(points) == 0:
                raise BadInput(f"no item of class number {label} is remembered; fit anew with more items of it")
            self._recalls[key] = Recall(points.flatten(1), TOLERANCE)
        return self._recalls[key]

    def _best_width(self, out: Tensor, rest: Tensor, rng: Rng) -> float:
        """The width whose errors are least, each noise level counting as much as another.

        Of more items it is less, by the power of their number that is best for kernels (Silverman 1986, 'Density
        estimation', equation 4.14).
        """
        near = float(torch.cdist(out.flatten(1), rest.flatten(1)).amin(1).mean())
        recall, total = Recall(rest.flatten(1)), dict.fromkeys(WIDTHS, 0.0)
        for k, ratio in enumerate(noise_levels(self.spread)[2:8].tolist()):
            y = out + ratio * rng.child("noise", k).normal(out.shape, dtype=out.dtype)
            precision = torch.full((len(y),), ratio**-2, dtype=torch.float64)
            for width in WIDTHS:
                mean = smoothed(_asked(recall, precision), y, width * near, self.spec.draws)
                total[width] += math.log(float((mean - out).square().mean()) + 1e-12)
        fewer = len(rest) / max(self.spec.items, len(rest))
        return near * min(total, key=total.__getitem__) * fewer ** (1 / (rest[0].numel() + 4))


def _asked(recall: Recall, precision: Tensor) -> Callable[[Tensor], Tensor]:
    """What `recall` says of items (k, n, *event) at `precision` (n,): one pass over what it remembers for all k."""
    return lambda y: recall.mean(y.flatten(0, 1).flatten(1), precision.repeat(len(y))).reshape(y.shape)


class Nothing(nn.Module):
    """A body that adds nothing: zeros, and one weight, so that there is something to keep and to ask for its device."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.after, self.nothing = after, nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        return self.nothing * torch.zeros(len(x), self.after, *x.shape[2:], dtype=x.dtype, device=x.device)
