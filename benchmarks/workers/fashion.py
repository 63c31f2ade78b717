"""What every library learns in the Fashion-MNIST benchmark, by the clock, and how its training is told.

A worker is one process: it reads the pictures, trains its network for so many seconds of wall-clock time, averages the
weights, draws 100 pictures of each class by each of its samplers, and writes them to one file. What a library leaves
to its user is the same for all: AdamW, a warm-up, a learning rate that falls to zero over the budget, clipping, and an
average over about a tenth of the steps.
"""

from __future__ import annotations

import copy
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from driftback.networks.presets import NetworkSpec, build

CLASSES = 10
EACH = 100
"""Pictures of each class that are judged."""
AVERAGED = 0.1
"""The share of the steps that the average of the weights reaches over."""
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


@dataclass(frozen=True)
class Task:
    """What a worker is asked: pictures and classes in an .npz, whose network, for how long, and how fast it learns."""

    pictures: str
    fresh: str
    """Others, on which the loss is measured where learning rates are tried."""
    out: str
    network: str
    seconds: float
    rate: float
    batch: int
    spec: dict
    threads: int
    seed: int = 0
    quick: bool = False
    """Whether the loss is measured and nothing drawn: where learning rates are tried."""


class Rival(Protocol):
    """What a library owes: its network, its loss, and its samplers by name."""

    package: str
    rate: float
    """The learning rate of its own example."""

    def own(self) -> nn.Module:
        """Its own class-conditional network for pictures (n, 1, 28, 28), `network(x, t, y)` as its loss calls it."""
        ...

    def adapted(self, network: nn.Module) -> nn.Module:
        """`network(x, number, label)` as this library calls a network."""
        ...

    def loss(self, network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        """Its training loss for pictures (n, 1, 28, 28) in [-1, 1] of classes (n,)."""
        ...

    def samplers(self) -> dict[str, Callable[[nn.Module, Tensor, Tensor], Tensor]]:
        """Each way from noise (n, 1, 28, 28) and classes (n,) to pictures; the best last, by trial: its own network,
        the slower one, draws by that one alone.
        """
        ...


def serve(rival: Rival) -> None:
    """Do the one task on the command line, in JSON, and print what was done in one line of JSON."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    task = Task(**json.loads(sys.argv[1]))
    torch.set_num_threads(task.threads)
    torch.manual_seed(task.seed)
    x0, y0 = _read(task.pictures)
    made = rival.own() if task.network == "own" else rival.adapted(_shared(task.spec))
    network, layout = _faster(rival, made, x0, y0, task) if task.network == "own" else (made, "channels_last")
    facts = _facts(rival, network, x0, y0)
    learned, steps, spent = _train(rival, network, x0, y0, task)
    facts |= {"steps": steps, "pictures": steps * task.batch, "seconds": spent, "memory_layout": layout}
    facts |= {"version": version(rival.package), "torch": torch.__version__}
    if task.quick:
        facts |= {"loss": _loss(rival, learned, *_read(task.fresh), task.seed)}
    else:
        drawn, seconds = _draw(rival, learned, task.seed, only_last=task.network == "own")
        np.savez_compressed(Path(task.out), **drawn)
        facts |= {"drawing_seconds": seconds}
    print(json.dumps(facts), file=answers, flush=True)


def _read(path: str) -> tuple[Tensor, Tensor]:
    with np.load(path) as arrays:
        x = torch.from_numpy(arrays["x"].astype(np.float32) / 127.5 - 1)[:, None]
        return x, torch.from_numpy(arrays["y"].astype(np.int64))


@torch.no_grad()
def _loss(rival: Rival, network: nn.Module, x: Tensor, y: Tensor, seed: int) -> float:
    """The loss on 2,000 pictures with the same noise for every learning rate."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        parts = zip(x[:2000].split(100), y[:2000].split(100), strict=True)
        return float(np.mean([float(rival.loss(network, *part)) for part in parts]))


def _shared(spec: dict) -> nn.Module:
    return build(NetworkSpec.model_validate(spec), 1, 1, (1, 28, 28), CLASSES)


def _faster(rival: Rival, network: nn.Module, x0: Tensor, y0: Tensor, task: Task) -> tuple[nn.Module, str]:
    """The network in the memory layout that is faster for it here, whatever its documentation says."""
    seconds = {}
    for name, layout in LAYOUTS.items():
        trial = copy.deepcopy(network).to(memory_format=layout)
        times = []
        for _ in range(4):
            start = time.perf_counter()
            rival.loss(trial, x0[: task.batch], y0[: task.batch]).backward()
            times.append(time.perf_counter() - start)
        seconds[name] = min(times)
    best = min(seconds, key=lambda name: seconds[name])
    return network.to(memory_format=LAYOUTS[best]), best


def _facts(rival: Rival, network: nn.Module, x0: Tensor, y0: Tensor) -> dict:
    network.eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        rival.loss(network, x0[:1], y0[:1])
    return {
        "parameters": sum(p.numel() for p in network.parameters()),
        "flops_per_picture": counter.get_total_flops(),
    }


def _train(rival: Rival, network: nn.Module, x0: Tensor, y0: Tensor, task: Task) -> tuple[nn.Module, int, float]:
    """The averaged network after `task.seconds`, its steps, and the seconds that they took.

    The learning rate follows the clock: a warm-up over the first 5 %, and a fall to zero over the last 70 %.
    """
    network.train()
    average = copy.deepcopy(network).requires_grad_(False)
    optimiser = torch.optim.AdamW(network.parameters(), lr=task.rate, betas=(0.9, 0.99), fused=True)
    now, mean = [p.detach() for p in network.parameters()], list(average.parameters())
    start, k, share = time.perf_counter(), 0, 0.0
    while share < 1:
        index = torch.randint(len(x0), (task.batch,))
        optimiser.zero_grad(set_to_none=True)
        rival.loss(network, x0[index], y0[index]).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        for group in optimiser.param_groups:
            group["lr"] = task.rate * min(1.0, share / 0.05, (1 - share) / 0.7)
        optimiser.step()
        share = (time.perf_counter() - start) / task.seconds
        # The length of the average is known in steps: by their number so far and the share of the time they took.
        decay = min(1 - share / (AVERAGED * (k + 1)), (1 + k) / (10 + k))
        torch._foreach_lerp_(mean, now, 1 - max(0.0, decay))
        k += 1
    for buffer, last in zip(average.buffers(), network.buffers(), strict=True):
        buffer.copy_(last)
    return average.eval(), k, time.perf_counter() - start


@torch.no_grad()
def _draw(
    rival: Rival, network: nn.Module, seed: int, *, only_last: bool
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """The pictures of each sampler, uint8 (n, 28, 28), and the seconds that it took."""
    y = torch.arange(CLASSES).repeat_interleave(EACH)
    noise = torch.randn(len(y), 1, 28, 28, generator=torch.Generator().manual_seed(seed))
    drawn, seconds = {}, {}
    for name, way in list(rival.samplers().items())[-1 if only_last else 0 :]:
        start = time.perf_counter()
        x = torch.cat([way(network, *part) for part in zip(noise.split(EACH), y.split(EACH), strict=True)])
        seconds[name] = time.perf_counter() - start
        drawn[name] = ((x.clamp(-1, 1) + 1) * 127.5).round().byte()[:, 0].numpy()
    return drawn, seconds
