"""The mean of a function over points near by, x + h e_k with e_k ~ N(0, I): what smooths a remembered cloud.

The e_k are the same for every item and come in pairs of opposite ones, so that what is linear in x stays as it is
(antithetic variates: Hammersley and Morton 1956). The last of an odd number of them has no opposite.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from driftback.randomness import Rng

TOGETHER = 1 << 24
"""Numbers of points near by that are held at once."""


def smoothed(
    function: Callable[[Tensor], Tensor], x: Tensor, width: float | Tensor, draws: int, seed: int = 0
) -> Tensor:
    """The mean of `function`, of points (k, n, *event), over k = `draws` >= 1 points about each of `x` (n, *event),
    `width` away a number: one for all, or a tensor that broadcasts to `x`. The shape of `x`.

    Many are asked at once, for a function that is the cheaper so, but no more than have `TOGETHER` numbers.
    """
    half = Rng(seed).child("smooth").normal(((draws + 1) // 2, 1, *x.shape[1:]), dtype=x.dtype, device=x.device)
    parts = torch.cat([half, -half])[:draws].split(max(1, TOGETHER // max(1, x.numel())))
    return torch.stack([function(x + width * part).sum(0) for part in parts]).sum(0) / draws
