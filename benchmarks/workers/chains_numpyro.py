"""numpyro's NUTS for benchmarks/chains.py: its kernel on all chains at once.

The loop is that of `MCMC(chain_method="vectorized")`, in which each chain tunes itself, written out so that compiling
can be told from running. What one chain has found can also be handed to a kernel that does not adapt: then all chains
begin where that one ended, and part for some moves, which are thrown away.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from workers.chains import Asked, Ran, serve
from workers.chains_jax import Phases, Programs, Told, check, jax, log_density

# Only after jax has its flags.
from numpyro.infer import NUTS  # isort: skip


@cache
def programs(asked: Asked) -> Programs:
    """Compiled, for the shapes of `asked`."""
    log_prob, kernels = log_density(asked.target), []

    def begun(**options: Any) -> NUTS:
        dense = asked.metric == "dense"
        kernels.append(NUTS(potential_fn=lambda x: -log_prob(x), dense_mass=dense, target_accept_prob=0.8, **options))
        return kernels[-1]

    def walked(kernel: NUTS, state: Any, moves: int, *, keep: bool = False) -> tuple[Any, Any, Any]:
        def move(state: Any, _: None) -> tuple[Any, Any]:
            state = kernel.sample(state, (), {})
            return state, (state.z if keep else None, state.num_steps.sum())

        state, (x, steps) = jax.lax.scan(move, state, length=moves)
        return state, x, steps.sum()

    def each(keys: Any, x: Any, _: Any) -> Told:
        kernel = begun()
        state, _, steps = walked(kernel, kernel.init(keys, asked.warmup, x), asked.warmup)
        return state, steps

    def tune(key: Any, x: Any) -> Told:
        state, steps = each(key, x, ())
        return (state.adapt_state.step_size, state.adapt_state.inverse_mass_matrix, state.z), steps

    def settle(keys: Any, x: Any, tuned: Any) -> Told:
        step, mass, found = tuned
        kernel = begun(step_size=step, inverse_mass_matrix=mass, adapt_step_size=False, adapt_mass_matrix=False)
        begin = jax.numpy.broadcast_to(found, x.shape)
        state, _, steps = walked(kernel, kernel.init(keys, 0, begin), asked.settle)
        return state, steps

    def draw(_: Any, state: Any, __: Any) -> Told:
        _, x, steps = walked(kernels[-1], state, asked.draws, keep=True)
        return x.swapaxes(0, 1), steps

    return Programs(Phases(settle, draw, tune) if asked.settle else Phases(each, draw), asked)


class Numpyro:
    """NUTS with a diagonal or a dense mass."""

    package = "numpyro"
    counts = "gradients"

    def check(self, target: str) -> dict:
        return check(target)

    def prepare(self, asked: Asked) -> None:
        programs(asked)

    def run(self, asked: Asked, seed: int) -> Ran:
        return programs(asked).run(seed)


if __name__ == "__main__":
    serve(Numpyro)
