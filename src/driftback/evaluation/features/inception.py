"""FID and KID proper: the distances between features of the one Inception network that published numbers are made of.

The network and its preprocessing are torch-fidelity's (Obukhov et al. 2020, checked there against the original), and
its weights are a file that a person has: nothing is ever downloaded. FID is the Fréchet distance in all 2,048 features
(Heusel et al. 2017, arXiv 1706.08500), KID the kernel distance on them as they are (Binkowski et al. 2018, arXiv
1801.01401). Published FIDs take 50,000 samples; with fewer the number is larger, so no two numbers of items are to be
compared, and for fewer items than features, whose covariance would be singular, there is no FID here at all.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from scipy.stats import t as student
from torch import Tensor, nn

from driftback.errors import BadInput
from driftback.evaluation.features.frechet import frechet
from driftback.evaluation.features.kernel import Unit, kernel_distance
from driftback.evaluation.metric import TOO_FEW, Metric
from driftback.evaluation.permutation import Comparison, Splits, Values, jackknife, measure
from driftback.evaluation.points import Points
from driftback.randomness import Rng

NAME = "inception"
FILE = "weights-inception-2015-12-05-6726825d.pth"
"""The name under which torch-fidelity keeps its weights."""
LAYER, DIMENSIONS = "2048", 2048
FLOORS = 5
"""Pairs of real sets: each takes seconds in so many dimensions, and five tell a band by Student's law."""


@dataclass(frozen=True)
class Inception:
    """torch-fidelity's network, which sees 8 bit colours of any size."""

    network: nn.Module
    name: str = "Inception"

    def __call__(self, pictures: Tensor) -> Tensor:
        """(n, 2048) from (n, c, h, w) in [-1, 1]."""
        colours = pictures[:, :3] if pictures.shape[1] >= 3 else pictures[:, :1].expand(-1, 3, -1, -1)
        return self.network(((colours + 1) * 127.5).round().clamp(0, 255).to(torch.uint8))[0]


def cached() -> Path:
    """Where torch-fidelity's weights are once it has been used."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("TORCH_HOME") or cache / "torch") / "hub" / "checkpoints" / FILE


def inception(weights: Path | None = None) -> Inception:
    """The network with the `weights` of that file (default: where torch-fidelity keeps them).

    Raises BadInput, in one line, where the package, something that it needs, or the file is missing, and for a file
    that holds anything but tensors.
    """
    path = cached() if weights is None else weights.expanduser()
    if not path.is_file():
        raise BadInput(
            f"FID needs Inception's weights, and {path} is not there; nothing is downloaded: give --fid-weights"
        )
    try:
        # torch-fidelity would run whatever is in the file; read as data alone first, it is known to be data.
        torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:  # torch lets through what its unpickler raises, whose kinds no module here may import
        raise BadInput(f"{path} holds no weights that can be read as data; give torch-fidelity's {FILE}") from error
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3 as Theirs
    except (ImportError, RuntimeError, OSError, AttributeError) as error:  # what it needs may not fit to this torch
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadInput(
            f"FID needs torch-fidelity, which cannot be imported ({line}): pip install torch-fidelity, and "
            "what it needs in versions that fit to this torch"
        ) from error
    try:
        with torch.random.fork_rng(devices=[]):
            network = Theirs("inception-v3-compat", [LAYER], feature_extractor_weights_path=str(path))
    except (RuntimeError, KeyError, AttributeError) as error:
        raise BadInput(f"{path} holds other weights than Inception's; give torch-fidelity's {FILE}") from error
    return Inception(network)


def fid_statistic(z: Points, ways: Splits) -> Values:
    """(C,): the Fréchet distance in all dimensions, for every split."""
    pairs = ((z[a > 0], z[b > 0]) for a, b in zip(ways.first.T, ways.second.T, strict=True))
    return np.array([frechet(x, y) for x, y in pairs])


def fid_and_kid(x: Points, y: Points, z: Points | None, *, of: str, rng: Rng) -> list[Metric]:
    """FID and KID between Inception's features of samples `x` (n, d) and real items `y` (m, d); `z` makes the floors.

    FID's interval is the jackknife's, its floor the band in which a further one would fall after five pairs of real
    sets; it has no p-value.
    """
    n, few = len(x), min(len(x), len(y))
    kid = kernel_distance(x, y, z, of=of, unit=Unit(), rng=rng.child("kid"))
    named = [replace(kid, name=f"KID ({of} features)")]
    if few <= x.shape[1]:
        why = f"{TOO_FEW}: {few}, of at least {x.shape[1] + 1}; KID has no bias"
        return [Metric(f"FID ({of} features)", None, None, None, None, None, n, why), *named]
    found = measure(fid_statistic, x, y, z, shuffles=FLOORS, rng=rng.child("fid"))
    value = float(found.observed)
    one = Comparison(value, jackknife(value, found.deleted), _band(found.null), 1.0)
    verdict = one.distance("", n).verdict.partition(",")[0]
    return [one.metric(f"FID ({of} features)", n, verdict, least=0.0), *named]


def _band(null: Values) -> tuple[float, float]:
    """Where a further value falls with probability 95 %, if they are normal."""
    reach = student.ppf(0.975, len(null) - 1) * null.std(ddof=1) * np.sqrt(1 + 1 / len(null))
    return float(null.mean() - reach), float(null.mean() + reach)
