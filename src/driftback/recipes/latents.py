"""Items as points of the simple distribution and back, by the probability-flow ODE: encoding, decoding, and what lies
between two items.

The ODE can be followed both ways (Song et al. 2021, arXiv 2011.13456, section 4.3), so that every item has a latent,
about N(0, I) for draws of the model, and every latent an item; `driftback.samplers.whitened` says in which coordinates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from driftback.arguments import whole
from driftback.errors import BadInput
from driftback.recipes import conditions
from driftback.recipes.assembly import lowest_ratio
from driftback.recipes.finite import refuse_not_finite
from driftback.recipes.model import Model
from driftback.recipes.shown import shown
from driftback.samplers.whitened import Travelled, Whitened, interpolated

TOLERANCE = 1e-5
"""The error of a step, in deviations of the data."""


@dataclass(frozen=True, eq=False)
class Latents:
    """The two ways of `model`: `encode` and `decode`. A step errs by `tolerance`, in deviations of the data."""

    model: Model
    tolerance: float = TOLERANCE

    def encode(self, x: Any, y: Any = None) -> np.ndarray:
        """The latents (n, *internal event) float32 of items `x` (n, *event), given their classes, captions or numbers
        `y` where these are told. BadInput for data that the model cannot have made.
        """
        x, y = shown(self.model.config, x, y)
        z = self.model.config.preprocessing.encode(x)
        return self._all(z, None if y is None else conditions.given_to(self.model.config, y, len(z)), back=False)

    def decode(self, latents: Any, y: Any = None) -> np.ndarray:
        """The items (n, *event) of `latents` (n, *internal event), in the units, layout and dtype of the data."""
        z, event = torch.as_tensor(np.asarray(latents, np.float32)), self.model.config.preprocessing.internal_event
        if tuple(z.shape[1:]) != event:
            wanted = ", ".join(map(str, event))
            raise BadInput(f"latents of this model have the shape (n, {wanted}), not {tuple(z.shape)}")
        told = None if y is None else conditions.given_to(self.model.config, y, len(z))
        return self.model.config.preprocessing.decode(torch.from_numpy(self._all(z, told, back=True)))

    def error(self, x: Any, y: Any = None) -> np.ndarray:
        """How far items come back from where they were, (n,): the root mean square in standard deviations of the data,
        before they are rounded to the data's levels.
        """
        latents = torch.from_numpy(self.encode(x, y))
        x, y = shown(self.model.config, x, y)
        z = self.model.config.preprocessing.encode(x)
        told = None if y is None else conditions.given_to(self.model.config, y, len(z))
        off = torch.from_numpy(self._all(latents, told, back=True)) - z
        return (off.flatten(1).square().mean(1).sqrt() / self.model.config.spread).numpy()

    def between(self, a: Any, b: Any, n: int = 8, y: Any = None) -> np.ndarray:
        """`n` >= 2 items from `a` to `b`, each (*event), along the circle through their latents: (n, *event)."""
        ends = self.encode(np.stack([np.asarray(a), np.asarray(b)]), None if y is None else [y, y])
        shares = torch.linspace(0, 1, whole(n, "n", 2))
        way = interpolated(torch.from_numpy(ends[0]), torch.from_numpy(ends[1]), shares)
        return self.decode(way.numpy(), None if y is None else [y] * n)

    def _all(self, z: Tensor, told: np.ndarray | None, *, back: bool) -> np.ndarray:
        model, config, out = self.model, self.model.config, []
        model.denoiser.network.eval()
        low = max(1e-3, lowest_ratio(config) / config.spread)
        for first in range(0, len(z), model.block):
            part, some = z[first : first + model.block].to(model.device), slice(first, first + model.block)
            denoiser = model.denoiser
            if told is not None:
                denoiser = denoiser.given(torch.from_numpy(told[some]).to(model.device))
            flow = Whitened(denoiser, config.spread)
            way = flow.decoded if back else flow.encoded
            found: Travelled = way(part, low=low, tolerance=self.tolerance)
            refuse_not_finite(found.w, "latent of item", first)
            out.append(found.w.cpu())
        return torch.cat(out).numpy() if out else z.numpy()
