"""The learned denoiser: a network, a process, and what the network's output means.

D(x, t) = parametrisation(network(shown(x), log(sigma/alpha) / 4, label)). The number that the network is told is a
quarter of the log of the noise-to-data ratio (Karras et al. 2022, arXiv 2206.00364, table 1), whatever the schedule,
clipped to +-5 so that the singular end of a schedule is an ordinary number.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from driftback.errors import BadInput
from driftback.networks.backbone import Backbone
from driftback.processes.diffusion import Diffusion
from driftback.scores.denoiser import Denoiser, expand_time
from driftback.scores.parametrisation import Parametrisation


@dataclass(frozen=True)
class LearnedDenoiser(Denoiser):
    """E[x_0 | x_t] from `network(x, number, label)`; `label` is a class number, one per item (n,), or None for no
    class.
    """

    process: Diffusion
    network: Backbone
    parametrisation: Parametrisation
    label: int | Tensor | None = None

    def denoised(self, x: Tensor, t: float | Tensor) -> Tensor:
        t = expand_time(t, x)
        output = self.output(x, t)
        return self.parametrisation.denoised(output, x, self.process.alpha(t), self.process.sigma(t))

    def output(self, x: Tensor, t: Tensor) -> Tensor:
        """The network's bare output for `x` (n, *event) at times `t` (n,)."""
        alpha, sigma = self.process.alpha(t), self.process.sigma(t)
        number = ((sigma.log() - alpha.log()) / 4).clamp(-5, 5).to(x.dtype)
        label = self.label
        if label is not None:
            label = torch.broadcast_to(torch.as_tensor(label, device=x.device), (len(x),))
        return self.network(self.parametrisation.shown(x, alpha, sigma), number, label)

    def given(self, label: int | Tensor) -> Self:
        classes = self.network.classes
        if classes == 0:
            raise BadInput("this model knows no classes; fit it on labelled data to condition on one")
        numbers = torch.as_tensor(label)
        if bool(((numbers < 0) | (numbers >= classes)).any()):
            raise BadInput(
                f"a class number outside 0 .. {classes - 1} was asked for; this model knows {classes} classes"
            )
        return replace(self, label=label)
