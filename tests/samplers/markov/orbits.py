"""NUTS written down anew, plainly and one chain at a time: its law on an orbit, and its moves with given dice.

A part of an orbit, points lo to hi, has turned where z_lo . rho <= 0 or z_hi . rho <= 0 with rho = sum z - (z_lo +
z_hi) / 2. A part of 2^k points is bad if it, or one of the halves of it, of their halves and so on, has turned.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

LOST = 1000.0


@dataclass(frozen=True)
class Rules:
    """What is asked: planted faults change it."""

    inner: bool = True
    """Sub-trees are asked too."""
    biased: bool = True
    """A new half is favoured."""
    halves: bool = True
    """An end counts half."""
    weighed: bool = True
    """Points inside a part are drawn by their weights."""


RIGHT = Rules()


def turned(z: np.ndarray, lo: int, hi: int, rules: Rules = RIGHT) -> bool:
    rho = z[lo : hi + 1].sum(0) - ((z[lo] + z[hi]) / 2 if rules.halves else 0)
    return bool(z[lo] @ rho <= 0 or z[hi] @ rho <= 0)


def bad(z: np.ndarray, lo: int, hi: int, rules: Rules = RIGHT) -> bool:
    """Whether the new part has turned, or something inside it."""
    if lo == hi:
        return False
    if turned(z, lo, hi, rules):
        return True
    middle = (lo + hi + 1) // 2
    return rules.inner and (bad(z, lo, middle - 1, rules) or bad(z, middle, hi, rules))


def law(z: np.ndarray, energy: np.ndarray, start: int, depth: int, rules: Rules = RIGHT) -> np.ndarray:
    """P(start, .) on the points of an orbit that reaches 2^depth - 1 points to both sides, over all directions."""
    weight = np.exp(np.clip(energy[start] - energy, -np.inf, 700))
    lost = ~(energy - energy[start] <= LOST)

    def grown(lo: int, hi: int, level: int, chances: np.ndarray) -> np.ndarray:
        out = np.zeros_like(chances)
        for side in (0, 1):
            size = hi - lo + 1
            a, b = (lo - size, lo - 1) if side == 0 else (hi + 1, hi + size)
            if lost[a : b + 1].any() or bad(z, a, b, rules):
                out += chances / 2
                continue
            part, whole = weight[a : b + 1].sum(), weight[lo : hi + 1].sum()
            taken = min(1.0, part / whole) if rules.biased else part / (part + whole)
            new = (1 - taken) * chances
            inside = weight[a : b + 1] / part if rules.weighed else np.full(size, 1 / size)
            new[a : b + 1] += taken * inside
            left, right = min(lo, a), max(hi, b)
            if turned(z, left, right, rules) or level + 1 == depth:
                out += new / 2
            else:
                out += grown(left, right, level + 1, new) / 2
        return out

    first = np.zeros(len(energy))
    first[start] = 1.0
    return grown(start, start, 0, first)


@dataclass(frozen=True)
class Walked:
    """Where one tree ended."""

    x: np.ndarray
    leaves: int
    divergent: bool
    moved: bool
    chance: float
    energy: float


def leapfrog(log_prob: Callable, scale: np.ndarray, x, z, h: float):
    """One leapfrog of numpy vectors with the matrix `scale`, S; log p with its gradient is asked of `log_prob`."""
    z = z + h / 2 * scale.T @ log_prob(x)[1]
    x = x + h * scale @ z
    value, slope = log_prob(x)
    return x, z + h / 2 * scale.T @ slope, value


def walk(log_prob: Callable, scale: np.ndarray, h: float, x, z, dice: np.ndarray, depth: int) -> Walked:
    """One tree of NUTS with the machine's `dice` (3, depth): which side, what luck inside the part, whether to take it.

    Luck serves a whole part: while it lies below the share of a leaf, that leaf is held; what remains of it is
    stretched to [0, 1) again.
    """
    value = log_prob(x)[0]
    start = z @ z / 2 - value
    ends, inner = [(x, z), (x, z)], [z]
    own, own_energy, whole, leaves, chances, moved = x, start, 1.0, 0, 0.0, False
    for level in range(depth):
        side = 1 if dice[0, level] < 0.5 else 0
        luck, total, held, momenta = dice[1, level], 0.0, None, []
        at = ends[side]
        for leaf in range(2**level):
            x, z, value = leapfrog(log_prob, scale, *at, h if side else -h)
            at, energy = (x, z), z @ z / 2 - value
            leaves += 1
            gain = start - energy if np.isfinite(energy) else -np.inf
            chances += min(1.0, np.exp(min(0.0, gain)))
            momenta.append(z)
            if gain < -LOST:
                return Walked(own, leaves, True, moved, chances / leaves, own_energy)
            weight = np.exp(gain)
            total += weight
            share = weight / total
            if luck < share:
                held, luck = (x, energy), luck / share
            else:
                luck = (luck - share) / (1 - share)
            # All sub-trees that end with this leaf, by their sizes.
            whole_part, size = np.array(momenta), 2
            while (leaf + 1) % size == 0:
                if turned(whole_part, leaf + 1 - size, leaf):
                    return Walked(own, leaves, False, moved, chances / leaves, own_energy)
                size *= 2
        ends[side] = at
        if dice[2, level] < total / whole:
            (own, own_energy), moved = held, True
        whole += total
        inner = inner + momenta if side else momenta[::-1] + inner
        if turned(np.array(inner), 0, len(inner) - 1):
            break
    return Walked(own, leaves, False, moved, chances / leaves, own_energy)
