"""How many steps a set of items bears, and what follows from their number: warm-up, averaging, dropout, snapshots."""

from __future__ import annotations

import sys
from pathlib import Path

from torch import nn

from driftback.errors import BadInput
from driftback.networks.presets import FEW_ITEMS, dropout_of
from driftback.recipes.config import Config
from driftback.training.snapshots import MOST_BYTES, affordable

MOST_PASSES = 62
"""So often a small set of items is passed over in a time budget: held-out digits had 1.745 bits per dimension after 62
passes, and 1.77 after 80, rising from the fortieth on in their plan.
"""
LEAST_STEPS = 600


def most_steps(config: Config) -> int:
    """How many steps a time budget may plan: unlimited for many items, and for networks too small to memorise."""
    if config.network.dropout == 0 or config.items >= FEW_ITEMS:
        return sys.maxsize
    return max(LEAST_STEPS, MOST_PASSES * config.items // config.plan.batch)


def paced(config: Config, steps: int, *, fixed: bool) -> Config:
    """What follows from the number of steps: warm-up over a tenth at most, an average over about a twentieth of them,
    and, unless the network is `fixed`, dropout by the passes over the data.
    """
    rates = {"steps": steps, "warmup": min(100, max(1, steps // 10)), "ema": min(0.9995, 1 - 1 / max(10.0, steps / 20))}
    plan = config.plan.model_copy(update=rates)
    if fixed:
        return config.model_copy(update={"plan": plan})
    passes = steps * plan.batch / config.items
    dropout = dropout_of(config.preprocessing.internal_event, config.items, passes)
    network = config.network.model_copy(update={"dropout": dropout})
    return config.model_copy(update={"plan": plan, "network": network})


def with_snapshots(config: Config, network: nn.Module, asked: bool | None, folder: Path | None) -> Config:
    """The plan with as many snapshots of `network` as are kept in `folder`: where they are `asked` for, and of pictures
    when nothing is said. BadInput where they are asked for and there is no folder.
    """
    if asked and folder is None:
        raise BadInput("snapshots are kept in a model's folder; give out, or leave snapshots out")
    pictures = len(config.preprocessing.internal_event) > 1
    wanted = (pictures and folder is not None) if asked is None else asked
    count = affordable(network) if wanted else 0
    return config.model_copy(update={"plan": config.plan.model_copy(update={"snapshots": count})})


def without_snapshots(config: Config, asked: bool | None) -> list[str]:
    """A line for the person who asked for snapshots that would take too much room; none for others."""
    if not asked or config.plan.snapshots:
        return []
    return [f"no snapshots are kept: eight of this network would take more than {MOST_BYTES >> 20} MiB"]
