"""Items as points of the simple distribution and back, by the probability-flow ODE: encoding, decoding, and what lies
between two items.

The ODE can be followed both ways (Song et al. 2021, arXiv 2011.13456, section 4.3), so that every item has a latent,
about N(0, I) for draws of the model, and every latent an item; `driftback.samplers.whitened` says in which coordinates.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from driftback.arguments import real, whole
from driftback.data.buckets import named
from driftback.data.dataset import Dataset
from driftback.data.rows import Stack, as_stack, blocks
from driftback.errors import BadInput
from driftback.recipes import buckets, conditions
from driftback.recipes.assembly import lowest_ratio
from driftback.recipes.buckets import Shape
from driftback.recipes.finite import refuse_far, refuse_not_numbers
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

    def __post_init__(self) -> None:
        if not real(self.tolerance, "tolerance") > 0:
            raise BadInput(f"tolerance must be above 0, not {self.tolerance}: it is the error of a step")

    def encode(self, x: Any, y: Any = None, shape: Shape = None) -> np.ndarray:
        """The latents (n, *internal event) float32 of items `x` (n, *event), given their classes, captions or numbers
        `y` where these are told. Of pictures in buckets they are those given the `shape` (n, 2) of each, by default the
        smallest that it fits into. BadInput for data that the model cannot have made.
        """
        return self._all(*self._known(x, y, shape), back=False)

    def decode(self, latents: Any, y: Any = None, shape: Shape = None) -> np.ndarray:
        """The items (n, *event) of `latents` (n, *internal event), in the units, layout and dtype of the data. Pictures
        in buckets have the `shape` (height, width), one for all or one each: BadInput where it is not told.
        """
        config = self.model.config
        given, event = as_stack(latents), config.preprocessing.internal_event
        if given.dtype.kind not in "biuf":
            raise BadInput(f"latents must be numbers, not {given.dtype}")
        if given.shape[1:] != event or given.ndim != len(event) + 1:
            wanted = ", ".join(map(str, event))
            raise BadInput(f"latents of this model have the shape (n, {wanted}), not {given.shape}")
        z = torch.from_numpy(np.asarray(given).astype(np.float32))
        refuse_not_numbers(z)
        bucket = buckets.asked(config, shape, len(z))
        if bucket is None and config.preprocessing.buckets is not None:
            raise BadInput(f"a latent does not tell its bucket; give shape, of {', '.join(buckets.by_name(config))}")
        told = None if y is None else conditions.given_to(config, y, len(z))
        return config.preprocessing.decode(torch.from_numpy(self._all(z, told, bucket, back=True)), bucket)

    def error(self, x: Any, y: Any = None, shape: Shape = None) -> np.ndarray:
        """How far items come back from where they were, (n,): the root mean square in standard deviations of the data,
        before they are rounded to the data's levels.
        """
        x, told, bucket = self._known(x, y, shape)
        latents = torch.from_numpy(self._all(x, told, bucket, back=False))
        back = torch.from_numpy(self._all(latents, told, bucket, back=True))
        encode, spread = self.model.config.preprocessing.encode, self.model.config.spread
        off = [(back[part] - encode(x[part])).flatten(1).square().mean(1).sqrt() / spread for part in blocks(x)]
        return torch.cat(off).numpy() if off else np.empty(0, np.float32)

    def between(self, a: Any, b: Any, n: int = 8, y: Any = None, shape: Shape = None) -> np.ndarray:
        """`n` >= 2 items from `a` to `b`, each (*event), along the circle through their latents: (n, *event). BadInput
        for pictures of two buckets: there is no shape between them.
        """
        start, end = np.asarray(a), np.asarray(b)
        if start.shape != end.shape:
            raise BadInput(f"the two items have the shapes {start.shape} and {end.shape}: give two of one shape")
        two = np.stack([start, end])
        x, told, bucket = self._known(two, None if y is None else [y, y], shape)
        known = self.model.config.preprocessing.buckets
        if bucket is not None and known is not None:
            first, last = (known.shapes[k] for k in bucket)
            if first != last:
                raise BadInput(f"one item is {named(first)} and the other {named(last)}; take two of one shape")
            shape = first
        ends = self._all(x, told, bucket, back=False)
        shares = torch.linspace(0, 1, whole(n, "n", 2))
        way = interpolated(torch.from_numpy(ends[0]), torch.from_numpy(ends[1]), shares)
        return self.decode(way.numpy(), None if y is None else [y] * n, shape)

    def _known(self, x: Any, y: Any, shape: Shape) -> tuple[Stack, np.ndarray | None, np.ndarray | None]:
        """Items, that the model can have made, the rows of what is told of them, and their buckets; or None."""
        config = self.model.config
        shape = x.shapes if shape is None and isinstance(x, Dataset) else shape
        x, y = shown(config, x, y)
        x = config.preprocessing.fitting(x)
        told = None if y is None else conditions.given_to(config, y, len(x))
        return x, told, buckets.of_items(config, x, shape)

    def _all(self, z: Tensor | Stack, told: np.ndarray | None, bucket: np.ndarray | None, *, back: bool) -> np.ndarray:
        model, config, out = self.model, self.model.config, []
        done = buckets.told(config, bucket, model.device)
        model.denoiser.network.eval()
        low = max(1e-3, lowest_ratio(config) / config.spread)
        for first in range(0, len(z), model.block):
            some = slice(first, first + model.block)
            part = (z[some] if isinstance(z, Tensor) else config.preprocessing.encode(z[some])).to(model.device)
            denoiser = model.denoiser
            if told is not None:
                denoiser = denoiser.given(torch.from_numpy(told[some]).to(model.device))
            if done is not None:
                denoiser = replace(denoiser, augmented=done[some])
            flow = Whitened(denoiser, config.spread)
            way = flow.decoded if back else flow.encoded
            found: Travelled = way(part, low=low, tolerance=self.tolerance)
            what = "item of latent" if back else "latent of item"
            refuse_far(found.w, part, 1.0 if back else config.spread, what, first)
            out.append(found.w.cpu())
        return torch.cat(out).numpy() if out else np.empty((0, *config.preprocessing.internal_event), np.float32)
