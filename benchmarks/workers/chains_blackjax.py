"""blackjax's NUTS for benchmarks/chains.py, after `window_adaptation`: of each chain, or of one for all.

The latter is what its manual does with many chains ('Sample with multiple chains'): one chain is tuned, and all take
its step and mass, under vmap. Here all also begin where that one ended, as starts that are far out may never move at
the tuned step, and part for some moves, which are thrown away.
"""

from __future__ import annotations

from functools import cache, partial
from typing import Any

from workers.chains import Asked, Ran, serve
from workers.chains_jax import Phases, Programs, Told, check, jax, log_density

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

    def tune(key: Any, x: Any) -> Told:
        (state, tuned), told = plan.run(key, x, num_steps=asked.warmup)
        return (tuned["step_size"], tuned["inverse_mass_matrix"], state), told.info.num_integration_steps.sum()

    def walked(key: Any, state: Any, step: Any, mass: Any, moves: int) -> tuple[Any, Any, Any]:
        def move(state: Any, key: Any) -> tuple[Any, Any]:
            state, told = kernel(key, state, log_prob, step, mass)
            return state, (state.position, told.num_integration_steps)

        state, (x, steps) = jax.lax.scan(move, state, jax.random.split(key, moves))
        return state, x, steps.sum()

    def each(keys: Any, x: Any, _: Any) -> Told:
        return jax.vmap(tune)(keys, x)

    def draw_each(keys: Any, kept: Any, _: Any) -> Told:
        step, mass, state = kept
        _, x, steps = jax.vmap(partial(walked, moves=asked.draws))(keys, state, step, mass)
        return x, steps

    def settle(keys: Any, x: Any, tuned: Any) -> Told:
        step, mass, found = tuned
        state = jax.tree.map(lambda one: jax.numpy.broadcast_to(one, (len(x), *one.shape)), found)
        state, _, steps = jax.vmap(lambda key, state: walked(key, state, step, mass, asked.settle))(keys, state)
        return state, steps

    def draw(keys: Any, state: Any, tuned: Any) -> Told:
        step, mass, _ = tuned
        _, x, steps = jax.vmap(lambda key, state: walked(key, state, step, mass, asked.draws))(keys, state)
        return x, steps

    return Programs(Phases(settle, draw, tune) if asked.settle else Phases(each, draw_each), asked)


class Blackjax:
    """NUTS with a diagonal or a dense mass of each chain."""

    package = "blackjax"
    counts = "gradients"

    def check(self, target: str) -> dict:
        return check(target)

    def prepare(self, asked: Asked) -> None:
        programs(asked)

    def run(self, asked: Asked, seed: int) -> Ran:
        return programs(asked).run(seed)


if __name__ == "__main__":
    serve(Blackjax)
