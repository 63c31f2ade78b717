"""The no-U-turn sampler: a trajectory is doubled, forwards or backwards, until it turns back; one point of it is kept.

Points are drawn with weights e^-H (multinomial; Betancourt 2017, arXiv 1701.02434, appendix A.3), and a new half is
favoured: it is taken with probability min(1, w_new / w_old). Two ends z, z' of a part whose momenta sum to rho have
turned where z . rho <= 0 or z' . rho <= 0, each end counted half in rho; so that the law stays exact this is asked of
every sub-tree (Hoffman and Gelman 2014, arXiv 1111.4246, equation 9). Sub-trees are walked leaf by leaf: the one that
ends at leaf m with k trailing one-bits closes k sub-trees, whose first leaves are remembered (Phan et al. 2019, arXiv
1912.11554, algorithm 2).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor

from driftback.errors import BadInput
from driftback.samplers.markov.energy import Energy
from driftback.samplers.markov.hamiltonian import LOST, Hamiltonian, leap
from driftback.samplers.markov.metric import UNIT, Metric
from driftback.samplers.markov.noise import AHEAD, Noise
from driftback.samplers.markov.state import Move, State

DEEPEST = 20
"""Of all trees: a million leapfrogs."""


@dataclass(frozen=True, eq=False)
class NUTS:
    """Trees of at most 2^`depth` leapfrogs of `step`, in y = S^-1 x of the `metric`. BadInput for a depth above 20."""

    energy: Energy
    step: Tensor
    metric: Metric = UNIT
    depth: int = 10
    aim: float = 0.8

    def __post_init__(self) -> None:
        if not 1 <= self.depth <= DEEPEST:
            raise BadInput(f"trees have a depth of 1 to {DEEPEST}, 10 as a rule, not {self.depth}")

    def begin(self, x: Tensor) -> State:
        """The state of chains at `x` (n, *event)."""
        return self.energy.begin(x, sloped=True)

    def tuned(self, step: Tensor, metric: Metric | None = None) -> NUTS:
        """The same with another step and, where one is given, another metric."""
        return replace(self, step=step, metric=metric or self.metric)

    def short(self) -> Hamiltonian:
        """One leapfrog a move, for a first guess at the step."""
        return Hamiltonian(self.energy, self.step, metric=self.metric, most=1)

    def early(self, depth: int) -> NUTS:
        """With trees of at most 2^`depth` leapfrogs, while the shape is not known."""
        return replace(self, depth=min(self.depth, depth))

    @torch.no_grad()
    def __call__(self, state: State, noise: Noise) -> tuple[State, Move]:
        """One tree for each chain; chains whose tree is done wait for the others."""
        quick = _quick(state.log_prob)
        if quick is not None:
            return next(quick.run(self, state, noise, 1))
        trees = Trees(self, state, noise)
        trees.grow(torch.arange(noise.n, device=state.x.device), state, noise.k)
        while bool(trees.going.any()):
            trees.leap()
        return trees.kept(torch.arange(noise.n, device=state.x.device))

    @torch.no_grad()
    def run(self, state: State, noise: Noise, moves: int) -> Iterator[tuple[State, Move]]:
        """What so many calls yield; but no chain waits for another: each begins its next tree at once."""
        quick = _quick(state.log_prob)
        if quick is not None:
            yield from quick.run(self, state, noise, moves)
            return
        trees, n = Trees(self, state, noise), noise.n
        trees.grow(torch.arange(n, device=state.x.device), state, noise.k)
        done = torch.zeros(n, dtype=torch.long, device=state.x.device)
        waiting: dict[int, list[tuple[Tensor, State, Move]]] = {}
        for k in range(moves):
            # A chain may be so far ahead of the slowest, no further: what it finds has to be kept.
            until = min(moves, k + AHEAD)
            parked = (~trees.going & (done < until)).nonzero()[:, 0]
            trees.grow(parked, trees.kept(parked)[0], noise.k + done[parked])
            while bool((done <= k).any()):
                rows = trees.leap().nonzero()[:, 0]
                if not len(rows):
                    continue
                ended = trees.kept(rows)
                for move in done[rows].unique().tolist():
                    some = done[rows] == move
                    waiting.setdefault(move, []).append((rows[some], ended[0].rows(some), _rows(ended[1], some)))
                done[rows] += 1
                more = done[rows] < until
                trees.grow(rows[more], ended[0].rows(more), noise.k + done[rows[more]])
            yield _together(waiting.pop(k))


class Trees:
    """The trees of n chains, each at its own leaf: `leap` is one leapfrog of all that are `going`."""

    def __init__(self, nuts: NUTS, state: State, noise: Noise) -> None:
        self.nuts, self.noise = nuts, noise
        n, d, like = noise.n, state.x[0].numel(), state.log_prob
        self.step = nuts.step.to(like).expand(n)[:, None]
        self.event = state.x.shape[1:]
        self.all = torch.arange(n, device=like.device)
        self.going = torch.zeros(n, dtype=torch.bool, device=like.device)
        # Both ends (n, side, d): where, how fast, which slope.
        self.x, self.z, self.slope = (like.new_zeros(n, 2, d) for _ in range(3))
        # A point of the whole trajectory, and one of the part that is being added: x, slope, z, log p.
        self.own, self.part = like.new_zeros(n, 3 * d + 1), like.new_zeros(n, 3 * d + 1)
        self.weight, self.part_weight = like.new_zeros(n), like.new_zeros(n)
        self.sum, self.part_sum = like.new_zeros(n, d), like.new_zeros(n, d)
        # The last column takes what nobody will ask for.
        self.first, self.before = like.new_zeros(n, nuts.depth + 1, d), like.new_zeros(n, nuts.depth + 1, d)
        self.energy, self.chance = like.new_zeros(n), like.new_zeros(n)
        self.depth, self.leaf, self.leaves, self.side = (self.all.new_zeros(n) for _ in range(4))
        self.divergent, self.moved = self.going.clone(), self.going.clone()
        self.dice = torch.zeros(n, 3, nuts.depth, dtype=torch.float64, device=like.device)
        self.luck = torch.zeros(n, dtype=torch.float64, device=like.device)

    def grow(self, rows: Tensor, state: State, move: int | Tensor) -> None:
        """Begin a tree in each of the chains `rows` (m,) at their `state`, with the noise of their `move`."""
        if not len(rows):
            return
        moves = torch.as_tensor(move, device=rows.device).expand(len(rows))
        d, depth = self.sum.shape[1], self.nuts.depth
        z = self.noise.of(rows, moves, "momentum", (d,), normal=True)
        self.dice[rows] = self.noise.of(rows, moves, f"tree {depth}", (3, depth), normal=False)
        x, slope = state.x.flatten(1), state.slope
        for end, now in ((self.x, x), (self.z, z), (self.slope, slope)):
            end[rows] = now[:, None].expand(-1, 2, -1)
        self.own[rows] = torch.cat([x, slope, z, state.log_prob[:, None]], 1)
        self.energy[rows] = z.square().sum(1) / 2 - state.log_prob
        self.weight[rows], self.sum[rows] = 0.0, z
        self.depth[rows] = self.leaves[rows] = 0
        self.chance[rows] = 0.0
        self.divergent[rows] = self.moved[rows] = False
        self.going[rows] = True
        self._branch(rows)

    def _branch(self, rows: Tensor) -> None:
        """Begin to double the trees of the chains `rows`."""
        depth = self.depth[rows]
        self.side[rows] = (self.dice[rows, 0, depth] < 0.5).long()
        self.luck[rows] = self.dice[rows, 1, depth]
        self.leaf[rows] = 0
        self.part_weight[rows], self.part_sum[rows] = -torch.inf, 0.0

    def leap(self) -> Tensor:
        """One leapfrog; which chains' trees (n,) are done by it."""
        rows = self.all if bool(self.going.all()) else self.going.nonzero()[:, 0]
        side, leaf, depth = self.side[rows], self.leaf[rows], self.depth[rows]
        step = self.step[rows] * (2 * side - 1)[:, None]
        x, z, slope = self.x[rows, side], self.z[rows, side], self.slope[rows, side]
        metric = self.nuts.metric if len(rows) == len(self.all) else self.nuts.metric.rows(rows)
        x, z, log_prob, slope = leap(self.nuts.energy, metric, x, z, slope, step)
        self.x[rows, side], self.z[rows, side], self.slope[rows, side] = x, z, slope
        gain = (self.energy[rows] + log_prob - z.square().sum(1) / 2).nan_to_num(nan=-torch.inf)
        lost = gain < -LOST
        self.divergent[rows] |= lost
        self.chance[rows] += gain.clamp(max=0).exp()
        self.leaves[rows] += 1
        self._draw(rows, torch.cat([x, slope, z, log_prob[:, None]], 1), gain)
        total = self.part_sum[rows] + z
        self.part_sum[rows] = total
        bad = lost | self._turned(rows, leaf, z, total)
        self.leaf[rows] = leaf + 1
        full = ~bad & (leaf + 1 == 2**depth)
        ended = bad.clone()
        if bool(full.any()):
            ended[full] = self._joined(rows[full])
        out = torch.zeros_like(self.going)
        out[rows[ended]] = True
        self.going[rows[ended]] = False
        return out

    def _draw(self, rows: Tensor, point: Tensor, gain: Tensor) -> None:
        """Let a leaf take the place of the part's point with its share of the weight.

        One uniform number serves the whole part: given whether it fell below p, it is uniform below p, or above.
        """
        weight = torch.logaddexp(self.part_weight[rows], gain)
        share = (gain - weight).exp().nan_to_num(nan=0.0).double()
        luck = self.luck[rows]
        taken = luck < share
        self.luck[rows] = torch.where(taken, luck / share, (luck - share) / (1 - share)).nan_to_num(nan=0.5)
        self.part[rows] = torch.where(taken[:, None], point, self.part[rows])
        self.part_weight[rows] = weight

    def _turned(self, rows: Tensor, leaf: Tensor, z: Tensor, total: Tensor) -> Tensor:
        """Whether one of the sub-trees that end at this leaf turns back: (m,)."""
        places, closed = (table.to(leaf.device) for table in _numbers(self.nuts.depth))
        place, closing = places[leaf], closed[leaf]
        opening = closing == 0
        column = torch.where(opening, place, self.nuts.depth)
        self.first[rows, column], self.before[rows, column] = z, total
        width = int(torch.where(opening, 0, place + 1).max())
        if width == 0:
            return torch.zeros_like(opening)
        first, columns = self.first[rows, :width], torch.arange(width, device=leaf.device)
        inner = total[:, None] - self.before[rows, :width] + (first - z[:, None]) / 2
        back = ((first * inner).sum(2) <= 0) | ((z[:, None] * inner).sum(2) <= 0)
        asked = (columns <= place[:, None]) & (columns > (place - closing)[:, None]) & ~opening[:, None]
        return (back & asked).any(1)

    def _joined(self, rows: Tensor) -> Tensor:
        """Add the finished parts to the trees of `rows` (m,); which of these end with it."""
        depth, weight, part = self.depth[rows], self.weight[rows], self.part_weight[rows]
        taken = self.dice[rows, 2, depth].log() < part - weight
        self.own[rows] = torch.where(taken[:, None], self.part[rows], self.own[rows])
        self.moved[rows] |= taken
        self.weight[rows] = torch.logaddexp(weight, part)
        total = self.sum[rows] + self.part_sum[rows]
        self.sum[rows] = total
        self.depth[rows] = depth + 1
        left, right = self.z[rows, 0], self.z[rows, 1]
        inner = total - (left + right) / 2
        back = ((left * inner).sum(1) <= 0) | ((right * inner).sum(1) <= 0)
        ended = back | (depth + 1 == self.nuts.depth)
        if not bool(ended.all()):
            self._branch(rows[~ended])
        return ended

    def kept(self, rows: Tensor) -> tuple[State, Move]:
        """Where the chains `rows` (m,) are after their trees, and what happened."""
        d = self.sum.shape[1]
        x, slope, z, log_prob = self.own[rows].split([d, d, d, 1], 1)
        log_prob, shape = log_prob[:, 0], (-1, *self.event)
        state = State(x.reshape(shape), log_prob, slope.reshape(shape))
        energy, leaves = z.square().sum(1) / 2 - log_prob, self.leaves[rows]
        return state, Move(self.moved[rows], self.chance[rows] / leaves, energy, self.divergent[rows], leaves)


