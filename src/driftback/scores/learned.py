"""The learned denoiser: a network, a process, and what the network's output means.

D(x, t) = parametrisation(network(shown(x), log(sigma/alpha) / 4, label)). The number that the network is told is a
quarter of the log of the noise-to-data ratio (Karras et al. 2022, arXiv 2206.00364, table 1), whatever the schedule,
clipped to +-5 so that the singular end of a schedule is an ordinary number.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Self

import torch
from torch import Tensor

from driftback.errors import BadInput
from driftback.networks.backbone import Backbone
from driftback.processes.diffusion import Diffusion
from driftback.scores.denoiser import Denoiser
from driftback.scores.learned_variance import LearnedVariance
from driftback.scores.parametrisation import Parametrisation
from driftback.shapes import as_time


@dataclass(frozen=True)
class LearnedDenoiser(Denoiser):
    """E[x_0 | x_t] from `network(x, number, label)`; `label` is what is given, as the network's encoder takes it: one
    row for all items or one each (n, *row), such as class numbers (n,); or None for nothing.
    """

    process: Diffusion
    network: Backbone
    parametrisation: Parametrisation
    label: int | Tensor | None = None
    augmented: Tensor | None = None
    """What was done to each item in training, (n, numbers); None is nothing. Samples are told of their bucket alone."""
    read: dict[int, Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)
    """What the encoder says of `label`, by the number of items: a way back asks for it at every step."""

    def denoised(self, x: Tensor, t: float | Tensor) -> Tensor:
        level = self._level(t, x)
        return self.parametrisation.denoised(self._output(x, *level), x, level[0], level[1])

    def denoised_and_share(self, x: Tensor, t: float | Tensor) -> tuple[Tensor, Tensor]:
        if not isinstance(self.parametrisation, LearnedVariance):
            return super().denoised_and_share(x, t)
        level = self._level(t, x)
        output = self._output(x, *level)
        denoised = self.parametrisation.denoised(output, x, level[0], level[1])
        return denoised, self.parametrisation.share(output, x)

    def output(self, x: Tensor, t: float | Tensor) -> Tensor:
        """The network's bare output for `x` (n, *event) at times `t`, () or (n,)."""
        return self._output(x, *self._level(t, x))

    def _level(self, t: float | Tensor, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """alpha, sigma and the number that the network is told, each in the shape of `t`."""
        if isinstance(t, Tensor) and t.ndim:
            return _level_at(self.process, as_time(t, x))
        try:
            return _known_level(self.process, float(t), x.device)
        except TypeError:  # a schedule that cannot be a key
            return _level_at(self.process, as_time(float(t), x))

    def _output(self, x: Tensor, alpha: Tensor, sigma: Tensor, number: Tensor) -> Tensor:
        number = number.to(device=x.device, dtype=x.dtype).expand(len(x))
        label, encoder, vector = self.label, self.network.encoder, None
        if label is not None:
            row = () if encoder is None else encoder.row
            label = torch.broadcast_to(torch.as_tensor(label, device=x.device), (len(x), *row))
            vector = self._vector(label) if row else None  # a row of a table is looked up as fast
        shown = self.parametrisation.shown(x, alpha, sigma)
        if self.augmented is None:
            return self.network(shown, number, label, vector)
        return self.network(shown, number, label, vector, augmented=self.augmented.expand(len(x), -1))

    def _vector(self, label: Tensor) -> Tensor | None:
        """What the encoder says of `label` (n, *row): kept where the weights do not change."""
        if (known := self.read.get(len(label))) is not None:
            return known
        encoder = self.network.encoder
        vector = None if encoder is None else encoder(label)
        if vector is not None and not self.network.training and not vector.requires_grad:
            self.read[len(label)] = vector
        return vector

    def of(self, rows: Tensor) -> Self:
        encoder, label, augmented = self.network.encoder, self.label, self.augmented
        one = 0 if encoder is None else len(encoder.row)
        if isinstance(label, Tensor) and label.ndim > one and len(label) > 1:
            label = label[rows.to(label.device)]
        if augmented is not None and len(augmented) > 1:
            augmented = augmented[rows]
        return replace(self, label=label, augmented=augmented)

    def given(self, label: int | Tensor) -> Self:
        encoder = self.network.encoder
        if encoder is None:
            raise BadInput("this model knows no classes; fit it on labelled data to condition on one")
        encoder.refuse(torch.as_tensor(label))
        return replace(self, label=label)


def _level_at(process: Diffusion, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    alpha, sigma = process.alpha(t), process.sigma(t)
    return alpha, sigma, ((sigma.log() - alpha.log()) / 4).clamp(-5, 5)


@lru_cache(maxsize=4096)
def _known_level(process: Diffusion, t: float, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """A sampler asks at the same few times for one batch after the other."""
    return _level_at(process, torch.tensor(t, dtype=torch.float64, device=device))
