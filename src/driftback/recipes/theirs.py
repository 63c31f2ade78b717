"""A user's own file, made into what can be verified: it is run as Python, and its names say what is in it.

`sampler(denoiser)` gives a sampler, with `order` what it claims; `denoised(x, alpha, sigma)` or `score(x, alpha,
sigma)` answers for `target`; `schedule` or `process` is an object, or a class that needs no arguments. What goes wrong
in the file is told in one line with the number of the line in it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from driftback.distributions.mixture import Mixture
from driftback.errors import BadInput, DriftbackError
from driftback.evaluation.verification import TARGET, Verification, verify_process, verify_sampler, verify_score
from driftback.processes.diffusion import Diffusion
from driftback.processes.schedules import VP
from driftback.recipes.python_file import line_of, names_in, told
from driftback.scores.denoiser import Denoiser
from driftback.shapes import as_time

SAMPLER, DENOISED, SCORE, SCHEDULE, PROCESS = "sampler", "denoised", "score", "schedule", "process"
ROLES = (SAMPLER, DENOISED, SCORE, SCHEDULE, PROCESS)
AGAIN = "verify again"


@dataclass(frozen=True)
class Theirs(Denoiser):
    """A denoiser of a user's `answer(x, alpha, sigma)`, which is E[x_0 | x_t] or, `as_score`, grad log p_t."""

    process: Diffusion
    answer: Callable[[Tensor, Tensor, Tensor], Any]
    as_score: bool

    def denoised(self, x: Tensor, t: float | Tensor) -> Tensor:
        """E[x_0 | x_t = x] for `x` (n, d) at one time."""
        t = as_time(t, x)
        alpha, sigma = self.process.alpha(t), self.process.sigma(t)
        answer = self.answer(x, alpha, sigma)
        if not isinstance(answer, Tensor) or answer.shape != x.shape:
            got = f"shape {tuple(answer.shape)}" if isinstance(answer, Tensor) else f"a {type(answer).__name__}"
            raise BadInput(f"points of shape {tuple(x.shape)} were answered by {got}; return a tensor of that shape")
        return (x + sigma**2 * answer) / alpha if self.as_score else answer


def verify_file(path: Path, *, seed: int = 0) -> list[Verification]:
    """The verifications of all that the file at `path` defines. This runs the file.

    BadInput, in one line with the number of the line in the file, if it cannot be run or does not keep the contract.
    """
    there = names_in(path, AGAIN)
    found = [role for role in ROLES if role in there]
    if not found:
        raise BadInput(f"{path} defines none of {', '.join(ROLES)}; docs/verify.md shows what each has to be")
    return [_verified(path, there, role, seed) for role in found]


def _verified(path: Path, there: dict[str, Any], role: str, seed: int) -> Verification:
    subject, thing = f"{path.name}: {role}", there[role]
    try:
        if role == SAMPLER:
            order = there.get("order")
            counted = isinstance(order, int) and not isinstance(order, bool) and order >= 1
            if not callable(thing) or not (order is None or counted):
                raise BadInput(
                    "sampler has to be a function of a denoiser, and order a whole number >= 1; correct them"
                )
            return verify_sampler(thing, order, subject=subject, rng=seed)
        if role in (DENOISED, SCORE):
            target, tolerance = there.get("target", TARGET), float(there.get("tolerance", 0.01))
            if not tolerance > 0 or not math.isfinite(tolerance):
                raise BadInput(f"tolerance is {tolerance}; give a positive number")
            if not callable(thing) or not isinstance(target, Mixture):
                raise BadInput(f"{role} has to be a function of x, alpha, sigma, and target a Mixture; correct them")
            theirs = Theirs(Diffusion(VP(), target.event_shape), thing, role == SCORE)
            return verify_score(theirs, target, tolerance=tolerance, subject=subject, rng=seed)
        return verify_process(thing() if isinstance(thing, type) else thing, subject=subject, rng=seed)
    except DriftbackError as error:
        line = line_of(thing)
        raise BadInput(f"{path}{'' if line is None else f', line {line}'}: {role}: {error}") from error
    except Exception as error:
        raise told(path, error, f"while its {role} was verified", AGAIN) from error
