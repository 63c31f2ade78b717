"""azula's and deepinv's posterior samplers on the same problems, each where it is installed."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable

import torch
from torch import Tensor

from driftback.randomness import Rng
from workers.posterior_problems import DRAWS, NOISE, UNIT, Draw, Problem


def azulas() -> dict[str, tuple[Draw, list[dict]]]:
    """azula's, by its own samplers on its own variance-preserving schedule; nothing where it is not installed."""
    try:
        import azula.guidance as guidance
        import azula.sample as sample
        from azula.denoise import Denoiser, DiracPosterior
        from azula.linalg.covariance import IsotropicCovariance
        from azula.noise import VPSchedule
    except ImportError as error:
        print(f"azula is left out: {error}", file=sys.stderr)
        return {}

    class Given(Denoiser):
        def __init__(self, problem: Problem) -> None:
            super().__init__()
            self.prior, self.schedule = problem.prior, VPSchedule()

        def forward(self, x_t: Tensor, t: Tensor, **_: object) -> DiracPosterior:
            alpha, sigma = (each.flatten()[0] for each in self.schedule(t))
            return DiracPosterior(mean=self.prior.denoised(UNIT * x_t, alpha, UNIT * sigma) / UNIT)

    def run(
        make: Callable[[Problem, Denoiser, dict], Callable[[Tensor], Tensor]], passes: Callable[[dict], int]
    ) -> Draw:
        def draw(problem: Problem, setting: dict, rng: Rng) -> tuple[Tensor, float]:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(rng.generator().integers(1 << 31))
                x = torch.randn(DRAWS, problem.dimension, dtype=torch.float64)
                return UNIT * make(problem, Given(problem), setting)(x), setting["steps"] * passes(setting)

        return draw

    def through(problem: Problem) -> Callable[[Tensor], Tensor]:
        return lambda x: x @ problem.matrix.T

    def mmps(problem: Problem, given: Denoiser, setting: dict) -> Callable[[Tensor], Tensor]:
        cov = IsotropicCovariance(torch.tensor((NOISE / UNIT) ** 2, dtype=torch.float64))
        denoiser = guidance.MMPSDenoiser(given, problem.y / UNIT, through(problem), cov, iterations=setting["solves"])
        return sample.DDPMSampler(denoiser, steps=setting["steps"], silent=True, dtype=torch.float64)

    def tmpd(problem: Problem, given: Denoiser, setting: dict) -> Callable[[Tensor], Tensor]:
        denoiser = guidance.TMPDenoiser(given, problem.y / UNIT, through(problem), (NOISE / UNIT) ** 2)
        return sample.DDPMSampler(denoiser, steps=setting["steps"], silent=True, dtype=torch.float64)

    def dps_(problem: Problem, given: Denoiser, setting: dict) -> Callable[[Tensor], Tensor]:
        # Its norm is one over the whole batch: as much larger steps make up for that.
        zeta = setting["zeta"] * math.sqrt(DRAWS)
        return guidance.DPSSampler(
            given, problem.y / UNIT, through(problem), zeta, steps=setting["steps"], silent=True, dtype=torch.float64
        )

    def pgdm(problem: Problem, given: Denoiser, setting: dict) -> Callable[[Tensor], Tensor]:
        return guidance.PGDMSampler(
            given,
            problem.y / UNIT,
            through(problem),
            lambda y: y @ problem.matrix,
            eta=setting["eta"],
            steps=setting["steps"],
            silent=True,
            dtype=torch.float64,
        )

    def tds(problem: Problem, given: Denoiser, setting: dict) -> Callable[[Tensor], Tensor]:
        def twist(x_hat: Tensor, ratio: Tensor) -> Tensor:
            square = ratio.flatten()[0] ** 2
            left = square / (1 + square)
            # The rows of the matrix are orthonormal: A A^T is one, and so is the covariance of what is seen.
            return -((problem.y / UNIT - through(problem)(x_hat)) ** 2) / (2 * ((NOISE / UNIT) ** 2 + left))

        return guidance.TDSSampler(given, twist, steps=setting["steps"], silent=True, dtype=torch.float64)

    steps = (50, 200, 1000)
    return {
        "azula, MMPS": (
            run(mmps, lambda s: 2 + s["solves"]),
            [{"steps": s, "solves": c} for s in (50, 200) for c in (1, 4, 16)],
        ),
        "azula, TMPD": (run(tmpd, lambda s: 3), [{"steps": s} for s in steps]),
        "azula, DPS": (
            run(dps_, lambda s: 2),
            [{"steps": 200, "zeta": z} for z in (0.1, 0.3)] + [{"steps": 1000, "zeta": z} for z in (0.03, 0.1, 0.3)],
        ),
        "azula, PiGDM": (run(pgdm, lambda s: 2), [{"steps": s, "eta": e} for s in (50, 200) for e in (0.0, 1.0)]),
        "azula, TDS": (run(tds, lambda s: 2), [{"steps": s} for s in steps]),
    }


