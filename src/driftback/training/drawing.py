"""How a step's uniform numbers are drawn, which the law of training times turns into noise levels.

By names: `stratified`, one in each n-th of [0, 1]; `independent`; `importance`, where the loss varies most (see
`driftback.training.importance`). All have the same expected loss and gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from driftback.errors import BadInput
from driftback.training.importance import LossAware
from driftback.training.times import stratified


class Drawing(Protocol):
    """Uniform numbers, or others with the factors that make up for it. It may learn from the losses that it brought."""

    def __call__(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor | None]:
        """u (n,) float64 in [0, 1), and what each loss counts, (n,), or None for 1."""
        ...

    def observe(self, u: Tensor, losses: Tensor) -> None:
        """Take in the `losses` (n,) at `u` (n,), without those factors."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """All that a resume needs."""
        ...

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Back to what `tensors` gave."""
        ...


@dataclass(frozen=True)
class Plain:
    """Uniform numbers by `rule`, which learn nothing."""

    rule: Callable[[int, torch.Generator], Tensor]

    def __call__(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor | None]:
        return self.rule(n, generator), None

    def observe(self, u: Tensor, losses: Tensor) -> None:
        pass

    def tensors(self) -> dict[str, Tensor]:
        return {}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        pass


class ByImportance(LossAware):
    """Stratified numbers, bent to where the loss varies most."""

    def __call__(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor | None]:
        return self.draw(stratified(n, generator))


def independent(n: int, generator: torch.Generator) -> Tensor:
    """(n,) float64 in [0, 1), each for itself."""
    return torch.rand(n, dtype=torch.float64, generator=generator, device=generator.device)


DRAWINGS: dict[str, Callable[[], Drawing]] = {
    "stratified": lambda: Plain(stratified),
    "independent": lambda: Plain(independent),
    "importance": ByImportance,
}


def refuse_unknown(name: str) -> None:
    """Raise BadInput, listing the names, where there is no drawing of this name."""
    if name not in DRAWINGS:
        raise BadInput(f"there are no times '{name}'; choose one of {', '.join(DRAWINGS)}")
