"""A small PixelCNN: p(x) = prod_i p(x_i | pixels above, and to the left), each a softmax over 256 levels.

Masked convolutions as in van den Oord et al. 2016 (arXiv 1601.06759, sections 3.3 to 3.5): a first of 7 x 7 that does
not see the pixel itself, residual blocks of 1 x 1, 3 x 3, 1 x 1. A table of places is added after the first one, for
garments stand in the middle. It is trained as the rivals in `workers.fashion` are, with a warm-up and a fall to zero
over the last 70 % of the time, by AdamW or, as driftback trains, by Muon for the matrices within, whichever is better
for it.
"""

from __future__ import annotations

import copy
import math
import time

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from driftback.training.optimisers import OPTIMISERS
from driftback.training.plan import Plan

LEVELS, WIDTH, BLOCKS, HEAD = 256, 64, 5, 128
SETTINGS = (
    (16, 2e-3, "adamw"),
    (32, 2e-3, "adamw"),
    (16, 4e-3, "adamw"),
    (32, 4e-3, "adamw"),
    (16, 2e-3, "muon"),
    (32, 2e-3, "muon"),
    (16, 4e-3, "muon"),
    (32, 4e-3, "muon"),
)
"""Items per step, learning rates and optimisers, of which the best after a tenth of the time is taken."""
LEFT_OUT = 1_000
"""So many training pictures tell which is the best."""


class Masked(nn.Conv2d):
    """A convolution that sees what comes before a pixel, row by row, and with `own` the pixel itself."""

    mask: Tensor

    def __init__(self, before: int, after: int, size: int, *, own: bool) -> None:
        super().__init__(before, after, size, padding=size // 2)
        mask, middle = torch.ones(size, size), size // 2
        mask[middle, middle + int(own) :] = 0
        mask[middle + 1 :] = 0
        self.register_buffer("mask", mask)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight * self.mask, self.bias, padding=self.padding)


class Block(nn.Module):
    """x + what a narrower 3 x 3 convolution sees."""

    def __init__(self, width: int) -> None:
        super().__init__()
        half = width // 2
        self.steps = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(width, half, 1),
            nn.ReLU(),
            Masked(half, half, 3, own=True),
            nn.ReLU(),
            nn.Conv2d(half, width, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.steps(x)


class PixelCNN(nn.Module):
    """Pictures (n, h, w) uint8 to scores of the levels of each pixel (n, 256, h, w)."""

    def __init__(self, side: tuple[int, int]) -> None:
        super().__init__()
        self.enter = Masked(2, WIDTH, 7, own=False)
        self.place = nn.Parameter(torch.zeros(1, WIDTH, *side))
        self.blocks = nn.Sequential(*(Block(WIDTH) for _ in range(BLOCKS)))
        self.head = nn.Sequential(nn.ReLU(), nn.Conv2d(WIDTH, HEAD, 1), nn.ReLU())
        self.leave = nn.Conv2d(HEAD, LEVELS, 1)

    def forward(self, x: Tensor) -> Tensor:
        seen = (x.float() / 127.5 - 1)[:, None]
        # The second channel tells where the picture ends.
        seen = torch.cat([seen, torch.ones_like(seen)], 1).contiguous(memory_format=torch.channels_last)
        return self.leave(self.head(self.blocks(self.enter(seen) + self.place)))

    def bits(self, x: Tensor) -> Tensor:
        """Bits per dimension of pictures (n, h, w), (n,)."""
        return F.cross_entropy(self(x), x.long(), reduction="none").mean((1, 2)) / math.log(2)


def tuned(x: NDArray[np.uint8], seconds: float) -> tuple[PixelCNN, dict]:
    """A PixelCNN after so many seconds on pictures `x` (n, h, w), with the best of `SETTINGS`, found beforehand."""
    out, rest = torch.from_numpy(x[:LEFT_OUT]), x[LEFT_OUT:]
    found = {}
    for setting in SETTINGS:
        model, _ = learned(rest, seconds / 10, *setting)
        with torch.no_grad():
            found[setting] = float(torch.cat([model.bits(part) for part in out.split(64)]).mean())
    best = min(found, key=found.__getitem__)
    model, facts = learned(x, seconds, *best)
    tried = {f"{name}, batch {batch}, rate {rate:g}": round(bits, 4) for (batch, rate, name), bits in found.items()}
    chosen = dict(zip(("batch", "rate", "optimiser"), best, strict=True))
    return model, facts | chosen | {"tried for a tenth of the time": tried}


def learned(
    x: NDArray[np.uint8], seconds: float, batch: int = 32, rate: float = 2e-3, optimiser: str = "adamw", seed: int = 0
) -> tuple[PixelCNN, dict]:
    """A PixelCNN after so many seconds on pictures `x` (n, h, w), averaged over about a tenth of the steps."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network, order = (
            PixelCNN(x.shape[1:]).to(memory_format=torch.channels_last),
            torch.Generator().manual_seed(seed),
        )
    average = copy.deepcopy(network).requires_grad_(False)
    rule = OPTIMISERS[optimiser](network, Plan(steps=1, learning_rate=rate))
    pictures, start, k, share = torch.from_numpy(x), time.perf_counter(), 0, 0.0
    now, mean = [p.detach() for p in network.parameters()], list(average.parameters())
    while share < 1:
        rule.zero_grad(set_to_none=True)
        network.bits(pictures[torch.randint(len(x), (batch,), generator=order)]).mean().backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        for group in rule.param_groups:
            group["lr"] = rate * min(1.0, share / 0.05, (1 - share) / 0.7)
        rule.step()
        share = (time.perf_counter() - start) / seconds
        decay = min(1 - share / (0.1 * (k + 1)), (1 + k) / (10 + k))
        torch._foreach_lerp_(mean, now, 1 - max(0.0, decay))
        k += 1
    parameters = sum(p.numel() for p in network.parameters())
    return average.eval(), {"parameters": parameters, "steps": k, "pictures": k * batch}
