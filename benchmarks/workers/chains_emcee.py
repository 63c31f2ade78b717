"""emcee's stretch move for benchmarks/chains.py: walkers that know of each other, and no gradients.

Draws are kept every `thin` steps. Walkers are counted as chains that are independent, which flatters them.
"""

from __future__ import annotations

import emcee
import numpy as np

from workers.chains import Asked, Clock, Ran, serve, threads
from workers.chains_targets import NUMPY, density, points, starts

THIN = {"eight-schools": 10, "gaussian": 40, "gaussian-rotated": 40, "logistic": 20}
"""Steps a draw, in the warm-up too."""


class Emcee:
    """The stretch move (Goodman and Weare 2010), on all walkers at once."""

    package = "emcee"
    counts = "densities"

    def __init__(self) -> None:
        threads()

    def check(self, target: str) -> dict:
        return {"log_prob": density(target, NUMPY)(points(target)).tolist(), "gradient": None}

    def prepare(self, asked: Asked) -> None:
        """Nothing is compiled."""

    def run(self, asked: Asked, seed: int) -> Ran:
        x, thin, warm, draw = starts(asked.target, asked.chains, seed), THIN[asked.target], Clock(), Clock()
        sampler = emcee.EnsembleSampler(asked.chains, x.shape[1], density(asked.target, NUMPY), vectorize=True)
        sampler.random_state = np.random.RandomState(seed).get_state()
        state = warm.timed(lambda: sampler.run_mcmc(x, asked.warmup * thin, store=False))
        draw.timed(lambda: sampler.run_mcmc(state, asked.draws, thin_by=thin))
        evaluations = (asked.chains * asked.warmup * thin, asked.chains * asked.draws * thin)
        return Ran(np.ascontiguousarray(sampler.get_chain().swapaxes(0, 1)), evaluations, warm, draw)


if __name__ == "__main__":
    serve(Emcee)
