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

import torch
from torch import Tensor

from driftback.distributions.observation import Observation
from driftback.distributions.observed import observed
from driftback.distributions.operators import Matrix
from driftback.evaluation.ranks import ranks
from driftback.processes import EDM, VP, Diffusion
from driftback.randomness import Rng
from driftback.recipes.factor import Seen
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
from workers.posterior_problems import ASKED, BATCHES, DRAWS, NOISE, TRUTHS, Draw, Joint, Problem
from workers.posterior_rivals import azulas, deepinvs


def edm(problem: Problem) -> ExactDenoiser:
    """The exact denoiser on alpha = 1."""
    return ExactDenoiser(Diffusion(EDM(80.0), (problem.dimension,), mixtures.SPREAD), problem.prior)


def start(problem: Problem, times: Tensor, denoiser: ExactDenoiser, rng: Rng) -> Tensor:
    return denoiser.process.simple_at(float(times[0])).sample(DRAWS, rng=rng).double()


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


def filled(method: str) -> Draw:
    """driftback's as `sample --method` has it, for networks."""

    def draw(problem: Problem, setting: dict, rng: Rng) -> tuple[Tensor, float]:
        denoiser = edm(problem)
        times = karras(denoiser.process, setting["steps"], low=0.004 * mixtures.SPREAD, high=160 * mixtures.SPREAD)
        way = Seen(problem.seen).ways[method](denoiser)
        frames = way(start(problem, times, denoiser, rng), times, rng=rng)
        covariance = Jacobian() if method == "mmps" else Isotropic()
        return last(frames).x, setting["steps"] * passes(problem, covariance, {"solves": 4})

    return draw


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
    "mmps, as sample has it": (filled("mmps"), [{"steps": 100}]),
    "pigdm, as sample has it": (filled("pigdm"), [{"steps": 100}]),
    "dps, as sample has it": (filled("dps"), [{"steps": 100}]),
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