def _quick(like: Tensor) -> Any:
    """The compiled way to walk chains of numbers `like` these, if there is one."""
    found = _compiled()
    return found if found is not None and found.usable(like) else None


@cache
def _compiled() -> Any:
    """The module that numba compiles; None without numba, and with one that does not fit to numpy."""
    # Only here: numba takes half a second to import.
    try:
        from driftback.samplers.markov import quick_trees
    except ImportError:
        return None
    return quick_trees


@cache
def _numbers(depth: int) -> tuple[Tensor, Tensor]:
    """For each leaf m: how many one-bits m // 2 has (the column of its sub-tree's first leaf), and how many end it."""
    leaves = range(2 ** max(0, depth - 1))
    ones = [(m ^ (m + 1)).bit_count() - 1 for m in leaves]
    return torch.tensor([(m >> 1).bit_count() for m in leaves]), torch.tensor(ones)


def _rows(move: Move, rows: Tensor) -> Move:
    parts: list[Any] = [None if part is None else part[rows] for part in vars(move).values()]
    return Move(*parts)


def _together(parts: list[tuple[Tensor, State, Move]]) -> tuple[State, Move]:
    """The states and moves of all chains from those of some."""
    order = torch.cat([rows for rows, _, _ in parts]).argsort()

    def joined(things: Sequence[State] | Sequence[Move]) -> list[Any]:
        fields = zip(*(vars(one).values() for one in things), strict=True)
        return [None if values[0] is None else torch.cat(values)[order] for values in fields]

    return State(*joined([state for _, state, _ in parts])), Move(*joined([move for _, _, move in parts]))
