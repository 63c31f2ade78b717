"""What a fitted model's density is multiplied by: the likelihood of an observation, or a second density.

p(x) h(x) / Z is drawn by a way back that is pulled along grad log h_t; which ways there are, and how h_t is guessed,
depends on what is known of h. An observation's h is Gaussian about A(x) (`driftback.scores.posterior`); of any other
density only its logarithm is (`driftback.scores.tilted`; Sohl-Dickstein et al. 2015, arXiv 1503.03585, section 2.5).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from driftback.data.preprocessing import Preprocessing
from driftback.distributions.observation import Observation
from driftback.distributions.operators import Mask
from driftback.errors import BadInput
from driftback.randomness import Rng
from driftback.recipes.config import Config
from driftback.recipes.density.function import Call
from driftback.recipes.python_file import names_in
from driftback.recipes.seen import OfItem
from driftback.samplers.ancestral import Ancestral
from driftback.samplers.dps import DPS
from driftback.samplers.frame import Sampler
from driftback.samplers.repaint import Repaint
from driftback.scores.denoiser import Denoiser
from driftback.scores.posterior import Isotropic, Jacobian, Posterior
from driftback.scores.tilted import Tilted, refuse_no_number
from driftback.scores.twist import Twist

UNTIL = 2.0
"""Up to this noise, in deviations of the data, the derivative of a network is believed (measured on five)."""
PULL = 0.5
"""DPS's step: the least off on four mixtures of .02 to 1 at these steps (docs/posteriors.md)."""


class Factor(Protocol):
    """h, as the ways of drawing see it."""

    hard: str
    """Why particles may have collapsed, and what to do."""

    @property
    def ways(self) -> Mapping[str, Callable[[Denoiser], Sampler]]:
        """What draws item by item, by name; the first is that of pictures where nothing is said."""

    @property
    def width(self) -> float:
        """How narrow it is, in the units of encoded items: its noise."""

    @property
    def log_scale(self) -> float:
        """By how many nats its log-density is less in the units of the data."""

    @property
    def masked(self) -> bool:
        """Whether it says what some of the numbers are."""

    def twist(self, denoiser: Denoiser, rows: bool) -> Twist:
        """What the particles of `smc` follow, of items that are `rows` or not."""

    def missed(self, x: Tensor) -> float | None:
        """The mean square by which encoded items `x` (n, *internal event) miss what was seen, in units of its noise."""

    def impossible(self, x: Tensor) -> int:
        """How many of encoded items `x` have a probability of 0."""


@dataclass(frozen=True, eq=False)
class Seen:
    """The likelihood of an observation of encoded items."""

    seen: Observation
    hard = (
        "the observation is improbable under the model, its noise too small, or the model too little trained to say: "
        "give a larger --noise or more particles"
    )

    @property
    def width(self) -> float:
        return self.seen.noise

    @property
    def log_scale(self) -> float:
        return self.seen.log_scale if isinstance(self.seen, OfItem) else 0.0

    @property
    def masked(self) -> bool:
        return isinstance(self.seen.operator, Mask)

    @property
    def ways(self) -> Mapping[str, Callable[[Denoiser], Sampler]]:
        return {
            "mmps": lambda denoiser: Ancestral(Posterior(denoiser, self.seen, Jacobian(), until=UNTIL)),
            "pigdm": lambda denoiser: Ancestral(Posterior(denoiser, self.seen, Isotropic(), until=UNTIL)),
            "repaint": self._repaint,
            "dps": lambda denoiser: DPS(denoiser, self.seen, PULL),
        }

    def twist(self, denoiser: Denoiser, rows: bool) -> Twist:
        return Posterior(denoiser, self.seen, Jacobian() if rows else Isotropic(), until=UNTIL)

    def missed(self, x: Tensor) -> float | None:
        apart = self.seen.missed(self.seen.operator(x)).double() / self.seen.noise
        return float(apart.square().mean())

    def impossible(self, x: Tensor) -> int:
        return 0

    def _repaint(self, denoiser: Denoiser) -> Sampler:
        if not isinstance(self.seen.operator, Mask):  # as `masked`, of which mypy would not know
            raise BadInput("repaint puts pixels in their place, so it wants a mask; use --method mmps or smc")
        return Repaint(denoiser, self.seen.operator, self.seen.y)


@dataclass(frozen=True, eq=False)
class Times:
    """exp(`log_density`), a function of items (n, *event) in the order and units of the data, as torch tensors
    that lie between its levels too, to (n,) nats up to a constant, by torch's functions; of one item with `single`. It
    may be -inf. BadInput where it fails, mixes items, or says something else each time.
    """

    log_density: Callable[[Tensor], Tensor]
    config: Config
    single: bool = False
    path: Path | None = None
    """The file that it is from, for messages."""
    hard = "the second density is narrow, or lies where the model has next to no items: widen it or give more particles"

    def __post_init__(self) -> None:
        event = self.config.preprocessing.internal_event
        z = self.config.spread * Rng(0).child("probe").normal((2, *event)).requires_grad_(True)
        log_h = self(z)
        if log_h.shape != (2,):
            return  # which is told where it is drawn by
        if not torch.allclose(log_h, self(z), rtol=1e-4, equal_nan=True):
            raise BadInput("the second density says something else each time; let it be a function of the items alone")
        slope = torch.autograd.grad(log_h[0], z, allow_unused=True)[0] if log_h.requires_grad else None
        if slope is not None and bool((slope[1] != 0).any()):
            raise BadInput("the second density mixes the items of a batch; let it treat each for itself")

    def __call__(self, z: Tensor) -> Tensor:
        """log h of encoded items `z` (n, *internal event)."""
        return self._call(decoded(self.config.preprocessing, z))

    @cached_property
    def _call(self) -> Call:
        return Call(self.log_density, "log_prob", self.single, self.path, no_gradient="")

    width, log_scale, masked = math.inf, 0.0, False

    @property
    def ways(self) -> Mapping[str, Callable[[Denoiser], Sampler]]:
        return {"guided": lambda denoiser: Ancestral(self.twist(denoiser, True))}

    def twist(self, denoiser: Denoiser, rows: bool) -> Twist:
        return Tilted(denoiser, self, until=UNTIL)

    def missed(self, x: Tensor) -> float | None:
        return None

    def impossible(self, x: Tensor) -> int:
        return int((refuse_no_number(self(x).detach()) == -math.inf).sum())


def decoded(prepared: Preprocessing, z: Tensor) -> Tensor:
    """Encoded items (n, *internal event) in the order and units of the data (n, *event), neither rounded nor clipped,
    so that gradients come back through it.
    """
    raw = {"hwc": z.movedim(1, -1), "hw": z[:, 0]}.get(prepared.layout, z)
    offset, scale = (torch.tensor(part, dtype=torch.float64) for part in (prepared.offset, prepared.scale))
    return raw * scale.to(raw) + offset.to(raw)


def from_file(path: Path, config: Config) -> Times:
    """The second density that the Python file at `path` defines as log_prob(x). This runs the file. BadInput where it
    defines none.
    """
    if not path.is_file():
        raise BadInput(f"there is no file {path}; give a Python file that defines log_prob(x)")
    there = names_in(path, "draw again")
    if not callable(there.get("log_prob")):
        raise BadInput(f"{path} defines no log_prob(x), the log-density of items (n, *event) that is multiplied by")
    return Times(there["log_prob"], config, bool(there.get("single", False)), path)
