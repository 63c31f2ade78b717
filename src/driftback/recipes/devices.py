"""Which device to compute on: the one that was asked for, if it is there."""

from __future__ import annotations

import torch

from driftback.errors import BadInput


def device_named(name: str | None = None) -> str:
    """The device `name` ("cpu", "cuda", "cuda:1"), by default the GPU where there is one. Raises BadInput if there is
    no such device here.
    """
    if name is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError, NotImplementedError):
        raise BadInput(f"there is no device '{name}' on this machine; leave --device out, or give cpu") from None
    return name
