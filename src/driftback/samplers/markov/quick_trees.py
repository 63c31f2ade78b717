"""The trees of NUTS on a CPU, compiled by numba: the decisions of `nuts.Trees`, each chain in a plain loop.

All of a leapfrog but the gradient is a few hundred numbers for a chain, less work than it is to call torch. So torch
moves all chains by a leapfrog, and one compiled call does what is left: a leaf takes the part's place with its share of
the weight, sub-trees are asked whether they turn back, a full part joins its tree, and a chain whose tree is done
begins its next one at once. What it found waits in a ring of moves until the slowest chain is through with that move.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numba
import numpy as np
import torch
from torch import Tensor

from driftback.samplers.markov.hamiltonian import LOST, leap
from driftback.samplers.markov.noise import Noise
from driftback.samplers.markov.state import Move, State

if TYPE_CHECKING:
    from driftback.samplers.markov.nuts import NUTS

AHEAD, NUMBERS = 64, 2**21
"""So many moves, and moves of so many numbers, may a chain be ahead of the slowest."""
_REAL = ("start", "chance", "weight", "part_weight", "luck", "log_prob", "energy", "part_log_prob", "part_energy")
_WHOLE = ("side", "depth", "leaf", "leaves", "done", "going", "divergent", "moved")
TREE = np.dtype([(name, "f8") for name in _REAL] + [(name, "i8") for name in _WHOLE])
"""What a chain's tree is at; the `start` and the energies are H, weights are logarithms."""
_REPORT = ("log_prob", "energy", "chance")
TOLD = np.dtype([(name, "f8") for name in _REPORT] + [(name, "i8") for name in ("leaves", "divergent", "moved")])
"""What is told of a move, beside the point."""
X, Z, SLOPE, REST_X, REST_Z, REST_SLOPE, OWN_X, OWN_SLOPE, PART_X, PART_SLOPE, TOTAL, PART_TOTAL = range(12)
"""The end that moves, the one that rests, the tree's point, the part's point, and both sums of momenta."""


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiled at the first call and kept on disk if it can be; sums in any order, infinities and NaN as they are."""

    def made(kept: bool) -> Callable[..., Any]:
        loose = {"reassoc", "contract", "arcp", "nsz"}
        found: Callable[..., Any] = numba.njit(function, cache=kept, error_model="numpy", fastmath=loose)
        return found

    try:
        return made(True)
    except RuntimeError:  # neither the package's folder nor the user's can be written to
        return made(False)


@compiled
def dot(a: Any, b: Any) -> float:
    """The inner product of two vectors."""
    total = 0.0
    for j in range(len(a)):
        total += a[j] * b[j]
    return total


@compiled
def log_sum(a: float, b: float) -> float:
    """log(e^a + e^b)."""
    most = max(a, b)
    return most if most == -math.inf else most + math.log1p(math.exp(min(a, b) - most))


@compiled
def branch(i: int, t: Any, v: Any, stride: Any, step: Any, dice: Any) -> None:
    """Begin to double the tree `t` of chain `i`: on a side that is drawn, with an empty part."""
    side = 1 if dice[0, t.depth] < 0.5 else 0
    if side != t.side:
        for j in range(v.shape[2]):
            for end, rest in ((X, REST_X), (Z, REST_Z), (SLOPE, REST_SLOPE)):
                v[end, i, j], v[rest, i, j] = v[rest, i, j], v[end, i, j]
    t.side, t.luck, t.leaf, t.part_weight = side, dice[1, t.depth], 0, -math.inf
    stride[i, 0] = step[i] if side == 1 else -step[i]
    v[PART_TOTAL, i] = 0.0


@compiled
def grow(i: int, t: Any, v: Any, stride: Any, step: Any, push: Any, dice: Any) -> None:
    """Begin a tree at the point where chain `i` is."""
    for j in range(v.shape[2]):
        v[X, i, j] = v[REST_X, i, j] = v[OWN_X, i, j]
        v[SLOPE, i, j] = v[REST_SLOPE, i, j] = v[OWN_SLOPE, i, j]
        v[Z, i, j] = v[REST_Z, i, j] = v[TOTAL, i, j] = push[i, j]
    t.start = t.energy = dot(push[i], push[i]) / 2 - t.log_prob
    t.weight = t.chance = 0.0
    t.depth = t.leaves = t.divergent = t.moved = 0
    t.going = 1
    branch(i, t, v, stride, step, dice[i])


@compiled
def draw(i: int, t: Any, v: Any, gain: float, log_prob: float, energy: float) -> None:
    """Let the leaf take the place of the part's point; the luck that is left over serves the next leaf."""
    t.part_weight = log_sum(t.part_weight, gain)
    share = math.exp(gain - t.part_weight) if t.part_weight > -math.inf else 0.0
    if t.luck < share:
        t.luck = t.luck / share
        t.part_log_prob, t.part_energy = log_prob, energy
        v[PART_X, i], v[PART_SLOPE, i] = v[X, i], v[SLOPE, i]
    else:
        t.luck = (t.luck - share) / (1 - share) if share < 1 else 0.5


