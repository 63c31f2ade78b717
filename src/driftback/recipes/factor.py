"""What a fitted model's density is multiplied by: the likelihood of an observation, or a second density.

p(x) h(x) / Z is drawn by a way back that is pulled along grad log h_t; which ways there are, and how h_t is guessed,
depends on what is known of h. An observation's h is Gaussian about A(x) (`driftback.scores.posterior`); of any other
density only its logarithm is (`driftback.scores.tilted`; Sohl-Dickstein et al. 2015, arXiv 1503.03585, section 2.5).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from driftback.data.preprocessing import Preprocessing
from driftback.distributions.observation import Observation
from driftback.distributions.operators import Mask
from driftback.errors import BadInput
from driftback.recipes.config import Config
from driftback.recipes.density.function import Call
from driftback.recipes.python_file import names_in
from driftback.samplers.ancestral import Ancestral
from driftback.samplers.dps import DPS
from driftback.samplers.frame import Sampler
from driftback.samplers.repaint import Repaint
from driftback.scores.denoiser import Denoiser
from driftback.scores.posterior import Isotropic, Jacobian, Posterior
from driftback.scores.tilted import Tilted
from driftback.scores.twist import Twist

UNTIL = 2.0
"""Up to this noise, in deviations of the data, the derivative of a network is believed (measured on five)."""


class Factor(Protocol):
    """h, as the ways of drawing see it."""

    hard: str
    """Why particles may have collapsed, and what to do."""

    @property
    def ways(self) -> Mapping[str, Callable[[Denoiser], Sampler]]:
        """What draws item by item, by name; the first is that of pictures where nothing is said."""

    def twist(self, denoiser: Denoiser, rows: bool) -> Twist:
        """What the particles of `smc` follow, of items that are `rows` or not."""

    def missed(self, x: Tensor) -> float | None:
        """The mean square by which encoded items `x` (n, *internal event) miss what was seen, in units of its noise."""


@dataclass(frozen=True, eq=False)
class Seen:
    """The likelihood of an observation of encoded items."""

    seen: Observation
    hard = (
        "the observation is improbable under the model, or its noise too small: give a larger --noise or more particles"
    )

    @property
    def ways(self) -> Mapping[str, Callable[[Denoiser], Sampler]]:
        return {
            "mmps": lambda denoiser: Ancestral(Posterior(denoiser, self.seen, Jacobian(), until=UNTIL)),
            "pigdm": lambda denoiser: Ancestral(Posterior(denoiser, self.seen, Isotropic(), until=UNTIL)),
            "repaint": self._repaint,
            "dps": lambda denoiser: DPS(denoiser, self.seen),
        }

    def twist(self, denoiser: Denoiser, rows: bool) -> Twist:
        return Posterior(denoiser, self.seen, Jacobian() if rows else Isotropic(), until=UNTIL)

    def missed(self, x: Tensor) -> float | None:
        apart = self.seen.missed(self.seen.operator(x)).double() / self.seen.noise
        return float(apart.square().mean())

    def _repaint(self, denoiser: Denoiser) -> Sampler:
        if not isinstance(self.seen.operator, Mask):
            raise BadInput("repaint puts pixels in their place, so it wants a mask; use --method mmps or smc")
        return Repaint(denoiser, self.seen.operator, self.seen.y)


@dataclass(frozen=True, eq=False)
class Times:
    """exp(`log_density`), a function of items (n, *event) in the order and units of the data, as torch tensors
    that lie between its levels too, to (n,) nats up to a constant, by torch's functions.
    """

    log_density: Callable[[Tensor], Tensor]
    config: Config
    hard = "the second density is narrow, or lies where the model has next to no items: widen it or give more particles"

    @property
    def ways(self) -> Mapping[str, Callable[[Denoiser], Sampler]]:
        return {"guided": lambda denoiser: Ancestral(self.twist(denoiser, True))}

    def twist(self, denoiser: Denoiser, rows: bool) -> Twist:
        prepared = self.config.preprocessing
        return Tilted(denoiser, lambda z: self.log_density(decoded(prepared, z)), until=UNTIL)

    def missed(self, x: Tensor) -> float | None:
        return None


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
    return Times(Call(there["log_prob"], "log_prob", path=path), config)
