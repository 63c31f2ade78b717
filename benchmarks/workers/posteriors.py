"""Posterior samplers of driftback, azula and deepinv on problems whose posterior is known, under one Python.

A mixture of Gaussians seen through a matrix of some rank with noise has a mixture as its posterior. All samplers get
the same exact denoiser, in float64, and as many draws; each is judged by its sliced distance to exact draws, in units
of what exact draws have among themselves. The rivals meet data of deviation 1, which their formulas assume. Ranks of
truths among draws tell whether these are calibrated.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from driftback.distributions import Mixture
from driftback.distributions.observation import Observation
from driftback.distributions.observed import observed
from driftback.distributions.operators import Matrix
from driftback.evaluation.ranks import ranks
from driftback.processes import EDM, VP, Diffusion
from driftback.randomness import Rng
from driftback.samplers.ancestral import Ancestral
from driftback.samplers.dps import DPS
from driftback.samplers.frame import last
from driftback.samplers.grids import karras, log_snr, uniform
from driftback.samplers.heun import Heun
from driftback.samplers.multistep import Multistep
from driftback.samplers.twisted import Twisted, resampled
from driftback.scores.exact import ExactDenoiser
from driftback.scores.posterior import EXPLICIT, Isotropic, Jacobian, Posterior
from workers import mixtures

DRAWS, TRUE, DIRECTIONS = 1000, 20_000, 200
"""Draws that are judged, exact ones they are judged by, and directions of the sliced distance."""
NOISE = 0.1
"""A fifth of the data's deviation."""
FLOORS = 20
"""Sets of exact draws that tell the floor."""
TRUTHS, BATCHES, ASKED = 40, 5, 8
"""Truths that are ranked at once among DRAWS / TRUTHS draws each, how often, and in how many directions."""


@dataclass(frozen=True)
class Problem:
    """The mixture of `dimension` and `seed` (`workers.mixtures`), seen through `rank` random directions."""

    dimension: int
    rank: int
    seed: int

    @cached_property
    def prior(self) -> Mixture:
        known = mixtures.Problem(self.dimension, self.seed + 1, 1)
        axes, widths = known.axes[self.seed], known.widths[self.seed]
        return Mixture(known.weights[self.seed], known.means[self.seed], axes * widths[:, None] ** 2 @ axes.mT)

    @cached_property
    def matrix(self) -> Tensor:
        noise = Rng(self.seed).child("matrix", self.rank).normal((self.dimension, self.rank), dtype=torch.float64)
        return torch.linalg.qr(noise)[0].T.contiguous()

    @cached_property
    def y(self) -> Tensor:
        rng = Rng(self.seed).child("y", self.rank)
        x = self.prior.sample(1, rng=rng)[0]
        return self.matrix @ x + NOISE * rng.child("noise").normal((self.rank,), dtype=torch.float64)

    @cached_property
    def truth(self) -> Mixture:
        return observed(self.prior, self.matrix, self.y, NOISE)

    @cached_property
    def seen(self) -> Observation:
        return Observation(Matrix(self.matrix), self.y, NOISE, (self.dimension,))

    @cached_property
    def exact(self) -> Tensor:
        return self.sorted(self.truth.sample(TRUE, rng=99))

    @cached_property
    def directions(self) -> Tensor:
        u = Rng(1).child("directions").normal((DIRECTIONS, self.dimension), dtype=torch.float64)
        return u / u.norm(dim=1, keepdim=True)

    def sorted(self, x: Tensor) -> Tensor:
        """Projections on the directions, each in order: (directions, n)."""
        return (self.directions @ x.double().T).sort(1).values

    def distance(self, x: Tensor) -> float:
        """The sliced Wasserstein-1 distance to the exact draws."""
        mine = self.sorted(x)
        places = ((torch.arange(TRUE) + 0.5) / TRUE * mine.shape[1]).long()
        return float((mine[:, places] - self.exact).abs().mean())

    @cached_property
    def floor(self) -> float:
        """The mean of the same for exact draws."""
        return sum(self.distance(self.truth.sample(DRAWS, rng=k)) for k in range(FLOORS)) / FLOORS

    def judged(self, x: Tensor) -> dict:
        """Everything that is told of draws (n, d)."""
        truth, x = self.truth, x.double()
        mean = truth.weights @ truth.means
        covariance = torch.einsum("k,kij->ij", truth.weights, truth.covariances) + torch.einsum(
            "k,ki,kj->ij", truth.weights, truth.means - mean, truth.means - mean
        )
        scale = covariance.diagonal().sum().sqrt()
        centred = x - x.mean(0)
        found = centred.T @ centred / len(x)
        shares = truth.responsibilities(x).mean(0)
        return {
            "distance": self.distance(x) / self.floor,
            "mean": float((x.mean(0) - mean).norm() / scale),
            "spread": float((found.diagonal().sum() / covariance.diagonal().sum()).sqrt()),
            "covariance": float((found - covariance).norm() / covariance.norm()),
            "weights": float((shares - truth.weights).abs().sum() / 2),
            "finite": bool(torch.isfinite(x).all()),
        }


