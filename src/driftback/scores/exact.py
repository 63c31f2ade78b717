"""The exact denoiser of a mixture of Gaussians: what a network would learn from endless data and time.

E[x_0 | x_t] = sum_k r_k(x_t) (m_k + alpha S_k (alpha^2 S_k + sigma^2 I)^-1 (x_t - alpha m_k)): each component's linear
regression, weighted by its responsibility (Bishop 2006, section 2.3.3). A Gaussian is a mixture of one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from driftback.distributions.mixture import Mixture
from driftback.errors import BadInput
from driftback.processes.diffusion import Diffusion
from driftback.scores.denoiser import Denoiser
from driftback.shapes import as_time


@dataclass(frozen=True, eq=False)
class ExactDenoiser(Denoiser):
    """E[x_0 | x_t] of `mixture` under `process`; events of any shape with as many numbers as the mixture's d.

    `labels` (k,) gives each component a class; `asked`, () or (n,), is the class conditioned on (see `given`).
    """

    process: Diffusion
    mixture: Mixture
    labels: Tensor | None = None
    asked: Tensor | None = None

    def denoised(self, x: Tensor, t: float | Tensor) -> Tensor:
        """E[x_0 | x_t = x] for `x` (n, *event) at times `t` in (0, 1], () or (n,): the shape of `x`."""
        t = as_time(t, x)
        flat = self.mixture.denoised(
            x.flatten(1), self.process.alpha(t), self.process.sigma(t), weights=self._weights()
        )
        return flat.reshape(x.shape)

    def of(self, rows: Tensor) -> ExactDenoiser:
        if self.asked is None or self.asked.ndim == 0:
            return self
        return replace(self, asked=self.asked[rows])

    def given(self, label: int | Tensor) -> ExactDenoiser:
        """The denoiser of the components with `label`, one for all items or one each (n,); BadInput if none has it."""
        if self.labels is None:
            raise BadInput("this exact denoiser knows no labels; give its components labels to condition on one")
        asked = torch.as_tensor(label, device=self.labels.device)
        if not bool(torch.isin(asked, self.labels).all()):
            known = ", ".join(str(known) for known in self.labels.unique().tolist())
            raise BadInput(f"no component has the label {label}; the labels are {known}")
        return replace(self, asked=asked)

    def _weights(self) -> Tensor | None:
        if self.asked is None or self.labels is None:
            return None
        return self.mixture.weights.to(self.labels.device) * (self.asked[..., None] == self.labels)
