"""Learn once: the training loop as a generator, whose every step is a function of the plan, the data and the step's
number.

Step k takes the k-th batch of the shuffled epochs, noises it, x_t = alpha x_0 + sigma eps, and lowers
E w ||...||^2, the parametrisation's own loss (Vincent 2011; Ho et al. 2020, arXiv 2006.11239, equation 14). All
randomness of step k comes from the key (seed, "step", k), so that a resumed training repeats an undisturbed one bit for
bit.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from driftback.errors import TrainingStopped
from driftback.randomness import Rng
from driftback.scores.learned import LearnedDenoiser
from driftback.shapes import per_item
from driftback.training import ema
from driftback.training.order import batch_indices
from driftback.training.plan import Plan
from driftback.training.times import TimeLaw, stratified


@dataclass
class State:
    """A training between two steps: the denoiser being trained, its averaged twin, the optimiser, and the step's
    number.
    """

    denoiser: LearnedDenoiser
    average: LearnedDenoiser
    optimiser: torch.optim.Optimizer
    step: int = 0
    parts: int = 1
    """Into how many parts a batch is cut to fit the memory."""
    history: list[dict] = field(default_factory=list)
    """The measurements of `driftback.training.health` so far."""

    @classmethod
    def start(cls, denoiser: LearnedDenoiser, plan: Plan) -> State:
        """The state before the first step."""
        average = replace(denoiser, network=copy.deepcopy(denoiser.network).requires_grad_(False))
        # Rates of matrices are decayed towards zero, offsets and scales are not.
        matrices = [p for p in denoiser.network.parameters() if p.ndim > 1]
        vectors = [p for p in denoiser.network.parameters() if p.ndim <= 1]
        groups = [{"params": matrices, "weight_decay": plan.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
        optimiser = torch.optim.AdamW(groups, lr=plan.learning_rate, betas=(0.9, 0.99), fused=True)
        return cls(denoiser, average, optimiser)


@dataclass(frozen=True)
class Step:
    """What happened in one step."""

    number: int
    loss: float
    gradient: float
    """The gradient's norm before clipping."""
    rate: float


def train(
    state: State,
    x0: Tensor,
    label: Tensor | None,
    law: TimeLaw,
    plan: Plan,
    *,
    cell: float = 0.0,
    device: torch.device | str = "cpu",
) -> Iterator[Step]:
    """Train from `state.step` to `plan.steps`, changing `state` in place and yielding after every step.

    `x0` (n, *event) and `label` (n,) int64 or None are the encoded data; discrete data are spread
    uniformly over cells of width `cell` (dequantised) where that is not 0. Raises TrainingStopped, with the state as it
    was after the last good step, when a loss or gradient is not finite, or when not even one item fits the memory.
    """
    rng = Rng(plan.seed)
    network = state.denoiser.network.train()
    state.average.network.eval()
    while state.step < plan.steps:
        k = state.step
        index = torch.from_numpy(batch_indices(rng.child("order"), k, plan.batch, len(x0)))
        generator = rng.child("step", k).torch_generator(device)
        x = x0[index].to(device, non_blocking=True)
        y = None if label is None else label[index].to(device, non_blocking=True)
        t = law.quantile(stratified(plan.batch, generator), state.denoiser.process)
        # The strata are sorted, the batch is shuffled: no item is tied to a noise level.
        noise = torch.randn(x.shape, generator=generator, device=device, dtype=x.dtype)
        if cell:
            x = x + cell * (torch.rand(x.shape, generator=generator, device=device, dtype=x.dtype) - 0.5)
        if y is not None:
            drop = torch.rand(plan.batch, generator=generator, device=device) < plan.label_drop
            y = torch.where(drop, state.denoiser.network.classes, y)
        for group in state.optimiser.param_groups:
            group["lr"] = plan.rate(k)
        loss = _gradients(state, x, y, t, noise, rng.child("dropout", k))
        norm = torch.nn.utils.clip_grad_norm_(network.parameters(), plan.clip)
        if not (torch.isfinite(loss) and torch.isfinite(norm)):
            raise TrainingStopped(_not_finite(state, k, index, x, t))
        state.optimiser.step()
        ema.update(state.average.network, network, k, plan.ema)
        state.step = k + 1
        yield Step(k + 1, float(loss), float(norm), plan.rate(k))


def precision(device: torch.device) -> AbstractContextManager[object]:
    """What the network computes in while it trains: bfloat16 where torch finds it safe on a CUDA GPU, else as it is.

    Weights, losses, gradients and the average are float32 everywhere, and so is all that is computed after training.
    """
    return torch.autocast("cuda", dtype=torch.bfloat16) if device.type == "cuda" else nullcontext()


def _gradients(state: State, x: Tensor, y: Tensor | None, t: Tensor, noise: Tensor, rng: Rng) -> Tensor:
    """Fill the gradients of the batch, in `state.parts` parts; halve the parts for good when memory runs out."""
    denoiser = state.denoiser
    while True:
        try:
            state.optimiser.zero_grad(set_to_none=True)
            total = torch.zeros((), device=x.device)
            # Dropout draws from torch's own stream, which is lent a seed for this step and given back untouched.
            with torch.random.fork_rng(devices=[x.device] if x.device.type == "cuda" else []):
                torch.default_generator.set_state(rng.torch_generator().get_state())
                if x.device.type == "cuda":
                    torch.cuda.set_rng_state(rng.torch_generator(x.device).get_state(), x.device)
                for part in torch.arange(len(x), device=x.device).tensor_split(state.parts):
                    alpha, sigma = denoiser.process.alpha(t[part]), denoiser.process.sigma(t[part])
                    x_t = per_item(alpha, x) * x[part] + per_item(sigma, x) * noise[part]
                    given = denoiser if y is None else replace(denoiser, label=y[part])
                    with precision(x.device):
                        output = given.output(x_t, t[part])
                    loss = denoiser.parametrisation.loss(output.float(), x[part], x_t, alpha, sigma).sum() / len(x)
                    loss.backward()
                    total += loss.detach()
            return total
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not _out_of_memory(error):
                raise
            if state.parts >= len(x):
                raise TrainingStopped(
                    "out of memory with a batch of one item; choose a smaller network or smaller pictures"
                ) from error
            state.parts = min(2 * state.parts, len(x))


def _out_of_memory(error: BaseException) -> bool:
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "allocate memory" in str(error)


def _not_finite(state: State, step: int, index: Tensor, x: Tensor, t: Tensor) -> str:
    bad = "" if bool(torch.isfinite(x).all()) else "; the batch itself holds values that are not finite"
    return (
        f"the loss is not finite at step {step + 1} (items {index[:3].tolist()} ..., t from {float(t.min()):.3g} to "
        f"{float(t.max()):.3g}, {x.dtype}){bad}; the state after step {step} was kept: try a lower --learning-rate, "
        "or look for outliers with driftback check"
    )
