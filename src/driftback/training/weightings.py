"""How much each noise level counts: a weight w on |x_0 - D|^2, put in the place of the one that a method's loss has.

A parametrisation's loss is w_0 |x_0 - D|^2 with w_0 of its own, so w / w_0 turns it into any other. Minimum-SNR:
w = min(SNR, 5) with SNR = alpha^2 / sigma^2 (Hang et al. 2023, arXiv 2303.09556, section 3.4). Likelihood: lambda = g^2
on the error of the score (Song et al. 2021, arXiv 2101.09258, theorem 1), which on that of x_0 is w dt = -dSNR / 2 =
SNR d(log r), r = sigma / alpha. Its times are drawn, as there, with density g^2 / sigma^2 = 2 d(log r)/dt: uniform in
log r, which leaves w = SNR. The mean loss times log(high / low) is then the bound's integral between these ratios.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from driftback.errors import BadInput
from driftback.processes.diffusion import Diffusion
from driftback.scores.parametrisation import Parametrisation
from driftback.training.times import TimeLaw, UniformLogRatio

MOST = 5.0
"""Gamma of minimum-SNR."""
ENDS, HIGHEST = 1e-4, 100.0
"""Likelihood is trained between these quantiles of the method's times, up to so many deviations of the data."""

OnData = Callable[[Tensor, Tensor, float], Tensor]
"""(alpha, sigma, the data's standard deviation) -> the weight of |x_0 - D|^2, one number per time."""


def _own(law: TimeLaw, process: Diffusion) -> TimeLaw:
    return law


def _signal_to_noise(alpha: Tensor, sigma: Tensor, spread: float) -> Tensor:
    return (alpha / sigma) ** 2


def _at_most(alpha: Tensor, sigma: Tensor, spread: float) -> Tensor:
    return _signal_to_noise(alpha, sigma, spread).clamp(max=MOST)


def _uniform_in_log_ratio(law: TimeLaw, process: Diffusion) -> TimeLaw:
    ends = process.ratio(law.quantile(torch.tensor([ENDS, 1 - ENDS], dtype=torch.float64), process))
    return UniformLogRatio(float(ends[0]), min(float(ends[1]), HIGHEST * process.spread))


@dataclass(frozen=True)
class Weighting:
    """A weight on |x_0 - D|^2 as a function of the noise level, and the law of times that goes with it.

    `on_data` is None for the method's own.
    """

    about: str
    on_data: OnData | None = None
    law: Callable[[TimeLaw, Diffusion], TimeLaw] = _own

    def relative(self, parametrisation: Parametrisation, alpha: Tensor, sigma: Tensor, spread: float) -> Tensor | None:
        """What the parametrisation's loss at each noise level is multiplied by, (n,) float64; None for 1."""
        natural = parametrisation.natural(alpha, sigma)
        return None if self.on_data is None or natural is None else self.on_data(alpha, sigma, spread) / natural


WEIGHTINGS: dict[str, Weighting] = {
    "simple": Weighting("the method's own"),
    "min-snr": Weighting("min(SNR, 5); Hang et al. 2023, arXiv 2303.09556", _at_most),
    "likelihood": Weighting("g^2; Song et al. 2021, arXiv 2101.09258", _signal_to_noise, _uniform_in_log_ratio),
}


def weighting_named(name: str) -> Weighting:
    """The weighting of this name. Raises BadInput listing the names."""
    if name not in WEIGHTINGS:
        raise BadInput(f"there is no weighting '{name}'; choose one of {', '.join(WEIGHTINGS)}")
    return WEIGHTINGS[name]


def refuse_not_squared(name: str, parametrisation: Parametrisation) -> None:
    """Raise BadInput where the loss of `parametrisation` is no squared error of x_0, which a weight could count."""
    one = torch.ones((), dtype=torch.float64)
    if WEIGHTINGS[name].on_data is not None and parametrisation.natural(one, one) is None:
        raise BadInput(
            f"the weighting '{name}' counts squared errors of x_0, and data on levels are learned by the logarithm "
            "of a probability; leave it out, or use --method edm"
        )
