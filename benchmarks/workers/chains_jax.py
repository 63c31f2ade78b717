"""What numpyro's and blackjax's workers share: float64, devices, compiling apart from running, and times.

On a CPU most of a vectorised tree runs on one core, so the chains may also be split over as many devices as there are
cores, as both manuals advise: each of them then runs its own share.
"""

from __future__ import annotations

import os
from collections.abc import Callable
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


Phase = Callable[[Any, Any], tuple[Any, Any]]
"""warm(keys, x) -> (what is kept, evaluations), or draw(keys, what was kept) -> (draws (n, draws, d), evaluations)."""


class Programs:
    """A warm-up and a sampling phase, compiled once for their shapes."""

    def __init__(self, warm: Phase, draw: Phase, asked: Asked) -> None:
        self.compiled, self.asked = Clock(), asked
        self.warm, self.draw = (self._spread(phase) for phase in (warm, draw))
        keys, x = self._split(jax.random.split(jax.random.key(0), asked.chains)), self._split(starts_of(asked, 0))
        self.warm = self.compiled.timed(lambda: self.warm.lower(keys, x).compile())
        kept = self.warm(keys, x)[0] if asked.devices > 1 else None
        shapes = jax.eval_shape(warm, keys, x)[0] if kept is None else kept
        self.draw = self.compiled.timed(lambda: self.draw.lower(keys, shapes).compile())

    def _spread(self, phase: Phase) -> Any:
        return jax.jit(phase) if self.asked.devices == 1 else jax.pmap(phase)

    def _split(self, x: Any) -> Any:
        devices = self.asked.devices
        return x if devices == 1 else x.reshape(devices, len(x) // devices, *x.shape[1:])

    def run(self, seed: int) -> Ran:
        """Both phases with the noise and the starts of a seed."""
        asked, warm, draw = self.asked, Clock(), Clock()
        one, other = jax.random.split(jax.random.key(seed))
        keys = [self._split(jax.random.split(key, asked.chains)) for key in (one, other)]
        x = self._split(starts_of(asked, seed))
        jax.block_until_ready((keys, x))
        kept, before = warm.timed(lambda: jax.block_until_ready(self.warm(keys[0], x)))
        x, after = draw.timed(lambda: jax.block_until_ready(self.draw(keys[1], kept)))
        x = np.array(x).reshape(asked.chains, asked.draws, -1)  # a copy, which may be written
        compiled, self.compiled = self.compiled, Clock()
        return Ran(x, (int(np.sum(before)), int(np.sum(after))), warm, draw, compiled)


def starts_of(asked: Asked, seed: int) -> Any:
    return jnp.asarray(starts(asked.target, asked.chains, seed))