@compiled
def turned(i: int, leaf: int, v: Any, marks: Any) -> bool:
    """Whether one of the sub-trees that end at this `leaf` turns back; where one begins, it is marked instead."""
    place, closing = 0, 0
    while leaf >> closing & 1:
        closing += 1
    half = leaf >> 1
    while half:
        place, half = place + (half & 1), half >> 1
    z, total = v[Z, i], v[PART_TOTAL, i]
    if closing == 0:
        marks[0, i, place], marks[1, i, place] = z, total
        return False
    for column in range(place, place - closing, -1):
        first, before = marks[0, i, column], marks[1, i, column]
        forth = back = 0.0
        for j in range(len(z)):
            inner = total[j] - before[j] + (first[j] - z[j]) / 2
            forth += first[j] * inner
            back += z[j] * inner
        if forth <= 0 or back <= 0:
            return True
    return False


@compiled
def joined(i: int, t: Any, v: Any, dice: Any, deepest: int) -> bool:
    """Add the finished part to the tree of chain `i`; whether the tree ends with it."""
    if math.log(dice[2, t.depth]) < t.part_weight - t.weight:
        t.log_prob, t.energy, t.moved = t.part_log_prob, t.part_energy, 1
        v[OWN_X, i], v[OWN_SLOPE, i] = v[PART_X, i], v[PART_SLOPE, i]
    t.weight = log_sum(t.weight, t.part_weight)
    t.depth += 1
    forth = back = 0.0
    for j in range(v.shape[2]):
        v[TOTAL, i, j] += v[PART_TOTAL, i, j]
        inner = v[TOTAL, i, j] - (v[Z, i, j] + v[REST_Z, i, j]) / 2
        forth += v[Z, i, j] * inner
        back += v[REST_Z, i, j] * inner
    return forth <= 0 or back <= 0 or t.depth == deepest


@compiled
def started(trees: Any, v: Any, stride: Any, step: Any, push: Any, dice: Any, until: int) -> None:
    """Begin the trees of all chains that wait and whose next move is before `until`."""
    for i in range(len(trees)):
        t = trees[i]
        if t.going == 0 and t.done < until:
            slot = t.done % len(push)
            grow(i, t, v, stride, step, push[slot], dice[slot])


@compiled
def settled(
    rows: Any, moved: Any, log_prob: Any, trees: Any, v: Any, marks: Any, stride: Any, step: Any, push: Any, dice: Any,
    points: Any, told: Any, until: int, lost: float,
) -> tuple[int, int]:  # fmt: skip
    """After a leapfrog of the chains `rows` (m,): the fewest moves that a chain has done, and how many are going.

    `moved` is x, z and the slope, each (m, d), after it; `lost` is how much energy makes a move divergent. A chain that
    is done begins the next move if it is before `until`.
    """
    ring, deepest = len(push), dice.shape[3]
    for r in range(len(rows)):
        i = rows[r]
        t, slot = trees[i], trees[i].done % ring
        v[X, i], v[Z, i], v[SLOPE, i] = moved[0][r], moved[1][r], moved[2][r]
        energy = dot(v[Z, i], v[Z, i]) / 2 - log_prob[r]
        gain = t.start - energy
        gain = -math.inf if math.isnan(gain) else gain
        t.chance += math.exp(min(gain, 0.0))
        t.leaves += 1
        draw(i, t, v, gain, log_prob[r], energy)
        for j in range(v.shape[2]):
            v[PART_TOTAL, i, j] += v[Z, i, j]
        ended = turned(i, t.leaf, v, marks)
        if gain < -lost:
            t.divergent, ended = 1, True
        t.leaf += 1
        if not ended and t.leaf == 1 << t.depth:
            ended = joined(i, t, v, dice[slot, i], deepest)
            if not ended:
                branch(i, t, v, stride, step, dice[slot, i])
        if ended:
            points[slot, 0, i], points[slot, 1, i] = v[OWN_X, i], v[OWN_SLOPE, i]
            one = told[slot, i]
            one.log_prob, one.energy, one.chance = t.log_prob, t.energy, t.chance / t.leaves
            one.leaves, one.divergent, one.moved = t.leaves, t.divergent, t.moved
            t.done += 1
            t.going = 0
            if t.done < until:
                slot = t.done % ring
                grow(i, t, v, stride, step, push[slot], dice[slot])
    least, going = trees[0].done, 0
    for i in range(len(trees)):
        least = min(least, trees[i].done)
        going += trees[i].going
    return least, going


