"""numpyro's NUTS for benchmarks/chains.py: its kernel on all chains at once, each of which tunes its own step and mass.

The loop is that of `MCMC(chain_method="vectorized")`, written out so that compiling can be told from running.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from workers.chains import Asked, Ran, serve
from workers.chains_jax import Programs, check, jax, log_density

# Only after jax has its flags.
from numpyro.infer import NUTS  # isort: skip


@cache
def programs(asked: Asked) -> Programs:
    """Compiled, for the shapes of `asked`."""
    log_prob = log_density(asked.target)
    kernel = NUTS(potential_fn=lambda x: -log_prob(x), dense_mass=asked.metric == "dense", target_accept_prob=0.8)

    def warm(keys: Any, x: Any) -> tuple[Any, Any]:
        def move(state: Any, _: None) -> tuple[Any, Any]:
            state = kernel.sample(state, (), {})
            return state, state.num_steps.sum()

        state, steps = jax.lax.scan(move, kernel.init(keys, asked.warmup, x), length=asked.warmup)
        return state, steps.sum()

    def draw(_: Any, state: Any) -> tuple[Any, Any]:
        def move(state: Any, _: None) -> tuple[Any, Any]:
            state = kernel.sample(state, (), {})
            return state, (state.z, state.num_steps.sum())

        _, (x, steps) = jax.lax.scan(move, state, length=asked.draws)
        return x.swapaxes(0, 1), steps.sum()

    return Programs(warm, draw, asked)


class Numpyro:
    """NUTS with a diagonal or a dense mass."""

    package = "numpyro"
    counts = "gradients"

    def check(self, target: str) -> dict:
        return check(target)

    def run(self, asked: Asked, seed: int) -> Ran:
        return programs(asked).run(seed)


if __name__ == "__main__":
    serve(Numpyro)
