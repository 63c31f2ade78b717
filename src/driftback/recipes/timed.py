"""A budget of minutes as a preset, a number of steps and how much is looked at, with the reasons in words.

The preset is chosen by `driftback.recipes.choice`, the steps follow from its measured speed and from
`driftback.recipes.budget`, and few items bear no more than `driftback.recipes.pace` says.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch

from driftback.networks.ladder import Asked, kinds_for
from driftback.networks.presets import Cost, cost
from driftback.recipes.assembly import bounded, untrained
from driftback.recipes.budget import plan_within
from driftback.recipes.choice import Rung, choose
from driftback.recipes.config import Config
from driftback.recipes.pace import MOST_PASSES, most_steps

BUSY = 5.0
"""A step so many times slower than expected is worth a word."""


@dataclass(frozen=True)
class Timed:
    """A config with its preset and its looks, how many steps it bears, the seconds of one, and the reasons."""

    config: Config
    steps: int
    per_step: float
    said: list[str]


def timed(
    config: Config,
    network: Asked,
    measured: Callable[[Config], float],
    *,
    minutes: float,
    held_out: int,
    preview: int,
    spent: float = 0.0,
) -> Timed:
    """What `minutes` bear. `measured` gives a config's seconds per step; of a network that a person chose, its alone.

    `held_out` items are there to look at, and a preview takes `preview` evaluations (0: there are none); `spent`
    seconds went by before the first step.
    """
    size = config.plan.batch
    made = {name: config.model_copy(update={"network": spec}) for name, spec in network.rungs.items()}
    prices = {name: _price(one) for name, one in made.items()}
    bound = bounded(config)
    plan = partial(plan_within, 60 * minutes, batch=size, held_out=held_out, preview=preview, bound=bound, spent=spent)

    def steps(rung: Rung, per_step: float) -> int:
        return min(plan(per_step)[0], most_steps(made[rung.name]))

    def limit(rung: Rung, per_step: float) -> str:
        most = most_steps(made[rung.name])
        if plan(per_step)[0] > most:
            return f"{most * size / config.items:.0f} passes, as many as so few items bear"
        return f"{minutes:g} minute{'' if minutes == 1 else 's'}"

    found = choose(
        [Rung(name, price.parameters, price.flops_per_item) for name, price in prices.items()],
        lambda rung: measured(made[rung.name]),
        lambda rung, per_step: steps(rung, per_step) * size,
        batch=size,
        items=config.preprocessing.kind,
        within=limit,
    )
    per_step, chosen = found.per_step, made[found.rung.name]
    fit, judging = plan(per_step)
    bear = steps(found.rung, per_step)
    said = [found.reason]
    if fit > bear:
        said.append(
            f"{fit} steps would fit, but so few items would be learned by heart: {MOST_PASSES} passes are "
            f"enough; --steps {fit} overrides this"
        )
    said.append(
        f"{bear} steps of {size} items, planned from {per_step * 1e3:.0f} ms per step measured here; "
        f"--steps {bear}{_again(chosen, network, found.rung.name)} repeats them exactly"
    )
    expected = size / prices[found.rung.name].items_per_second
    if per_step > BUSY * expected:
        said.append(
            f"a step takes {per_step / expected:.0f} times as long as this network's operations should: "
            "other programs may be using the machine, and fewer steps fit"
        )
    return Timed(chosen.model_copy(update={"judging": judging}), bear, per_step, said)


def _again(config: Config, network: Asked, name: str) -> str:
    """The option without which `--steps` would take another network; empty where it takes this one anyway."""
    kind, usual = config.network.kind, kinds_for(config.preprocessing.internal_event)[0]
    return f" --network {kind}-{name}" if name and (kind, name) != (usual, network.ladder.default) else ""


def _price(config: Config) -> Cost:
    denoiser, event = untrained(config), config.preprocessing.internal_event
    shown = denoiser.parametrisation.channels(event[0])[0]
    return cost(denoiser.network, shown, event, cores=torch.get_num_threads())