def deepinvs() -> dict[str, tuple[Draw, list[dict]]]:
    """deepinv's data fidelities by its own ancestral solver on its own variance-preserving schedule."""
    try:
        import deepinv
    except (ImportError, RuntimeError) as error:  # what it imports may want another build of torch
        print(f"deepinv is left out: {error}", file=sys.stderr)
        return {}
    room = deepinv.sampling

    class Given(deepinv.models.Denoiser):
        def __init__(self, problem: Problem) -> None:
            super().__init__()
            self.prior = problem.prior

        def forward(self, x: Tensor, sigma: Tensor, **_: object) -> Tensor:
            one = torch.as_tensor(sigma, dtype=torch.float64).flatten()[0]
            return (self.prior.denoised(UNIT * x.double(), torch.ones(()).double(), UNIT * one) / UNIT).to(x.dtype)

    def run(make: Callable[[Given, dict], object], passes: Callable[[dict], int]) -> Draw:
        def draw(problem: Problem, setting: dict, rng: Rng) -> tuple[Tensor, float]:
            matrix, given = problem.matrix.float(), Given(problem)
            physics = deepinv.physics.LinearPhysics(
                A=lambda x, **_: x @ matrix.T.to(x),
                A_adjoint=lambda y, **_: y @ matrix.to(y),
                noise_model=deepinv.physics.GaussianNoise(NOISE / UNIT),
            )
            generator = torch.Generator().manual_seed(int(rng.generator().integers(1 << 31)))
            solver = room.DDPMSolver(torch.linspace(1, 0, setting["steps"] + 1).double(), rng=generator)
            sampler = room.PosteriorDiffusion(
                make(given, setting), given, room.VariancePreservingDiffusion(alpha=1.0), solver, minus_one_one=False
            )
            y = (problem.y / UNIT).float().expand(DRAWS, problem.rank)
            with torch.no_grad():
                x = sampler(y, physics, x_init=(DRAWS, problem.dimension))
            return UNIT * x, setting["steps"] * passes(setting)

        return draw

    steps = (50, 200, 1000)
    return {
        "deepinv, MMPS": (
            run(lambda d, s: room.MomentMatchingDataFidelity(d, cg_max_iter=s["solves"]), lambda s: 2 + s["solves"]),
            [{"steps": s, "solves": c} for s in (50, 200) for c in (3, 16)],
        ),
        "deepinv, PiGDM": (
            run(lambda d, s: room.PiGDMDataFidelity(d, cg_max_iter=16), lambda s: 2),
            [{"steps": s} for s in steps],
        ),
        "deepinv, DPS": (
            run(lambda d, s: room.DPSDataFidelity(d, s["weight"], guidance=s["guidance"]), lambda s: 2),
            [{"steps": 200, "guidance": "norm", "weight": w} for w in (3.0, 10.0, 30.0)]
            + [{"steps": s, "guidance": "annealed", "weight": 1.0} for s in (200, 1000)],
        ),
    }
