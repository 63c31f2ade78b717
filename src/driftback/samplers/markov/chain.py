"""A chain: one kernel again and again, as a generator of frames, which can be counted, filmed and stopped."""

from __future__ import annotations

from collections.abc import Iterator

from driftback.samplers.markov.noise import Noise
from driftback.samplers.markov.state import Kernel, Move, State


def moves(kernel: Kernel, state: State, noise: Noise, count: int) -> Iterator[tuple[State, Move]]:
    """`count` moves from `state`. A kernel that has a way of its own to run (NUTS) takes it."""
    if hasattr(kernel, "run"):
        yield from kernel.run(state, noise, count)
        return
    for k in range(count):
        state, move = kernel(state, noise.at(noise.k + k))
        yield state, move