@dataclass(frozen=True)
class Joint(Problem):
    """`TRUTHS` draws of the prior, each seen by itself, and `DRAWS` / `TRUTHS` draws asked for after each, those of one
    truth together. `batch` tells such sets apart.
    """

    batch: int = 0

    @cached_property
    def truths(self) -> Tensor:
        return self.prior.sample(TRUTHS, rng=Rng(self.seed).child("truths", self.batch))

    @cached_property
    def ys(self) -> Tensor:
        noise = Rng(self.seed).child("ys", self.batch).normal((TRUTHS, self.rank), dtype=torch.float64)
        return self.truths @ self.matrix.T + NOISE * noise

    @cached_property
    def seen(self) -> Observation:
        y = self.ys.repeat_interleave(DRAWS // TRUTHS, 0)
        return Observation(Matrix(self.matrix), y, NOISE, (self.dimension,))


def edm(problem: Problem) -> ExactDenoiser:
    """The exact denoiser on alpha = 1."""
    return ExactDenoiser(Diffusion(EDM(80.0), (problem.dimension,), mixtures.SPREAD), problem.prior)


def start(problem: Problem, times: Tensor, denoiser: ExactDenoiser, rng: Rng) -> Tensor:
    return denoiser.process.simple_at(float(times[0])).sample(DRAWS, rng=rng).double()


Draw = Callable[[Problem, dict, Rng], tuple[Tensor, float]]
"""Draws (n, d), and evaluations of the denoiser with backward passes counted as one each."""


def passes(problem: Problem, covariance: object, setting: dict) -> int:
    """One evaluation, one backward pass, and those that A V A^T takes."""
    if not isinstance(covariance, Jacobian):
        return 2
    return 2 + (problem.rank if problem.rank <= EXPLICIT else setting["solves"])


def follow(covariance: object, sampler: str) -> Draw:
    """driftback's denoisers after an observation, by one of its samplers."""

    def draw(problem: Problem, setting: dict, rng: Rng) -> tuple[Tensor, float]:
        denoiser = edm(problem)
        times = karras(denoiser.process, setting["steps"], low=0.002, high=80.0)
        twist = Posterior(denoiser, problem.seen, covariance, setting.get("solves", 4), setting.get("until", math.inf))
        way = {"ancestral": Ancestral, "sde": lambda d: Multistep(d, 2, noise=1.0, correct=True), "heun": Heun}[sampler]
        x = last(way(twist)(start(problem, times, denoiser, rng), times, rng=rng)).x
        return x, setting["steps"] * passes(problem, covariance, setting) * (2 if sampler in ("heun", "sde") else 1)

    return draw


def smc(covariance: object) -> Draw:
    def draw(problem: Problem, setting: dict, rng: Rng) -> tuple[Tensor, float]:
        denoiser = edm(problem)
        times = log_snr(denoiser.process, setting["steps"], low=0.005, high=80.0)
        twist = Posterior(denoiser, problem.seen, covariance, setting.get("solves", 4), setting.get("until", math.inf))
        x = denoiser.process.simple_at(float(times[0])).sample(setting["particles"], rng=rng.child("start")).double()
        frame = last(Twisted(twist)(x, times, rng=rng))
        spent = setting["steps"] * passes(problem, covariance, setting) * setting["particles"] / DRAWS
        return resampled(frame, DRAWS, rng=rng.child("drawn")), spent

    return draw


def dps(problem: Problem, setting: dict, rng: Rng) -> tuple[Tensor, float]:
    denoiser = ExactDenoiser(Diffusion(VP(), (problem.dimension,), mixtures.SPREAD), problem.prior)
    times = uniform(denoiser.process, setting["steps"], end=1e-3)
    x = start(problem, times, denoiser, rng)
    x = last(DPS(denoiser, problem.seen, setting["zeta"])(x, times, rng=rng)).x
    return denoiser.denoised(x, 1e-3), 2 * setting["steps"]


UNIT = mixtures.SPREAD
"""The data's deviation, by which rivals' data are divided."""
STEPS = (50, 200)
OURS: dict[str, tuple[Draw, list[dict]]] = {
    "mmps, ancestral": (
        follow(Jacobian(), "ancestral"),
        [{"steps": s, "solves": c} for s in STEPS for c in (4, 16)] + [{"steps": 200, "solves": 16, "until": 2.0}],
    ),
    "mmps, sde": (follow(Jacobian(), "sde"), [{"steps": s, "solves": 16} for s in STEPS]),
    "mmps, heun": (follow(Jacobian(), "heun"), [{"steps": s, "solves": 16} for s in (25, 100)]),
    "pigdm, ancestral": (follow(Isotropic(), "ancestral"), [{"steps": s, "solves": 16} for s in STEPS]),
    "smc, isotropic": (
        smc(Isotropic()),
        [{"steps": s, "particles": p, "solves": 16} for s, p in ((50, 1000), (200, 4000))],
    ),
    "smc, jacobian": (
        smc(Jacobian()),
        [{"steps": s, "particles": p, "solves": 16} for s, p in ((50, 1000), (200, 1000))]
        + [{"steps": 200, "particles": 4000, "solves": 16, "until": 2.0}],
    ),
    "dps": (
        dps,
        [{"steps": 200, "zeta": z} for z in (0.1, 0.3)] + [{"steps": 1000, "zeta": z} for z in (0.03, 0.1, 0.3)],
    ),
}


def smc_each(problem: Joint, setting: dict, rng: Rng) -> tuple[Tensor, float]:
    """A cloud for each of the truths, and some of its particles."""
    denoiser, out = edm(problem), []
    times = log_snr(denoiser.process, setting["steps"], low=0.005, high=80.0)
    for i, y in enumerate(problem.ys):
        key = rng.child("truth", i)
        seen = Observation(Matrix(problem.matrix), y, NOISE, (problem.dimension,))
        x = denoiser.process.simple_at(float(times[0])).sample(setting["particles"], rng=key.child("start")).double()
        frame = last(Twisted(Posterior(denoiser, seen, Jacobian(), 16, 2.0))(x, times, rng=key))
        out.append(resampled(frame, DRAWS // TRUTHS, rng=key.child("drawn")))
    return torch.cat(out), setting["steps"] * setting["particles"]


def exactly(problem: Joint, setting: dict, rng: Rng) -> tuple[Tensor, float]:
    """Draws of the posteriors themselves."""
    laws = (observed(problem.prior, problem.matrix, y, NOISE) for y in problem.ys)
    return torch.cat([law.sample(DRAWS // TRUTHS, rng=rng.child("truth", i)) for i, law in enumerate(laws)]), 0


CALIBRATED: dict[str, tuple[Draw, dict]] = {
    "exact": (exactly, {}),
    "smc": (smc_each, {"steps": 100, "particles": 256}),
    "mmps": (follow(Jacobian(), "ancestral"), {"steps": 200, "solves": 16}),
    "pigdm": (follow(Isotropic(), "ancestral"), {"steps": 200, "solves": 16}),
    "dps": (dps, {"steps": 1000, "zeta": 0.1}),
}


def calibration(dimension: int, rank: int) -> list[dict]:
    """Whether draws of each method say the truth as often as they claim, in random directions."""
    lines = []
    for name, (draw, setting) in CALIBRATED.items():
        truths, drawn = [], []
        for batch in range(BATCHES):
            problem = Joint(dimension, rank, 0, batch)
            x, _ = draw(problem, setting, Rng(batch).child(name))
            u = problem.directions[:ASKED].T
            truths.append(problem.truths @ u)
            drawn.append((x.double() @ u).reshape(TRUTHS, DRAWS // TRUTHS, ASKED))
        found = ranks(torch.cat(truths).numpy(), torch.cat(drawn).numpy(), rng=0)
        told = {"p": found.p, "lean": found.lean, "excess": found.excess, "covered": found.covered()}
        lines.append({"d": dimension, "rank": rank, "method": name, "setting": setting} | told)
    return lines


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


def main() -> None:
    """Answer one task from the command line as JSON lines on standard output, one for each method and setting."""
    task = json.loads(sys.argv[1])
    torch.set_num_threads(task["threads"])
    methods = OURS | (azulas() | deepinvs() if task["rivals"] else {})
    for dimension, rank in task["problems"]:
        problems = [Problem(dimension, rank, seed) for seed in range(task["seeds"])]
        for name, (draw, settings) in methods.items():
            if task["methods"] and not any(part in name for part in task["methods"]):
                continue
            for setting in settings[: 1 if task["quick"] else None]:
                if name == "mmps, ancestral" and rank <= EXPLICIT and setting["solves"] < EXPLICIT:
                    continue  # nothing is solved there
                begun, rows = time.perf_counter(), []
                for problem in problems:
                    try:
                        x, spent = draw(problem, setting, Rng(problem.seed).child(name))
                        rows.append(problem.judged(x) | {"passes": spent})
                    except Exception as error:  # a rival's failure is a result, and must not end the others' run
                        rows.append({"failed": f"{type(error).__name__}: {error}"[:200]})
                line = {"d": dimension, "rank": rank, "method": name, "setting": setting, "rows": rows}
                print(json.dumps(line | {"seconds": time.perf_counter() - begun}), flush=True)
    for dimension, rank in task["calibrated"]:
        for line in calibration(dimension, rank):
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
