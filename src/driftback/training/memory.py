"""How much memory a device has, to compare a forecast with before the first step."""

from __future__ import annotations

import os
from contextlib import suppress

import torch


def memory_of(device: torch.device | str) -> int | None:
    """The bytes that `device` has, used or not; None where nobody tells."""
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    with suppress(AttributeError, ValueError, OSError):  # Windows has no sysconf, other systems not these names
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None
