"""A worker: builds what a task names, does the work under a clock, answers with one line of JSON per task.

All objects are built and warmed up before the clock starts. The process stays alive between rounds, so that no round
pays for imports, memory pools or the first call of a convolution.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from workers.cases import CASES, SAMPLES, Case, Identity, pictures

T = TypeVar("T")
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
Step = Callable[[], float]
"""One training step; gives its loss."""


class Library(Protocol):
    """What a library owes: networks as it calls them, its training step, and its samplers."""

    package: str
    ema: str
    layouts: tuple[str, ...]
    """The memory layouts in which its own U-Net is tried."""

    def own(self, case: Case) -> nn.Module:
        """The library's U-Net of about the size of the shared one."""
        ...

    def adapted(self, network: nn.Module) -> nn.Module:
        """`network(x, number)` as this library calls a network."""
        ...

    def forward_once(self, network: nn.Module, x: Tensor) -> Tensor:
        """One call of a network, for counting its operations."""
        ...

    def training(self, network: nn.Module, x0: Tensor, batch: int) -> Step:
        """A training on `x0` that has not started."""
        ...

    def walk(self, network: nn.Module, x: Tensor, steps: int, sampler: str) -> Tensor | None:
        """From noise `x` to pictures in `steps` steps of a sampler by driftback's name; None where not offered."""
        ...


class Training:
    """The training step that a library leaves to its user, as lean as torch allows: clip, fused AdamW, averaging.

    `loss(x)` is the library's own. `average(network)` gives a function that is called after every step.
    """

    def __init__(
        self,
        network: nn.Module,
        x0: Tensor,
        batch: int,
        loss: Callable[[Tensor], Tensor],
        average: Callable[[nn.Module], Callable[[], None]],
    ) -> None:
        self.network, self.x0, self.batch, self.loss = network.train(), x0, batch, loss
        self.optimiser = torch.optim.AdamW(network.parameters(), lr=2e-4, fused=True)
        self.average = average(network)

    def __call__(self) -> float:
        x = self.x0[torch.randint(len(self.x0), (self.batch,))]
        self.optimiser.zero_grad(set_to_none=True)
        loss = self.loss(x)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimiser.step()
        self.average()
        return float(loss.detach())


def foreach_average(network: nn.Module, decay: float = 0.999) -> Callable[[], None]:
    """The fastest exponential average that torch has, for libraries that ship none."""
    now = [p.detach() for p in network.parameters()]
    mean = [p.clone() for p in now]
    return lambda: torch._foreach_lerp_(mean, now, 1 - decay)


class Bench:
    """The networks and trainings of one library, built once each."""

    def __init__(self, library: Library) -> None:
        self.library = library
        self.networks: dict[tuple[str, str], nn.Module] = {}
        self.trainings: dict[tuple[str, str], Step] = {}
        self.facts: dict[str, dict] = {}

    def network(self, case: str, kind: str) -> nn.Module:
        if (case, kind) not in self.networks:
            self.networks[case, kind] = self._built(case, kind)
        return self.networks[case, kind]

    def _built(self, case: str, kind: str) -> nn.Module:
        if kind == "none":
            return self.library.adapted(Identity())
        if kind == "same":
            network = self.library.adapted(CASES[case].network())
            self._note(case, kind, network, "channels_last")
            return network
        # A rival's U-Net gets the memory layout that is faster for it here, whatever its documentation says.
        layouts = {name: LAYOUTS[name] for name in self.library.layouts}
        built = {name: self.library.own(CASES[case]).to(memory_format=layout) for name, layout in layouts.items()}
        x0 = pictures(CASES[case])
        steps = {name: self.library.training(n, x0, CASES[case].batch) for name, n in built.items()}
        for step in steps.values():
            _timed(step, 2)
        seconds: dict[str, list[float]] = {name: [] for name in steps}
        for _, (name, step) in itertools.product(range(3), steps.items()):
            seconds[name].append(_timed(step, 2))
        best = min(seconds, key=lambda name: min(seconds[name]))
        self._note(case, kind, built[best], best)
        return built[best]

    def _note(self, case: str, kind: str, network: nn.Module, layout: str) -> None:
        training = network.training
        network.eval()
        x = torch.zeros(1, 1, CASES[case].side, CASES[case].side)
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            self.library.forward_once(network, x)
        network.train(training)
        parameters = sum(p.numel() for p in network.parameters())
        facts = {"parameters": parameters, "flops_per_picture": counter.get_total_flops(), "memory_layout": layout}
        self.facts[f"{case} {kind}"] = facts

    def train(self, case: str, kind: str, steps: int) -> dict:
        """Seconds per training step, and the last loss."""
        if (case, kind) not in self.trainings:
            network, x0 = self.network(case, kind), pictures(CASES[case])
            self.trainings[case, kind] = self.library.training(network, x0, CASES[case].batch)
            _timed(self.trainings[case, kind], 3)
        self.network(case, kind).train()
        loss, times = _clocked(lambda: [self.trainings[case, kind]() for _ in range(steps)][-1], steps)
        return times | {"loss": loss, "finite": math.isfinite(loss)}

    @torch.no_grad()
    def sample(self, case: str, kind: str, steps: int, sampler: str) -> dict:
        """Seconds per sampling step of 64 pictures, and whether pictures came out; nothing where not offered."""
        network = self.network(case, kind).eval()
        side = CASES[case].side
        x = torch.randn(SAMPLES, 1, side, side, generator=torch.Generator().manual_seed(0))
        if self.library.walk(network, x, 4, sampler) is None:
            return {}
        out, times = _clocked(lambda: self.library.walk(network, x, steps, sampler), steps)
        return times | {"finite": out is not None and out.shape == x.shape and bool(torch.isfinite(out).all())}


def _timed(step: Step, times: int) -> float:
    start = time.perf_counter()
    for _ in range(times):
        step()
    return time.perf_counter() - start


def _clocked(work: Callable[[], T], steps: int) -> tuple[T, dict[str, float]]:
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    return result, {"wall": (time.perf_counter() - wall) / steps, "cpu": (time.process_time() - cpu) / steps}


def serve(library: Library) -> None:
    """Answer tasks from standard input until it ends; what libraries print goes to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    torch.set_num_threads(int(sys.argv[1]))
    bench = Bench(library)
    acts: dict[str, Callable[..., dict]] = {
        "hello": lambda: {"version": version(library.package), "torch": torch.__version__, "ema": library.ema},
        "facts": lambda: bench.facts,
        "train": bench.train,
        "sample": bench.sample,
    }
    for line in sys.stdin:
        task = json.loads(line)
        print(json.dumps(acts[task.pop("act")](**task)), file=answers, flush=True)
