"""Where chains are, and what happened when they moved: a kernel takes a state to the next one (blackjax's manner).

A kernel leaves its target invariant: if x has the law p, so has what the kernel makes of it (Tierney 1994, Annals of
Statistics 22(4)). All chains move at once, and none knows of the others unless the kernel says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from driftback.errors import BadInput
from driftback.samplers.markov.noise import Noise


@dataclass(frozen=True, eq=False)
class State:
    """Chains at `x` (n, *event), with log p there (n,) and, where a kernel wants it, its `gradient` (n, *event).

    What else a kernel carries from move to move, one number or more per coordinate, is `carried` (n, ...): a velocity,
    or what each flip would change. Another kernel must begin anew from `x`.
    """

    x: Tensor
    log_prob: Tensor
    gradient: Tensor | None = None
    carried: Tensor | None = None

    def where(self, chosen: Tensor, other: State) -> State:
        """The state that is this one in the chains that are `chosen` (n,), the `other` in the rest."""
        parts = zip(vars(self).values(), vars(other).values(), strict=True)
        return State(*(None if a is None or b is None else _where(chosen, a, b) for a, b in parts))  # type: ignore[arg-type]

    @property
    def slope(self) -> Tensor:
        """The gradient as (n, d). BadInput where there is none."""
        if self.gradient is None:
            raise BadInput("this state has no gradient; let the kernel that uses it begin it")
        return self.gradient.flatten(1)

    def rows(self, rows: Tensor) -> State:
        """The chains `rows` (m,) of it."""
        return State(*(None if part is None else part[rows] for part in vars(self).values()))  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False)
class Move:
    """What happened in one move of each chain: whether it was `accepted` (n,) and with what `probability` (n,).

    Of kernels with momentum also the `energy` (n,) where they arrived, whether they were `divergent` (n,), and how many
    `leaps` (n,) they took.
    """

    accepted: Tensor
    probability: Tensor
    energy: Tensor | None = None
    divergent: Tensor | None = None
    leaps: Tensor | None = None


class Kernel(Protocol):
    """One move of all chains, which leaves the target invariant."""

    def begin(self, x: Tensor) -> State:
        """The state of chains at `x` (n, *event). BadInput where a chain is outside of the support."""
        ...

    def __call__(self, state: State, noise: Noise) -> tuple[State, Move]:
        """The next state, and what happened."""
        ...


def looks(kernel: Kernel) -> bool:
    """Whether a kernel looks at gradients: all do but those of proposals that do not."""
    return bool(getattr(getattr(kernel, "proposal", None), "sloped", True))


class Tunable(Kernel, Protocol):
    """A kernel with a step to be tuned until the mean probability of acceptance is `aim`."""

    @property
    def aim(self) -> float:
        """The mean probability of acceptance at which it works best."""
        ...

    @property
    def step(self) -> Tensor:
        """Its step, () or (n,)."""
        ...

    def tuned(self, step: Tensor) -> Tunable:
        """The same kernel with another step."""
        ...


def _where(chosen: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return torch.where(chosen.reshape(-1, *[1] * (a.ndim - 1)), a, b)
