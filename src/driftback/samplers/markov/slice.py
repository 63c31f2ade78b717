"""Elliptical slice sampling: where the prior is Gaussian, walk on an ellipse through the point and a draw of the prior.

With p(x) = N(x; m, S) L(x), nu ~ N(0, S) and a height log y = log L(x) + log u, every x' = m + (x - m) cos a + nu sin a
has the prior's law; an angle is drawn from a bracket, which shrinks towards a = 0 until log L(x') > log y (Murray,
Adams and MacKay 2010, arXiv 1001.0175, figure 2). Nothing is to be tuned, and no gradient is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from driftback.distributions.protocols import Density, Source
from driftback.errors import BadInput
from driftback.samplers.markov.energy import Energy
from driftback.samplers.markov.noise import Noise
from driftback.samplers.markov.state import Move, State


class Centred(Source, Density, Protocol):
    """A Gaussian: something to draw from, with its density and its mean."""

    @property
    def mean(self) -> Tensor | float:
        """The mean, one number or of the shape of one point."""
        ...


@dataclass(frozen=True, eq=False)
class EllipticalSlice:
    """The chain that leaves `prior` times likelihood invariant; the likelihood is what `energy` has beyond the prior.

    Where `log_likelihood`, x (n, *event) -> (n,), is given, it is asked instead, which spares the prior's density in
    each trial. After `most` trials a chain stays where it is: as a way there and its way back need the same number, the
    law is still kept. `leaps` of a move are its trials. BadInput where `most` is not positive, and at the start where
    prior and likelihood do not make the target.
    """

    energy: Energy
    prior: Centred
    log_likelihood: Callable[[Tensor], Tensor] | None = None
    most: int = 100

    def __post_init__(self) -> None:
        if self.most < 1:
            raise BadInput(f"an elliptical slice got most = {self.most} trials; give 1 or more")

    def begin(self, x: Tensor) -> State:
        """The state of chains at `x` (n, *event)."""
        state = self.energy.begin(x, sloped=False)
        if self.log_likelihood is None:
            return state
        together = self.energy.of(self.log_likelihood, x) + self._prior(x)
        off = together - state.log_prob
        if bool((off - off[0]).abs().max() > 1e-3 * (1 + state.log_prob.abs().max())):
            raise BadInput("prior times likelihood is not the target; mend either, or leave the likelihood out")
        return State(x, together)

    @torch.no_grad()
    def __call__(self, state: State, noise: Noise) -> tuple[State, Move]:
        """One ellipse for each chain; those that have found their point wait for the others."""
        apart = state.x - self.prior.mean
        drawn = self.prior.sample(noise.n, rng=noise.rng.child("ellipse", noise.k)).to(state.x).reshape(state.x.shape)
        nu = drawn - self.prior.mean
        height = state.log_prob - self._prior(state.x) + noise.uniform("height").log().to(state.log_prob)
        angle = 2 * math.pi * noise.uniform("angle")
        low, high = angle - 2 * math.pi, angle.clone()
        x, log_prob, rows = state.x.clone(), state.log_prob.clone(), torch.arange(noise.n, device=state.x.device)
        trials = torch.zeros_like(rows)
        for trial in range(self.most):
            wide = angle[rows].to(x).reshape(-1, *[1] * (x.ndim - 1))
            new = self.prior.mean + apart[rows] * wide.cos() + nu[rows] * wide.sin()
            likelihood, prior = self._parts(new)
            found = likelihood > height[rows]
            there = rows[found]
            x[there], log_prob[there] = new[found], (likelihood + prior)[found]
            trials[rows] += 1
            rows = rows[~found]
            if not len(rows):
                break
            missed = angle[rows]
            low[rows], high[rows] = (
                torch.where(missed < 0, missed, low[rows]),
                torch.where(missed < 0, high[rows], missed),
            )
            share = noise.uniform(f"shrink {trial}")[rows]
            angle[rows] = low[rows] + (high[rows] - low[rows]) * share
        accepted = torch.ones_like(trials, dtype=torch.bool)
        accepted[rows] = False
        return State(x, log_prob), Move(accepted, accepted.to(log_prob), leaps=trials)

    def _prior(self, x: Tensor) -> Tensor:
        return self.prior.log_prob(x).to(x.dtype)

    def _parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The log of likelihood and prior at `x`."""
        prior = self._prior(x)
        if self.log_likelihood is None:
            return self.energy.value(x) - prior, prior
        return self.energy.of(self.log_likelihood, x), prior
