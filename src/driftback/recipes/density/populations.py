"""Methods that lead a population to the target: weighted particles, and log Z."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from driftback.distributions.target import Problem
from driftback.errors import BadInput
from driftback.randomness import Rng
from driftback.recipes.density.draws import Draws
from driftback.recipes.density.methods import ONE, POWER, Options, reference
from driftback.samplers.frame import Frame
from driftback.samplers.markov import (
    SMC,
    Annealed,
    Energy,
    Hamiltonian,
    Metropolis,
    Normaliser,
    Path,
    RandomWalk,
    Refined,
    normaliser,
)
from driftback.samplers.markov.energy import BadDensity

Progress = Callable[[int, int, str], None]
KEPT = 64
"""So many frames of the way are kept at most, to be played."""


@dataclass(frozen=True)
class Asked:
    """What a population is asked for: `n` particles of `problem`, its gradient if one was given, and a `source`."""

    problem: Problem
    n: int
    options: Options
    rng: Rng
    gradient: Any = None
    source: Any = None


Run = Callable[[Asked], Iterator[tuple[Frame, Energy]]]


@dataclass(frozen=True)
class Population:
    """A method by its name: `run` yields frames with log-weights, `told` its log Z from the first and the last one."""

    run: Run
    told: Callable[[Frame, Frame], Normaliser]
    about: str
    source: str
    options: tuple[str, ...] = ()
    defaults: dict[str, Any] = field(default_factory=dict)
    """What it takes where another default than that of `Options` is right for it."""


def _kernel(problem: Problem, gradient: Any, leaps: int) -> Callable[[Energy], Any]:
    """HMC of a fixed number of leapfrogs; a random walk where there is no gradient."""
    if problem.values is not None:
        raise BadInput("populations begin at a normal law, and this target takes two values; use flips or gibbs")
    energy = Energy(problem.target, gradient)
    try:
        energy.slope(reference(problem).sample(2, rng=0))
    except BadDensity as error:
        if "no gradient" not in str(error):
            raise
        return lambda inner: Metropolis(inner, RandomWalk(ONE))
    return lambda inner: Hamiltonian(inner, 0.3 * ONE, length=1e9, jitter=0.0, most=leaps)


def _smc(asked: Asked) -> Iterator[tuple[Frame, Energy]]:
    options = asked.options
    path = Path(reference(asked.problem), asked.problem.target, asked.gradient)
    kernel = _kernel(asked.problem, asked.gradient, options.leaps)
    smc = SMC(path, kernel, options.moves, swaps=options.swaps, islands=options.islands)
    n = max(2, -(-asked.n // options.islands)) * options.islands
    for frame in smc(n, evaluations=options.evaluations, rng=asked.rng):
        yield frame, path.energy


def _ais(asked: Asked) -> Iterator[tuple[Frame, Energy]]:
    options = asked.options
    path = Path(reference(asked.problem), asked.problem.target, asked.gradient)
    betas = torch.linspace(0, 1, options.rungs + 1, dtype=torch.float64) ** POWER
    annealed = Annealed(path, _kernel(asked.problem, asked.gradient, options.leaps), betas, options.moves)
    for frame in annealed(asked.n, rng=asked.rng):
        yield frame, path.energy


def _refined(asked: Asked) -> Iterator[tuple[Frame, Energy]]:
    source, event = asked.source, tuple(asked.problem.event_shape)
    if source is None:
        raise BadInput(
            "refined proposes from a source with a density; give a fitted model of such points (source=, --source RUN)"
        )
    if not all(callable(getattr(source, name, None)) for name in ("sample", "log_prob")):
        raise BadInput(f"source is a {type(source).__name__}; give a fitted model, or what has sample and log_prob")
    own = tuple(getattr(source, "event_shape", event))
    if own != event:
        raise BadInput(f"the source draws points of shape {own}, and {asked.problem.name} takes {event}; give another")
    energy, refined = Energy(asked.problem.target), Refined(source, asked.problem.target, asked.options.moves)
    for frame in replace(refined, gradient=asked.gradient)(asked.n, rng=asked.rng):
        energy.densities = energy.gradients = frame.evaluations * asked.n
        yield frame, energy


def _of_last(first: Frame, last: Frame) -> Normaliser:
    own = getattr(last, "normaliser", None)
    if own is not None:
        return own
    assert last.log_weights is not None
    return normaliser(last.log_weights)


def _of_first(first: Frame, last: Frame) -> Normaliser:
    assert first.log_weights is not None
    return normaliser(first.log_weights)


POPULATIONS: dict[str, Population] = {
    "smc": Population(
        _smc,
        _of_last,
        "tempered sequential Monte Carlo: weighed, copied and moved from a normal law to the target; log Z",
        "Del Moral, Doucet and Jasra 2006; Lee and Whiteley 2018, arXiv 1509.00394",
        ("evaluations", "moves", "leaps", "swaps", "islands"),
    ),
    "ais": Population(
        _ais,
        _of_last,
        "annealed importance sampling: the same way without copies; log Z",
        "Neal 2001, arXiv physics/9803008",
        ("rungs", "moves", "leaps"),
    ),
    "refined": Population(
        _refined,
        _of_first,
        "a learned source proposes, weights and MALA correct; k-hat says whether to trust it; log Z",
        "Vehtari et al. 2024, arXiv 1507.02646",
        ("moves",),
        {"moves": 20},
    ),
}


def refused(name: str, out: Any, start: Any, dtype: torch.dtype, device: str | None) -> None:
    """BadInput for what chains alone can be given."""
    if out is not None:
        raise BadInput(f"{name} is one population and no run of chains: it cannot be resumed; write the result")
    if start is not None or dtype != torch.float64 or device not in (None, "cpu"):
        raise BadInput(f"{name} begins by itself, in float64 on the CPU; leave start, dtype and device out")


def drawn(name: str, asked: Asked, progress: Progress | None) -> Draws:
    """The particles of the population `name`, with their weights and log Z."""
    method, began = POPULATIONS[name], time.monotonic()
    frames: list[Frame] = []
    first = frame = None
    counted: Energy | None = None
    for k, (frame, counted) in enumerate(method.run(asked), 1):  # noqa: B007 (the last ones are used)
        first = frame if first is None else first
        # Every second frame is dropped whenever there are too many.
        frames.append(frame)
        frames = frames[::2] if len(frames) > KEPT else frames
        if progress:
            progress(round(1000 * (1 - frame.t)), 1000, f"rung {k}")
    assert first is not None
    assert frame is not None
    assert counted is not None
    z = method.told(first, frame)
    notes = () if z.trusted or math.isnan(z.k_hat) else (z.verdict,)
    return Draws(
        asked.problem,
        name,
        frame.x[:, None],
        frame.log_weights,
        frame.families,
        z.log_z,
        None if math.isnan(z.error) or z.n < 2 else z.error,
        counted.densities,
        counted.gradients,
        seconds=time.monotonic() - began,
        history=(*frames, frame) if frames[-1] is not frame else tuple(frames),
        notes=notes,
        proposed=first.log_weights if name == "refined" else None,
    )
