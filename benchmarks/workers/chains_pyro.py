"""Pyro's NUTS for benchmarks/chains.py: chains one after the other, as Pyro itself decides on two cores."""

from __future__ import annotations

import time
from typing import Any

import pyro
import torch
from pyro.infer import MCMC, NUTS
from torch import Tensor

from workers.chains import Asked, Clock, Ran, serve, threads
from workers.chains_targets import TORCH, density, points, starts


class Counted:
    """A potential that counts its evaluations: Pyro takes a gradient with each."""

    def __init__(self, target: str) -> None:
        self.log_prob, self.count = density(target, TORCH), 0

    def __call__(self, parameters: dict[str, Tensor]) -> Tensor:
        self.count += 1
        return -self.log_prob(parameters["x"])


class Pyro:
    """NUTS with a diagonal or a dense mass."""

    package = "pyro-ppl"
    counts = "gradients"

    def __init__(self) -> None:
        threads()
        torch.set_default_dtype(torch.float64)

    def check(self, target: str) -> dict:
        x = torch.from_numpy(points(target)).requires_grad_()
        value = density(target, TORCH)(x)
        (slope,) = torch.autograd.grad(value.sum(), x)
        return {"log_prob": value.tolist(), "gradient": slope.tolist()}

    def prepare(self, asked: Asked) -> None:
        """Nothing is compiled."""

    def run(self, asked: Asked, seed: int) -> Ran:
        pyro.set_rng_seed(seed)
        warm, draw, drawn, evaluations = Clock(), Clock(), [], [0, 0]
        for start in torch.from_numpy(starts(asked.target, asked.chains, seed)):
            potential = Counted(asked.target)
            marks: list[tuple[float, float, int]] = []

            def mark(_: Any, __: Any, stage: str, i: int, marks: list = marks, potential: Counted = potential) -> None:
                if stage.lower().startswith("warm") and i == asked.warmup - 1:
                    marks.append((time.perf_counter(), time.process_time(), potential.count))

            kernel = NUTS(potential_fn=potential, full_mass=asked.metric == "dense", target_accept_prob=0.8)
            mcmc = MCMC(
                kernel,
                num_samples=asked.draws,
                warmup_steps=asked.warmup,
                initial_params={"x": start},
                hook_fn=mark,
                disable_progbar=True,
            )
            begun = time.perf_counter(), time.process_time()
            mcmc.run()
            ended = time.perf_counter(), time.process_time()
            (between,) = marks
            warm.add(between[0] - begun[0], between[1] - begun[1])
            draw.add(ended[0] - between[0], ended[1] - between[1])
            evaluations = [evaluations[0] + between[2], evaluations[1] + potential.count - between[2]]
            drawn.append(mcmc.get_samples()["x"])
        return Ran(torch.stack(drawn).numpy(), (evaluations[0], evaluations[1]), warm, draw)


if __name__ == "__main__":
    serve(Pyro)
