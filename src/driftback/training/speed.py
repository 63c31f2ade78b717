"""How fast this machine trains: seconds per step, measured by stepping a copy, and remembered per machine.

A time budget is turned into a number of steps before the first one. The remembered figure is used again while a fresh
measurement is near it, so that two runs of one budget plan the same number of steps, and end with the same weights.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import platform
import statistics
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import torch

from driftback.files import write_text
from driftback.scores.learned import LearnedDenoiser
from driftback.training.items import Items
from driftback.training.loop import State, train
from driftback.training.plan import Plan
from driftback.training.times import TimeLaw

NEAR = 1.3
"""A fresh measurement within this factor of the remembered one does not replace it."""


def seconds_per_step(
    denoiser: LearnedDenoiser,
    items: Items,
    law: TimeLaw,
    plan: Plan,
    *,
    device: torch.device | str = "cpu",
    budget: float = 1.5,
) -> float:
    """The lower quartile of a training step's time, measured within about `budget` seconds.

    `denoiser` is left as it was. The quartile forgives what other programs take for a moment.
    """
    state = State.start(replace(denoiser, network=copy.deepcopy(denoiser.network)), plan)
    start, times = time.perf_counter(), []
    last = start
    for step in train(state, items, None, law, plan.model_copy(update={"steps": 1_000_000}), device=device):
        now = time.perf_counter()
        if step.number > 2:
            times.append(now - last)
        last = now
        # Where a step takes seconds, one has to do.
        if now - start > budget and (len(times) >= 3 or (times and now - start > 3 * budget)):
            break
    quartile = statistics.quantiles(times, n=4)[0] if len(times) > 1 else times[0]
    return remembered(_key(denoiser, items.event, plan, device), quartile)


def remembered(key: str, measured: float) -> float:
    """The figure kept under `key` if `measured` is near it, else `measured`, which is then kept."""
    path = _file()
    known: dict[str, float] = {}
    with suppress(OSError, ValueError):
        known = json.loads(path.read_text(encoding="utf-8"))
    before = known.get(key)
    if before is not None and before / NEAR < measured < before * NEAR:
        return before
    # A folder that cannot be written to costs only the memory of the figure.
    with suppress(Exception):
        write_text(path, json.dumps(known | {key: measured}, indent=1))
    return measured


def _file() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "driftback" / "speed.json"


def _key(denoiser: LearnedDenoiser, event: tuple[int, ...], plan: Plan, device: torch.device | str) -> str:
    facts = [
        platform.processor() or platform.machine(),
        platform.node(),
        torch.__version__,
        torch.get_num_threads(),
        str(device),
        plan.batch,
        plan.optimiser,
        event,
        repr(denoiser.network),
        type(denoiser.parametrisation).__name__,
    ]
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]
