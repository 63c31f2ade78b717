"""What numpyro's and blackjax's workers share: float64, devices, compiling apart from running, and times.

On a CPU most of a vectorised tree runs on one core, so the chains may also be split over as many devices as there are
cores, as both manuals advise: each of them then runs its own share.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from workers.chains import Asked, Clock, Ran, threads

CORES = threads()
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={CORES}".strip()
os.environ["JAX_PLATFORMS"] = "cpu"

import jax  # noqa: E402 - the flags have to be set before
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

from workers.chains_targets import Space, density, points, precision, starts  # noqa: E402

jax.config.update("jax_enable_x64", True)
JAX = Space(jnp.asarray, jnp.exp, jax.nn.softplus)


def log_density(target: str) -> Callable[[Any], Any]:
    """The log-density of one point. The turned Gaussian's gradient is given, since it is a product that is there."""
    if target != "gaussian-rotated":
        return density(target, JAX)
    matrix = jnp.asarray(precision(target))

    @jax.custom_vjp
    def turned(x: Any) -> Any:
        return -(matrix @ x) @ x / 2

    def forward(x: Any) -> tuple[Any, Any]:
        pull = -(matrix @ x)
        return pull @ x / 2, pull

    turned.defvjp(forward, lambda pull, g: (g * pull,))
    return turned


def check(target: str) -> dict:
    """The log-densities and gradients of this worker at the common points."""
    value, slope = jax.vmap(jax.value_and_grad(log_density(target)))(jnp.asarray(points(target)))
    return {"log_prob": value.tolist(), "gradient": slope.tolist()}


ENOUGH = 0.5
"""Seconds that a phase has to take to be timed by one run."""
Told = tuple[Any, Any]
"""What a phase gives, and how many gradients it took."""


@dataclass(frozen=True)
class Phases:
    """The phases of a run, on keys (n,) and points (n, d) of some or all chains: `kept` is what the phase before gave.

    `tune(key, x)`, where there is one, runs one chain at `x` (d,), and all chains are given what it found; else `tuned`
    is (), and each chain tunes itself in `warm(keys, x, tuned)`. `draw(keys, kept, tuned)` gives (n, draws, d).
    """

    warm: Callable[[Any, Any, Any], Told]
    draw: Callable[[Any, Any, Any], Told]
    tune: Callable[[Any, Any], Told] | None = None


def steady(clock: Clock, program: Any, *given: Any) -> Any:
    """What a program gives. A quick one is run again, up to five times for half a second, and its mean time is added.

    Its first run, in which memory is found, is then left out.
    """
    first = Clock()
    out = first.timed(lambda: jax.block_until_ready(program(*given)))
    runs, spent = 1, first
    if first.wall < ENOUGH:
        runs, spent = 0, Clock()
        while runs < 5 and spent.wall < ENOUGH:
            spent.timed(lambda: jax.block_until_ready(program(*given)))
            runs += 1
    clock.add(spent.wall / runs, spent.cpu / runs)
    return out


class Programs:
    """Phases that are compiled for their shapes, once."""

    def __init__(self, phases: Phases, asked: Asked) -> None:
        self.asked, self.clock, self.tune, tuned = asked, Clock(), None, ()
        key, keys, _, x = self._noise(0)
        if phases.tune is not None:
            self.tune, tuned = self._compiled(jax.jit(phases.tune), key, x.reshape(-1, x.shape[-1])[0])
        spread = jax.jit if asked.devices == 1 else partial(jax.pmap, in_axes=(0, 0, None))
        self.warm, kept = self._compiled(spread(phases.warm), keys, x, tuned)
        self.draw, _ = self._compiled(spread(phases.draw), keys, kept, tuned)

    def _compiled(self, program: Any, *given: Any) -> tuple[Any, Any]:
        """The compiled program, and the shapes of what it gives."""
        lowered = self.clock.timed(lambda: program.lower(*given))
        return self.clock.timed(lowered.compile), lowered.out_info[0]

    def _noise(self, seed: int) -> tuple[Any, Any, Any, Any]:
        """A key, two for each chain, and the starts, shared out to the devices."""
        asked = self.asked
        parts = jax.random.split(jax.random.key(seed), 3)
        x = jnp.asarray(starts(asked.target, asked.chains, seed))
        given = [*(jax.random.split(part, asked.chains) for part in parts[1:]), x]
        if asked.devices > 1:
            given = [one.reshape(asked.devices, -1, *one.shape[1:]) for one in given]
        return jax.block_until_ready((parts[0], *given))

    def run(self, seed: int) -> Ran:
        """All phases with the noise and the starts of a seed."""
        warm, draw = Clock(), Clock()
        key, first, second, x = self._noise(seed)
        tuned, tuning = (), 0
        if self.tune is not None:
            tuned, tuning = steady(warm, self.tune, key, x.reshape(-1, x.shape[-1])[0])
        kept, before = steady(warm, self.warm, first, x, tuned)
        drawn, after = steady(draw, self.draw, second, kept, tuned)
        points = np.array(drawn).reshape(self.asked.chains, self.asked.draws, -1)
        compiled, self.clock = self.clock, Clock()
        return Ran(points, (int(tuning) + int(np.sum(before)), int(np.sum(after))), warm, draw, compiled)
