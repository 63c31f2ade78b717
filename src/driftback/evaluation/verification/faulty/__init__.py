"""Faults that have been made, each as small as it was: `FAULTY` names them, with the check that rejects each.

A verification that lets one of them pass is worth nothing, so the tests run all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from driftback.evaluation.verification.check import Kind, Verification
from driftback.evaluation.verification.faulty.drifts import (
    CoinNoise,
    Forgetful,
    HalfNoise,
    SharedNoise,
    Stretched,
    Turned,
    WrongClock,
    flipped_score,
    scaled_drift,
)
from driftback.evaluation.verification.faulty.noise import Churned, Coupled, Roomless, Rootless
from driftback.evaluation.verification.faulty.paths import Ordinary
from driftback.evaluation.verification.faulty.steps import Strided, Unlowered, WrongIndex
from driftback.evaluation.verification.order import standard
from driftback.evaluation.verification.process import verify_process
from driftback.evaluation.verification.sampler import Make, verify_sampler
from driftback.evaluation.verification.score import verify_score
from driftback.processes.schedules import VP
from driftback.scores.denoiser import Denoiser

Run = Callable[[str, int], Verification]
"""(subject, seed) -> its verification."""


@dataclass(frozen=True)
class Faulty:
    """What is wrong, in a line; a check that has to fail; and how to `run` the verification."""

    kind: Kind
    about: str
    caught_by: str
    run: Run


def _sampler(about: str, make: Make, caught_by: str = "mode 1 deviation 1", claimed: int | None = None) -> Faulty:
    def run(subject: str, seed: int) -> Verification:
        return verify_sampler(make, claimed, subject=subject, rng=seed)

    return Faulty("sampler", about, caught_by, run)


def _score(about: str, make: Callable[[Denoiser], Denoiser], caught_by: str) -> Faulty:
    return Faulty("score", about, caught_by, lambda name, seed: verify_score(make(standard()), subject=name, rng=seed))


def _process(about: str, make: Callable[[], object], caught_by: str) -> Faulty:
    return Faulty("process", about, caught_by, lambda name, seed: verify_process(make(), subject=name, rng=seed))


ORDER, REACH, BATCH = "observed order", "reach with 12 to 16 steps", "difference in another batch"
ERROR, TILT = "relative error at sigma/alpha 1", "asymmetry of the Jacobian at sigma/alpha 1"
MEMORY = "correlation of the bridge's ends from t = 0.6 to 0.5"
GROWTH = "mean 1 of simulated points at t = 0.8"

FAULTY: dict[str, Faulty] = {
    "wrong-index": _sampler("order 3 with past values taken one step too early", WrongIndex, ORDER, 3),
    "strided": _sampler("DDIM on 1,000 steps that its stride does not divide", Strided, ORDER, 1),
    "unlowered": _sampler("an order that is kept in the last step", Unlowered, REACH, 4),
    "rootless": _sampler("noise scaled with the time step, not its root", Rootless),
    "roomless": _sampler("fresh noise on top of the old, which makes no room", Roomless),
    "churn": _sampler("churn with a variance for a difference of variances", Churned),
    "coupled": _sampler("a corrector whose step is measured on the batch", Coupled, BATCH),
    "doubled-drift": _sampler("the reverse drift doubled", lambda d: scaled_drift(d, 2.0)),
    "halved-drift": _sampler("the reverse drift halved", lambda d: scaled_drift(d, 0.5)),
    "flipped-score": _sampler("the score's sign flipped in the drift", flipped_score),
    "stretched-score": _score("a score that is 5 % too large", Stretched, ERROR),
    "turned-score": _score("a score turned by 3 degrees, no gradient", Turned, TILT),
    "wrong-clock": _process("a time_of that does not undo the ratio", WrongClock, "time_of undoes the ratio"),
    "half-noise": _process(
        "a diffusion without the drift's share", lambda: HalfNoise(VP(), (2,)), "diffusion against sigma"
    ),
    "forgetful-bridge": _process("a bridge that forgets where the path is", lambda: Forgetful(VP(), (2,)), MEMORY),
    "shared-noise": _process(
        "one number of noise for all coordinates",
        lambda: SharedNoise(VP(), (2,)),
        "product of forward draws at t = 0.5, in deviations",
    ),
    "coin-noise": _process(
        "noise of +1 or -1", lambda: CoinNoise(VP(), (2,)), "fourth moment of forward draws at t = 0.5, in deviations"
    ),
    "ordinary-calculus": _process("geometric Brownian motion without Ito's term", Ordinary, GROWTH),
}
