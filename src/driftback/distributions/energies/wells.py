"""Many modes at once: independent coordinates, some of them in a double well, the rest standard normal.

log p(x) = sum_{i in wells} f(x_i) - sum_{other i} x_i^2 / 2 with f a polynomial of degree 4. With m wells there are 2^m
modes, and everything factorises: log Z = m log int exp(f) + (d - m) log(2 pi) / 2, and the shares of the modes are
products. Many-well: f(u) = -u^4 + 6 u^2 + u / 2 on 16 of 32 coordinates (Midgley et al. 2023, arXiv 2208.01893,
after Noé et al. 2019). Double wells: f(u) = -(u^2 - delta)^2 (Wu, Köhler and Noé 2020, arXiv 2002.06707; with d, m and
delta as in Berner, Richter and Ullrich 2024, arXiv 2211.01364).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from driftback.distributions.energies.line import Line
from driftback.distributions.gaussian import LOG_TWO_PI
from driftback.distributions.target import Problem, Truth
from driftback.errors import BadInput
from driftback.randomness import Rng, as_rng

REACH = 4.5
"""No well here has more than e^-200 of its mass beyond."""


@dataclass(frozen=True, eq=False)
class Wells:
    """Coordinates `wells` with log-density sum_k coefficients[k] u^k, the others standard normal; unnormalised.

    Draws are float64, exact to the rounding of a CDF, 1e-13.
    """

    coefficients: tuple[float, float, float, float, float]
    wells: tuple[int, ...]
    dimension: int

    @property
    def event_shape(self) -> tuple[int, ...]:
        """(dimension,)."""
        return (self.dimension,)

    @cached_property
    def line(self) -> Line:
        """The law of one well."""
        return Line(self._along, -REACH, REACH)

    @cached_property
    def _inside(self) -> Tensor:
        inside = torch.zeros(self.dimension, dtype=torch.bool)
        inside[list(self.wells)] = True
        return inside

    def sample(self, n: int, *, rng: Rng | int | None = None) -> Tensor:
        """Draw `n` points, (n, d)."""
        rng = as_rng(rng)
        x = rng.child("noise").normal((n, self.dimension), dtype=torch.float64)
        u = rng.child("well").uniform((n, len(self.wells)), dtype=torch.float64)
        x[:, self._inside] = self.line.quantile(u)
        return x

    def log_prob(self, x: Tensor) -> Tensor:
        """The log-density in nats at `x` (n, d), up to `log_z`, as (n,) of its dtype."""
        return torch.where(self._inside.to(x.device), self._along(x), -(x**2) / 2).sum(1)

    def score(self, x: Tensor) -> Tensor:
        """The gradient of the log-density at `x` (n, d), of its shape and dtype."""
        _, c1, c2, c3, c4 = self.coefficients
        slope = c1 + x * (2 * c2 + x * (3 * c3 + x * 4 * c4))
        return torch.where(self._inside.to(x.device), slope, -x)

    def _along(self, u: Tensor) -> Tensor:
        c0, c1, c2, c3, c4 = self.coefficients
        return c0 + u * (c1 + u * (c2 + u * (c3 + u * c4)))


def _problem(law: Wells, name: str, told: int, source: str) -> Problem:
    """The target with its truth; modes are told apart by the signs in the first `told` wells."""
    line, inside = law.line, law._inside
    mean = line.expectation(lambda u: u)
    deviation = line.expectation(lambda u: (u - mean) ** 2).sqrt()
    # A panel ends at 0, where this function jumps.
    right = line.expectation(lambda u: (u > 0).double())
    log_z = len(law.wells) * line.log_z + (law.dimension - len(law.wells)) * LOG_TWO_PI / 2
    places = torch.arange(told)

    def mode(x: Tensor) -> Tensor:
        return ((x[:, list(law.wells[:told])] > 0) << places.to(x.device)).sum(1)

    signs = (torch.arange(2**told)[:, None] >> places) & 1
    shares = torch.where(signs == 1, right, 1 - right).prod(1)
    truth = Truth(
        log_z,
        torch.where(inside, mean, torch.zeros_like(mean)),
        torch.where(inside, deviation, torch.ones_like(mean)),
        mode,
        shares,
        "one-dimensional quadrature",
    )
    return Problem(law, name, truth, source=source)


def many_well(pairs: int = 16) -> Problem:
    """`pairs` of (-u^4 + 6 u^2 + u / 2, -w^2 / 2), a pair side by side; 16 modes by the signs of the first four u.

    BadInput for fewer than four pairs.
    """
    if pairs < 4:
        raise BadInput(f"a many-well has {pairs} pairs; its modes are told by the first four, so give 4 or more")
    law = Wells((0.0, 0.5, 6.0, 0.0, -1.0), tuple(range(0, 2 * pairs, 2)), 2 * pairs)
    return _problem(law, "many-well", 4, "Midgley et al. 2023, arXiv 2208.01893; 32 dimensions as there")


def double_well(dimension: int, wells: int, delta: float) -> Problem:
    """-(u^2 - delta)^2 on the first `wells` coordinates, -u^2 / 2 on the others; 2^wells modes, each as likely.

    BadInput unless 1 <= wells <= dimension and 0 < delta <= 9, where the walls are inside the table.
    """
    if not (1 <= wells <= dimension and 0 < delta <= 9):
        raise BadInput(
            f"a double well has d = {dimension}, m = {wells}, delta = {delta}; give 1 <= m <= d and delta in (0, 9]"
        )
    law = Wells((-(delta**2), 0.0, 2 * delta, 0.0, -1.0), tuple(range(wells)), dimension)
    source = "Berner, Richter and Ullrich 2024, arXiv 2211.01364, after Wu, Köhler and Noé 2020, arXiv 2002.06707"
    return _problem(law, f"double-well-{dimension}", wells, source)
