"""`draw`: a density in, samples out. What is asked is looked at first; then a population is led, or chains are run.

What was drawn before a mistake, or before Ctrl-C, is kept and handed back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from driftback.arguments import near, whole
from driftback.errors import BadInput
from driftback.randomness import Rng
from driftback.recipes.density.asked import begin, dtype_of, folder_of, idle, method_for
from driftback.recipes.density.bounded import Bounded
from driftback.recipes.density.draws import Draws, as_asked
from driftback.recipes.density.fitted import source_of
from driftback.recipes.density.function import gradient_of
from driftback.recipes.density.methods import checked
from driftback.recipes.density.populations import POPULATIONS, Asked, drawn, refused
from driftback.recipes.density.problem import problem_of, starts
from driftback.recipes.density.run import Progress, Run
from driftback.recipes.density.tried import described, given_by, tried
from driftback.recipes.devices import device_named
from driftback.samplers.markov import Energy
from driftback.samplers.markov.energy import BadDensity

CHAINS, DRAWS = 16, 4000
LEAST, MOST = 150, 1000
"""Moves of the warm-up: 1,000 / sqrt(chains), but no fewer and no more."""
GLIDING = {"nuts": 60, "hmc": 60}
"""Methods whose moves are long need fewer to come in."""


def draw(
    target: Any,
    n: int = DRAWS,
    *,
    method: str = "nuts",
    shape: int | Sequence[int] | None = None,
    chains: int = CHAINS,
    warmup: int | None = None,
    thin: int = 1,
    seed: int = 0,
    start: Any = None,
    gradient: Callable[[Tensor], Tensor] | None = None,
    single: bool = False,
    scale: float | None = None,
    lower: Any = None,
    upper: Any = None,
    source: Any = None,
    check: bool = True,
    device: str | None = None,
    dtype: str | torch.dtype = "float64",
    out: str | Path | None = None,
    resume: bool = False,
    progress: Progress | None = None,
    **options: Any,
) -> Draws:
    """Draw `n` points or a few more (whole draws of all chains) from a density known up to a constant.

    `target` is a name (`driftback draw` lists them), a Python file, a model's folder, an object with `log_prob` and
    `event_shape`, or a function log_prob of points (n, *shape) -> (n,) in nats, in torch; with `single` of one point.
    Gradients are taken by torch, or given. `start` is one point or one per chain. `warmup` moves tune the step and the
    shape and are thrown away; `thin` keeps every so many-th move. With a folder as `out` the run is saved now and then,
    and `resume` goes on with it, to the same draws. Ctrl-C hands back what there is (`complete` is False). `scale` is
    how far from 0 the mass lies: there chains begin, and from a normal law as wide populations (smc, ais) are led.
    Coordinates between `lower` and `upper`, numbers or one per coordinate, are moved as their logarithms or logits.
    `source` is what refined proposes from: a fitted model, or anything with `sample` and `log_prob`. Further `options`
    are those of the method.

    Raises BadInput in one line for a density that cannot be used: where, in which chain. The draws before it are the
    error's `draws`.
    """
    problem = problem_of(target, shape=shape, single=single, scale=scale, lower=lower, upper=upper)
    whole(n, "n", 1), whole(chains, "chains", 1), whole(thin, "thin", 1), whole(seed, "seed")
    of = method_for(problem, method)
    for name in set(options) - set(of.options):
        meant = near(name, (*of.options, *ARGUMENTS)).partition(";")[0]
        raise BadInput(f"{method} has no option {name}{meant}; it takes {', '.join(of.options) or 'none'}")
    given = checked(method, of.options, of.defaults | options)
    rng, kind = Rng(seed), dtype_of(dtype)
    if gradient is not None:
        gradient = gradient_of(problem, gradient, single)
    if source is not None and method != "refined":
        raise BadInput(f"{method} proposes from no source; leave it out, or take the method refined")
    if method == "refined" and isinstance(problem.target, Bounded):
        raise BadInput("refined proposes points where they are; leave lower and upper out")
    if method in POPULATIONS:
        refused(method, out, start, kind, device)
        if check:
            x = starts(problem, 8, None, rng, torch.float64, Energy(problem.target))
            described(problem, x)
            tried(problem, x, rng, gradient or given_by(problem))
        population = Asked(problem, n, given, rng.child(method), gradient, source_of(source))
        return as_asked(drawn(method, population, progress)).noted(*idle(method, warmup, thin > 1, chains != CHAINS))
    if warmup is None:
        together = chains if given.pooled else 1
        warmup = min(MOST, max(GLIDING.get(method, LEAST), round(1000 / together**0.5)))
    folder = folder_of(out, resume)
    run = Run(
        problem,
        method,
        given,
        chains,
        -(-n // chains),
        whole(warmup, "warmup", 0),
        thin,
        int(seed),
        kind,
        device_named(device or "cpu"),
        gradient,
        start,
        check,
        folder,
    )
    if folder is not None:
        begin(folder, run, resume)
    try:
        run.go(progress)
    except KeyboardInterrupt:
        if not run.done:
            raise
    except BadDensity as error:
        error.draws = run.result() if run.done else None
        raise
    return run.result()


ARGUMENTS = tuple(name for name in signature(draw).parameters if name != "options")
