"""blackjax's NUTS for benchmarks/chains.py, after `window_adaptation`; vmap over chains, as in its manual."""

from __future__ import annotations

from functools import cache
from typing import Any

from workers.chains import Asked, Ran, serve
from workers.chains_jax import Programs, check, jax, log_density

# Only after jax has its flags.
import blackjax  # isort: skip
from blackjax.adaptation.base import get_filter_adapt_info_fn  # isort: skip

STEPS = get_filter_adapt_info_fn(info_keys={"num_integration_steps"})
"""All that is kept of the warm-up: keeping everything, the default, takes more memory and time."""


@cache
def programs(asked: Asked) -> Programs:
    """Compiled, for the shapes of `asked`."""
    log_prob, kernel = log_density(asked.target), blackjax.nuts.build_kernel()
    plan = blackjax.window_adaptation(
        blackjax.nuts,
        log_prob,
        is_mass_matrix_diagonal=asked.metric != "dense",
        target_acceptance_rate=0.8,
        adaptation_info_fn=STEPS,
    )

    def warm(key: Any, x: Any) -> tuple[Any, Any]:
        (state, tuned), told = plan.run(key, x, num_steps=asked.warmup)
        return (state, tuned["step_size"], tuned["inverse_mass_matrix"]), told.info.num_integration_steps.sum()

    def draw(key: Any, kept: Any) -> tuple[Any, Any]:
        state, step, mass = kept

        def move(state: Any, key: Any) -> tuple[Any, Any]:
            state, told = kernel(key, state, log_prob, step, mass)
            return state, (state.position, told.num_integration_steps)

        _, (x, steps) = jax.lax.scan(move, state, jax.random.split(key, asked.draws))
        return x, steps.sum()

    return Programs(jax.vmap(warm), jax.vmap(draw), asked)


class Blackjax:
    """NUTS with a diagonal or a dense mass of each chain."""

    package = "blackjax"
    counts = "gradients"

    def check(self, target: str) -> dict:
        return check(target)

    def run(self, asked: Asked, seed: int) -> Ran:
        return programs(asked).run(seed)


if __name__ == "__main__":
    serve(Blackjax)
