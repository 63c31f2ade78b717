"""The average of the weights over training, which samples better than the last ones.

average <- d average + (1 - d) weights with d = min(decay, (1 + k) / (10 + k)) at step k: the warm-up lets a short
training forget its start (Ho et al. 2020, arXiv 2006.11239, appendix B; the warm-up is TensorFlow's).
"""

from __future__ import annotations

import torch
from torch import nn


def decay_at(step: int, decay: float) -> float:
    """The decay in force at step `step` >= 0."""
    return min(decay, (1 + step) / (10 + step))


@torch.no_grad()
def update(average: nn.Module, network: nn.Module, step: int, decay: float) -> None:
    """Move the averaged network's weights towards the network's by one step, in place."""
    weight = 1 - decay_at(step, decay)
    torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), weight)
    for mean, now in zip(average.buffers(), network.buffers(), strict=True):
        mean.copy_(now)


def trails(steps: int, decay: float) -> bool:
    """Whether a training of `steps` is far too short for this decay: fewer than five times 1 / (1 - decay), without
    warm-up.
    """
    return steps * (1 - decay) < 5
