"""Times and events: the one place where a time meets a cloud of points of any event shape.

Times are float64 tensors, () or (n,); points are (n, *event) of any floating type. A coefficient is computed in
float64 and cast once, here, when it meets the points.
"""

from __future__ import annotations

import torch
from torch import Tensor


def as_time(t: float | Tensor, like: Tensor) -> Tensor:
    """`t`, a number or a tensor of shape () or (n,), as float64 on the device of `like`."""
    return torch.as_tensor(t, dtype=torch.float64, device=like.device)


def per_item(c: Tensor, x: Tensor) -> Tensor:
    """The coefficient `c`, () or (n,), shaped and cast so that it multiplies `x` (n, *event) item by item."""
    c = c.to(x.dtype)
    return c if c.ndim == 0 else c.reshape(-1, *[1] * (x.ndim - 1))


def sum_event(x: Tensor) -> Tensor:
    """The sum over all but the first axis: (n, *event) -> (n,)."""
    return x.flatten(1).sum(1) if x.ndim > 1 else x
