"""Log-likelihoods of mixtures by the probability-flow ODE: driftback's, torchdiffeq's and flow_matching's, one Python.

All follow exact velocities of one mixture in float64 and take the exact divergence in two dimensions; an evaluation is
a call of the velocity, whatever it costs to take its divergence. Each gets its best clock and settings for every error.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from driftback.distributions import Mixture
from driftback.evaluation.likelihood import ode_log_likelihood
from driftback.processes import EDM, VP, Diffusion
from driftback.processes.schedules import Straight
from driftback.randomness import Rng
from driftback.scores.exact import ExactDenoiser
from workers import mixtures

POINTS = 100
TOLERANCES = tuple(10.0 ** (-k / 2) for k in range(4, 17))
BEARABLE = {"max_num_steps": 600}
"""Where torchdiffeq is ended: steps of up to fourteen evaluations."""
PROBED, TRIALS = 20, 1000
"""The dimension in which Hutchinson's intervals are looked at, and how often."""


def mixture(dimension: int, seed: int) -> Mixture:
    """That of `workers.mixtures`."""
    known = mixtures.Problem(dimension, seed + 1, 1)
    axes, widths = known.axes[seed], known.widths[seed]
    return Mixture(known.weights[seed], known.means[seed], axes * widths[:, None] ** 2 @ axes.mT)


Found = tuple[Tensor, int]
"""log p (n,), and evaluations."""


def ours(prior: Mixture, x: Tensor) -> Iterator[tuple[dict, Found]]:
    denoiser = ExactDenoiser(Diffusion(EDM(1000.0), (2,), mixtures.SPREAD), prior)
    for tolerance in TOLERANCES:
        found = ode_log_likelihood(denoiser, x, spread=mixtures.SPREAD, low=1e-4, tolerance=tolerance, most=4000)
        yield {"tolerance": tolerance}, (found.nats, found.evaluations)


