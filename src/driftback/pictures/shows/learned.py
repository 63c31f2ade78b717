"""A small network fitted in some seconds to a target in the plane, for films of what is learned.

EDM's parametrisation, noise levels and weights (Karras et al. 2022, arXiv 2206.00364, table 1), with a wider law of
noise levels, as there are only two numbers.
"""

from __future__ import annotations

from torch import Tensor

from driftback.networks.presets import NetworkSpec, build
from driftback.pictures.shows.subject import Subject
from driftback.processes.diffusion import Diffusion
from driftback.processes.schedules import EDM
from driftback.randomness import Rng
from driftback.scores.learned import LearnedDenoiser
from driftback.scores.parametrisation import predict_edm
from driftback.training.loop import State, train
from driftback.training.plan import Plan
from driftback.training.times import LogNormalRatio

POINTS, STEPS, BATCH, WIDTH, DEPTH = 4000, 600, 256, 64, 3
"""Points and steps of the training, and the network's numbers."""


def learned(about: Subject, *, rng: Rng) -> LearnedDenoiser:
    """A network fitted to `POINTS` draws of `about`, standardised; the weights follow from `rng`."""
    return learned_of(about.sample(POINTS, rng=rng.child("data")), Diffusion(EDM(), (2,), spread=1.0), rng=rng)


def learned_of(points: Tensor, process: Diffusion, *, rng: Rng) -> LearnedDenoiser:
    """A network fitted to standardised `points` (n, 2) in `STEPS` steps, for ways under `process`."""
    spec = NetworkSpec(kind="mlp", widths=(WIDTH,), depth=DEPTH, conditioning=32)
    denoiser = LearnedDenoiser(process, build(spec, 2, 2, (2,), 0, seed=rng.seed), predict_edm(1.0))
    plan = Plan(steps=STEPS, batch=BATCH, learning_rate=4e-3, warmup=50, ema=0.98, seed=rng.seed)
    state = State.start(denoiser, plan)
    for _ in train(state, points.float(), None, LogNormalRatio(-0.5, 1.4), plan):
        pass
    return state.average
