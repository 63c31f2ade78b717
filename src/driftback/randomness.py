"""Randomness as a value: a key that is split by name, and noise that belongs to items, not to batches.

Item i of seed s sees the same numbers whatever the number of items, the batch size or the device. Noise is made in
blocks of `block(event)` items; the block with number b of the key (s, a, b, ...) is filled by numpy's Philox
generator, whose state is derived from exactly that tuple (Salmon et al. 2011, 'Parallel random numbers: as easy as
1, 2, 3'), and items are cut out of it. There is no hidden state: the same key gives the same numbers again (in
float32 up to the last digit, where processors with other instructions round logarithms otherwise).
Normal numbers in float32 are made by Box and Muller's formula, which takes a quarter of the time of numpy's ziggurat.
"""

from __future__ import annotations

import math
import secrets
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from driftback.errors import BadInput

Key = int | str


def _word(key: Key) -> int:
    return zlib.crc32(key.encode()) + (1 << 32) if isinstance(key, str) else int(key)


def block(event: Sequence[int]) -> int:
    """How many items share one generator call: 64, fewer for events of more than 4,096 numbers, at least 1."""
    return max(1, min(64, 262_144 // max(1, math.prod(event))))


@dataclass(frozen=True)
class Rng:
    """A key for random numbers: `seed`, the names it was split by, and the number of its first item.

    `rng.child("noise", 3)` is an independent key; `rng.item(1000)` is the same key seen from item 1,000 on.
    Seeds are from 0 to 2^63 - 1, integer names from 0 to 2^64 - 1. Raises BadInput for another seed.
    """

    seed: int
    names: tuple[int, ...] = ()
    first: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 1 << 63:
            raise BadInput(f"the seed {self.seed} is no whole number from 0 to 2^63 - 1")

    def child(self, *names: Key) -> Rng:
        """An independent key named by `names` (integers >= 0 or strings), starting at the same item."""
        return Rng(self.seed, (*self.names, *map(_word, names)), self.first)

    def item(self, first: int) -> Rng:
        """The same key whose item 0 is this key's item `first`."""
        return Rng(self.seed, self.names, self.first + first)

    def generator(self) -> np.random.Generator:
        """A numpy generator for draws that belong to no item (a permutation, a bootstrap)."""
        return np.random.Generator(np.random.Philox(self._sequence(1)))

    def torch_generator(self, device: torch.device | str = "cpu") -> torch.Generator:
        """A torch generator on `device` for draws that belong to no item (training noise)."""
        word = self._sequence(2).generate_state(1, np.uint64)[0]
        return torch.Generator(device).manual_seed(int(word >> np.uint64(1)))

    def normal(
        self, shape: Sequence[int], *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
    ) -> Tensor:
        """Standard normal noise of `shape` (n, *event), item by item: row i belongs to item `first + i`."""
        return self._fill(shape, dtype, device, _normal)

    def uniform(
        self, shape: Sequence[int], *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
    ) -> Tensor:
        """Uniform numbers in [0, 1) of `shape` (n, *event), item by item: row i belongs to item `first + i`."""
        return self._fill(shape, dtype, device, _uniform)

    def _sequence(self, use: int, number: int = 0) -> np.random.SeedSequence:
        """numpy pads its words with zeros, so every key is written in 64 bits and the last word, `use`, is not zero."""
        return np.random.SeedSequence(
            [half for word in (self.seed, *self.names, number) for half in (word & 0xFFFFFFFF, word >> 32)] + [use]
        )

    def _fill(
        self,
        shape: Sequence[int],
        dtype: torch.dtype,
        device: torch.device | str,
        law: Callable[[np.random.Philox, np.ndarray], None],
    ) -> Tensor:
        n, event = shape[0], tuple(shape[1:])
        size = block(event)
        start, stop = self.first // size, -(-(self.first + n) // size)
        wide = np.float64 if dtype == torch.float64 else np.float32
        out = np.empty(((stop - start) * size, *event), wide)
        for i, b in enumerate(range(start, stop)):
            law(np.random.Philox(self._sequence(3, b)), out[i * size : (i + 1) * size])
        skip = self.first - start * size
        return torch.from_numpy(out[skip : skip + n]).to(device=device, dtype=dtype)


def _uniform(bits: np.random.Philox, out: np.ndarray) -> None:
    np.random.Generator(bits).random(dtype=out.dtype, out=out)


def _normal(bits: np.random.Philox, out: np.ndarray) -> None:
    if out.dtype == np.float64:
        np.random.Generator(bits).standard_normal(out=out)
        return
    pairs = (out.size + 1) // 2
    words = bits.random_raw(pairs).view(np.uint32).reshape(2, pairs).astype(np.float32)
    # sqrt(-2 log u) and 2 pi v for uniform u in (0, 1], v in [0, 1): Box and Muller 1958.
    radius, angle = words[0] * np.float32(2**-32) + np.float32(2**-33), words[1] * np.float32(2**-31 * math.pi)
    np.sqrt(np.float32(-2) * np.log(radius, out=radius), out=radius)
    both = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])
    out[...] = both[: out.size].reshape(out.shape)


def as_rng(rng: Rng | int | None) -> Rng:
    """A key from a key, a seed >= 0, or None (a fresh seed from the operating system)."""
    if isinstance(rng, Rng):
        return rng
    return Rng(secrets.randbits(32) if rng is None else int(rng))
