"""A model in plain words: what it was made from, by which method, what it costs, and how far it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from driftback.errors import DamagedModel
from driftback.files import read_tensors
from driftback.networks.ladder import named
from driftback.networks.presets import cost
from driftback.recipes import buckets
from driftback.recipes import config as configs
from driftback.recipes.assembly import remaining_signal, untrained
from driftback.recipes.log import LOG, last_summary, read_log
from driftback.recipes.methods import METHODS
from driftback.recipes.stored import WEIGHTS
from driftback.training.health import Measurement, verdict


def describe(folder: Path) -> dict[str, Any]:
    """Facts about the model in `folder` by name, ready for JSON. Raises DamagedModel if there is none."""
    config = configs.read(folder)
    denoiser, prepared = untrained(config), config.preprocessing
    event = prepared.internal_event
    network = denoiser.network.requires_grad_(False)
    price = cost(network, denoiser.parametrisation.channels(event[0])[0], event, cores=torch.get_num_threads())
    log = read_log(folder / LOG)
    history = [Measurement.from_json(record) for record in log if record.get("kind") == "levels"]
    end = last_summary(folder)
    return {
        "model": str(folder),
        "data": config.name,
        "source": config.source,
        "kind": prepared.kind,
        "shape": list(prepared.event),
        "items": config.items,
        "held_out": config.held_out,
        "classes": list(prepared.classes) if config.class_counts else [],
        "buckets": buckets.by_name(config),
        "conditioned_on": [] if config.condition is None else config.condition.facts(),
        "method": config.method,
        "about": METHODS[config.method].about,
        "network": f"{config.network.kind} {'-'.join(map(str, config.network.widths))}",
        "preset": named(config.network, event, config.items) or None,
        "parameters": price.parameters,
        "flops_per_item": price.flops_per_item,
        "items_per_second_expected": price.items_per_second,
        "augment": list(config.plan.augment),
        "optimiser": config.plan.optimiser,
        "flops_of_training": 3 * price.flops_per_item * config.plan.batch * config.plan.steps,
        "steps_done": config.plan.steps if end else _steps_done(folder),
        "steps_planned": config.plan.steps,
        "seed": config.plan.seed,
        "finished": end is not None,
        "verdict": verdict(history, ended=end is not None).text,
        "bits_per_dim": end.bits_per_dim if end else None,
        "signal_to_noise_at_the_end": remaining_signal(config),
        "library": config.library,
    }


def _steps_done(folder: Path) -> int | None:
    """How many steps the weights in `folder` have seen; None if they are missing, damaged, or do not say."""
    try:
        return read_tensors(folder / WEIGHTS)[1].get("step")
    except DamagedModel:
        return None