def usable(like: Tensor) -> bool:
    """Whether chains of numbers like these can be walked here."""
    return like.device.type == "cpu" and like.dtype in (torch.float32, torch.float64)


def run(nuts: NUTS, state: State, noise: Noise, moves: int) -> Iterator[tuple[State, Move]]:
    """What `nuts.run` yields."""
    n, d, like = noise.n, state.x[0].numel(), state.log_prob
    ring = max(1, min(AHEAD, moves, NUMBERS // (n * d)))
    number = torch.empty(0, dtype=like.dtype).numpy().dtype
    v, marks = np.zeros((12, n, d), number), np.empty((2, n, nuts.depth, d), number)
    push, dice = np.empty((ring, n, d), number), np.empty((ring, n, 3, nuts.depth))
    points, told = np.empty((ring, 2, n, d), number), np.empty((ring, n), TOLD)
    stride, step = np.empty((n, 1), number), nuts.step.to(like).expand(n).contiguous().numpy()
    trees, everybody = np.zeros(n, TREE), np.arange(n)
    v[OWN_X], v[OWN_SLOPE], trees["log_prob"] = state.x.flatten(1).numpy(), state.slope.numpy(), like.numpy()
    ends, strides = torch.from_numpy(v[: SLOPE + 1]), torch.from_numpy(stride)

    def shaken(move: int) -> None:
        """Put the noise of a move into the ring."""
        one = noise.at(noise.k + move)
        push[move % ring] = one.normal("momentum", (d,)).numpy()
        dice[move % ring] = one.uniform(f"tree {nuts.depth}", (3, nuts.depth)).numpy()

    for move in range(ring):
        shaken(move)
    started(trees, v, stride, step, push, dice, ring)
    least, going = 0, n
    for k in range(moves):
        until = min(moves, k + ring)
        while least <= k:
            if going == n:
                rows, metric, now, steps = everybody, nuts.metric, ends, strides
            else:
                rows = trees["going"].nonzero()[0]
                chosen = torch.from_numpy(rows)
                metric, now, steps = nuts.metric.rows(chosen), ends[:, chosen], strides[chosen]
            x, z, log_prob, slope = leap(nuts.energy, metric, now[X], now[Z], now[SLOPE], steps)
            moved = tuple(np.ascontiguousarray(part.numpy()) for part in (x, z, slope))
            done = (trees, v, marks, stride, step, push, dice, points, told, until, LOST)
            least, going = settled(rows, moved, np.ascontiguousarray(log_prob.numpy()), *done)
        yield _move(points[k % ring], told[k % ring], state.x.shape, like)
        if k + ring < moves:
            shaken(k + ring)
            started(trees, v, stride, step, push, dice, k + 1 + ring)
            going = int(trees["going"].sum())


def _move(points: np.ndarray, told: np.ndarray, shape: torch.Size, like: Tensor) -> tuple[State, Move]:
    x, slope = (torch.from_numpy(part.copy()).reshape(shape) for part in points)
    log_prob, energy, chance = (torch.from_numpy(told[name].copy()).to(like) for name in _REPORT)
    leaves, divergent, moved = (torch.from_numpy(told[name].copy()) for name in ("leaves", "divergent", "moved"))
    return State(x, log_prob, slope), Move(moved.bool(), chance, energy, divergent.bool(), leaves)
