"""Features without a trained network: how much the patches of a picture look like those of a small dictionary.

A patch u, with its contrast bounded, u / (var u + .1)^1/2, and whitened, is compared with K centres that Lloyd's rule
found among the patches of training pictures, f_k = max(0, mean_j |u - c_j| - |u - c_k|), and averaged over each quarter
of the picture (Coates, Lee and Ng 2011, 'An analysis of single-layer networks in unsupervised feature learning',
section 3). The patch keeps its mean, unlike there, for pictures that are too dark have to be told.

It needs no labels and a second or two, and orders faults as a trained network does (measured, docs/judging.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, unfold

from driftback.randomness import Rng

NAME = "patches"
CENTRES, ROUNDS = 128, 10
MOST_PICTURES, EACH = 1_000, 20
"""Training pictures that patches are taken from, and how many from each."""
LARGEST, PLACES = 6, 32
"""A patch's side in pixels, and along how many places of each side patches are compared."""
CONTRAST, NOISE = 0.1, 0.1
"""Added to a patch's variance, and, in units of their mean, to the variances that whitening divides by."""


@dataclass(frozen=True)
class Patches:
    """A dictionary of patches: `whiten` (p, p), `mean` (p,), `centres` (K, p) for patches of `side` pixels."""

    side: int
    mean: Tensor
    whiten: Tensor
    centres: Tensor
    name: str = NAME

    @classmethod
    def fit(cls, pictures: Tensor) -> Patches:
        """The dictionary of training `pictures` (n, c, h, w) in [-1, 1], n >= 1; the same ones give the same."""
        generator = Rng(0).child("patches").generator()
        side = max(1, min(LARGEST, min(pictures.shape[2:]) // 2 - 1))
        chosen = pictures[torch.from_numpy(generator.permutation(len(pictures))[:MOST_PICTURES])]
        taken = []
        for picture in chosen:
            every = _bounded(picture[None], side, _step(pictures, side))[0]
            taken.append(every[torch.from_numpy(generator.integers(0, len(every), EACH))])
        patches = torch.cat(taken)[torch.from_numpy(generator.permutation(EACH * len(chosen)))].double()
        mean = patches.mean(0)
        scatter = (patches - mean).T @ (patches - mean) / len(patches)
        variances, axes = torch.linalg.eigh(scatter)
        # Pictures that never change have no variance to divide by.
        root = (variances.clamp(min=0) + NOISE * variances.mean().clamp(min=1e-6)).rsqrt()
        whiten = (axes * root) @ axes.T
        white = ((patches - mean) @ whiten).float()
        return cls(side, mean.float(), whiten.float(), _centres(white))

    def __call__(self, pictures: Tensor) -> Tensor:
        """(n, 4 K) from (n, c, h, w) in [-1, 1]."""
        step = _step(pictures, self.side)
        white = (_bounded(pictures.float(), self.side, step) - self.mean) @ self.whiten
        away = torch.cdist(white, self.centres.expand(len(white), -1, -1))
        near = (away.mean(2, keepdim=True) - away).clamp(min=0)
        high, wide = ((size - self.side) // step + 1 for size in pictures.shape[2:])
        return adaptive_avg_pool2d(near.transpose(1, 2).reshape(len(near), -1, high, wide), 2).flatten(1)


def _step(pictures: Tensor, side: int) -> int:
    return max(1, -(-(max(pictures.shape[2:]) - side + 1) // PLACES))


def _bounded(pictures: Tensor, side: int, step: int) -> Tensor:
    """(n, places, p): the patches of each picture, divided by their contrast."""
    patches = unfold(pictures, side, stride=step).transpose(1, 2)
    return patches / (patches.var(2, unbiased=False, keepdim=True) + CONTRAST).sqrt()


def _centres(white: Tensor) -> Tensor:
    """(K, p): where Lloyd's rule ends from the first K of the patches (n, p); a centre without patches stays."""
    centres = white[:CENTRES].clone()
    for _ in range(ROUNDS):
        nearest = torch.cdist(white, centres).argmin(1)
        count = nearest.bincount(minlength=len(centres))[:, None]
        total = torch.zeros_like(centres).index_add_(0, nearest, white)
        centres = torch.where(count > 0, total / count.clamp(min=1), centres)
    return centres
