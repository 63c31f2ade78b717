"""What is known of the target that a model was fitted to: its exact denoiser, or the best that can stand for it.

Mixtures among the built-in shapes keep being mixtures when they are encoded, since encoding points is affine. Other
built-in shapes are drawn afresh, 4,000 points, whose recorded denoiser is the shape's but for the lowest noise. Of
other data there are only the training items, whose recorded denoiser stands for the target's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from driftback.data.builtin import plain
from driftback.data.dataset import Dataset
from driftback.distributions.mixture import Mixture
from driftback.distributions.shapes2d import SHAPES
from driftback.randomness import Rng
from driftback.recipes.model import Model
from driftback.scores.denoiser import Denoiser
from driftback.scores.exact import ExactDenoiser
from driftback.scores.recorded import RecordedDenoiser

FRESH = 4000


@dataclass(frozen=True)
class Known:
    """The `denoiser` to compare with, `what` it is in words, and the encoded target where it is a mixture."""

    denoiser: Denoiser
    what: str
    mixture: Mixture | None = None


def known_target(model: Model, train: Dataset) -> Known:
    """The denoiser of encoded items that is nearest to that of the target of `model`, fitted to `train`."""
    process, encode = model.denoiser.process, model.config.preprocessing.encode
    name = plain(model.config.source or "")
    if name in SHAPES:
        shape = SHAPES[name]()
        if isinstance(shape, Mixture):
            corners = encode(np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])).double()
            matrix = (corners[1:] - corners[0]).T
            means = shape.means @ matrix.T + corners[0]
            mixture = Mixture(shape.weights, means, matrix @ shape.covariances @ matrix.T)
            return Known(ExactDenoiser(process, mixture), "its target's exact score", mixture)
        points = encode(shape.sample(FRESH, rng=Rng(0).child("fresh")).numpy())
        return Known(RecordedDenoiser(process, points.to(model.device)), f"{FRESH:,} fresh points of its target")
    codes = model.config.preprocessing.labels(train) if model.classes else None
    labels = None if codes is None else torch.from_numpy(np.asarray(codes)).to(model.device)
    items = encode(train.x).to(model.device)
    return Known(RecordedDenoiser(process, items, labels), "its training items, a stand-in for its unknown target")
