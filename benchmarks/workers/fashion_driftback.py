"""driftback on Fashion-MNIST: what `driftback fit SOURCE --minutes M` does, with nothing else said.

All that it does before the first step and after the last counts as its time: reading, fitting a mixture, measuring
speed, losses and previews.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch

import driftback as db
from driftback.recipes.fit import prepare
from driftback.recipes.model import Model
from workers.fashion import CLASSES, EACH, Task

WAYS = {
    "default": {},
    "fitted solver, no guidance": {"autoguidance": 0.0},
    "heun, 10 steps, no guidance": {"steps": 10, "autoguidance": 0.0},
    "heun, 18 steps, no guidance": {"steps": 18, "autoguidance": 0.0},
    "heun, 18 steps, autoguidance 0.5": {"steps": 18, "autoguidance": 0.5},
    "heun, 18 steps, autoguidance 1": {"steps": 18, "autoguidance": 1.0},
    "heun, 18 steps, autoguidance 2": {"steps": 18, "autoguidance": 2.0},
}


def main() -> None:
    """Do the one task on the command line, in JSON, and print what was done in one line of JSON."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    asked = json.loads(sys.argv[1])
    given = asked.pop("given", {})
    task = Task(**asked)
    torch.set_num_threads(task.threads)
    start, folder = time.perf_counter(), Path(task.out).with_suffix("")
    job = prepare(task.pictures, y="y", out=folder, minutes=task.seconds / 60, seed=task.seed, force=True, **given)
    for _ in job.run():
        pass
    job.finish()
    spent = time.perf_counter() - start
    model = db.load(folder)
    labels = [model.classes[k] for k in range(CLASSES) for _ in range(EACH)]
    drawn, seconds = {}, {}
    for name, options in WAYS.items():
        start = time.perf_counter()
        drawn[name] = model.sample(len(labels), label=labels, seed=task.seed, **options)
        seconds[name] = time.perf_counter() - start
    np.savez_compressed(Path(task.out), **drawn)
    plan = job.config.plan
    facts = {"method": job.config.method, "network": job.config.network.model_dump(), "said": job.said}
    facts |= {"parameters": _parameters(model), "steps": plan.steps, "pictures": plan.steps * plan.batch}
    facts |= {"seconds": spent, "drawing_seconds": seconds, "torch": torch.__version__, "verdict": job.verdict.text}
    print(json.dumps(facts), file=answers, flush=True)


def _parameters(model: Model) -> int:
    return sum(p.numel() for p in model.denoiser.network.parameters())


if __name__ == "__main__":
    main()