def _divergence(slope: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        x = x.detach().requires_grad_(True)
        v = slope(x)
        rows = [torch.autograd.grad(v[:, i].sum(), x, retain_graph=True)[0][:, i] for i in range(x.shape[1])]
    return v.detach(), torch.stack(rows).sum(0)


class Field:
    """What torchdiffeq integrates: velocity and divergence, on the clock t or log sigma; it counts its calls."""

    def __init__(self, denoiser: ExactDenoiser, logarithmic: bool) -> None:
        self.denoiser, self.logarithmic, self.spent = denoiser, logarithmic, 0

    def __call__(self, t: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        self.spent += 1
        if not self.logarithmic:
            return _divergence(lambda x: self.denoiser.velocity(x, t), state[0])
        time = self.denoiser.process.time_of(t.exp())
        return _divergence(lambda x: x - self.denoiser.denoised(x, time), state[0])


CLOCKS = {
    "VP, t": (VP(), 1e-7, 1.0),
    "straight, t": (Straight(), 1e-4, 1.0),
    "EDM, log sigma": (EDM(1000.0), math.log(5e-5), math.log(1000.0)),
}
"""Schedules that people take, and from where to where on their clocks."""


def diffeq(prior: Mixture, x: Tensor) -> Iterator[tuple[dict, Found]]:
    """torchdiffeq's adaptive rules. What law the far end has, and alpha at the start, they are told exactly."""
    from torchdiffeq import odeint

    for clock, (schedule, start, end) in CLOCKS.items():
        process, logarithmic = Diffusion(schedule, (2,), mixtures.SPREAD), clock.endswith("sigma")
        alpha = [1.0, 1.0] if logarithmic else process.alpha(torch.tensor([start, end]).double()).tolist()
        sigma = math.exp(end) if logarithmic else float(process.sigma(end))
        times = torch.tensor([start, end], dtype=torch.float64)
        for method in ("dopri5", "dopri8", "bosh3"):
            for tolerance in TOLERANCES:
                field, state = (
                    Field(ExactDenoiser(process, prior), logarithmic),
                    (alpha[0] * x, torch.zeros(len(x)).double()),
                )
                try:
                    y, gained = odeint(
                        field, state, times, rtol=tolerance, atol=tolerance, method=method, options=BEARABLE
                    )
                except Exception as error:  # a rule that fails at one tolerance says so, and the others go on
                    print(f"torchdiffeq, {method}, {clock}, {tolerance:g}: {error}", file=sys.stderr)
                    continue
                nats = prior.noised(alpha[1], sigma).log_prob(y[-1]) + gained[-1] + 2 * math.log(alpha[0])
                yield {"method": method, "clock": clock, "tolerance": tolerance}, (nats, field.spent)


def flows(prior: Mixture, x: Tensor) -> Iterator[tuple[dict, Found]]:
    """flow_matching's `compute_likelihood` along straight lines, exact divergence and one probe."""
    from flow_matching.solver import ODESolver

    denoiser = ExactDenoiser(Diffusion(Straight(), (2,), mixtures.SPREAD), prior)
    simple = torch.distributions.Independent(
        torch.distributions.Normal(torch.zeros(2).double(), torch.ones(2).double()), 1
    )

    def run(options: dict) -> Found:
        spent = 0

        class Velocity(torch.nn.Module):
            def forward(self, x: Tensor, t: Tensor, **_: object) -> Tensor:
                nonlocal spent
                spent += 1
                # Its t = 0 is noise; data are met at most 1e-5 away from t = 1, where the formula is singular.
                return -denoiser.velocity(x, (1 - t).clamp(min=1e-5))

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            # Its probes are of torch's default precision, whatever the points have.
            torch.set_default_dtype(torch.float64)
            try:
                solver = ODESolver(velocity_model=Velocity())
                _, nats = solver.compute_likelihood(x_1=x, log_p0=simple.log_prob, **options)
            finally:
                torch.set_default_dtype(torch.float32)
        return nats.detach(), spent

    for exact in (True, False):
        for method in ("dopri5", "midpoint"):
            settings = (
                [{"atol": t, "rtol": t, "step_size": None} for t in TOLERANCES]
                if method == "dopri5"
                else [{"step_size": 1 / steps} for steps in (10, 20, 50, 100, 200, 500)]
            )
            for setting in settings:
                options = {"method": method, "exact_divergence": exact} | setting
                try:
                    yield {k: v for k, v in options.items() if v is not None}, run(options)
                except Exception as error:  # likewise
                    print(f"flow_matching, {options}: {error}", file=sys.stderr)


LIBRARIES = {"driftback": ours, "torchdiffeq": diffeq, "flow_matching": flows}


def coverage() -> dict:
    """How often Hutchinson's 95 % intervals hold the exact divergence's value, and the error of one probe."""
    prior = mixture(PROBED, 0)
    x = prior.sample(TRIALS, rng=5)
    denoiser = ExactDenoiser(Diffusion(EDM(1000.0), (PROBED,), mixtures.SPREAD), prior)
    found = ode_log_likelihood(denoiser, x, spread=mixtures.SPREAD, low=1e-4, probes=8, rng=Rng(7))
    low, high = found.interval()
    truth = prior.log_prob(x)
    covered = float(((low <= truth) & (truth <= high)).double().mean())
    one = float(found.error.square().mean().sqrt()) * math.sqrt(8)
    return {"dimension": PROBED, "trials": TRIALS, "probes": 8, "covered": covered, "one probe's error": one}


def main() -> None:
    """JSON lines: an answer for every library and setting, over seeds; then the coverage."""
    task = json.loads(sys.argv[1])
    torch.set_num_threads(task["threads"])
    for seed in range(task["seeds"]):
        prior = mixture(2, seed)
        x = prior.sample(POINTS, rng=3)
        for library, run in LIBRARIES.items():
            if library != "driftback" and library not in task["libraries"]:
                continue
            try:
                for setting, (nats, spent) in run(prior, x):
                    error = float((nats - prior.log_prob(x)).abs().mean())
                    line = {"library": library, "seed": seed, "setting": setting, "error": error, "evaluations": spent}
                    print(json.dumps(line), flush=True)
            except ImportError as error:
                print(f"{library} is left out: {error}", file=sys.stderr)
    print(json.dumps({"coverage": coverage()}), flush=True)


if __name__ == "__main__":
    main()
