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
from functools import partial

import torch
from torch import Tensor

from driftback.errors import TrainingStopped, out_of_memory
from driftback.randomness import Rng
from driftback.scores.learned import LearnedDenoiser
from driftback.shapes import per_item
from driftback.training import ema
from driftback.training.batch import Batch, batch_of
from driftback.training.drawing import DRAWINGS, Drawing
from driftback.training.items import Items
from driftback.training.optimisers import OPTIMISERS
from driftback.training.plan import Plan
from driftback.training.posthoc import PowerAverages
from driftback.training.times import TimeLaw


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
    drawing: Drawing = field(default_factory=DRAWINGS["stratified"])
    """How noise levels are drawn, and what it has learned of the losses."""
    averages: PowerAverages | None = None
    """The averages that snapshots are taken of, where the plan wants them."""
    losses: Tensor | None = None
    """The losses of the last batch, (n,), as they were counted."""

    @classmethod
    def start(cls, denoiser: LearnedDenoiser, plan: Plan) -> State:
        """The state before the first step."""
        average = replace(denoiser, network=copy.deepcopy(denoiser.network).requires_grad_(False))
        optimiser = OPTIMISERS[plan.optimiser](denoiser.network, plan)
        averages = PowerAverages(denoiser.network) if plan.snapshots else None
        return cls(denoiser, average, optimiser, drawing=DRAWINGS[plan.times](), averages=averages)


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
    x0: Tensor | Items,
    label: Tensor | None,
    law: TimeLaw,
    plan: Plan,
    *,
    cell: Tensor | None = None,
    device: torch.device | str = "cpu",
) -> Iterator[Step]:
    """Train from `state.step` to `plan.steps`, changing `state` in place and yielding after every step.

    `x0` (n, *event) and `label`, what is given with them, (n, *row), such as classes (n,), or None, are the encoded
    data, or `x0` is `Items` that know both; discrete data are spread uniformly over cells of width `cell`, () or per
    column (d,) (dequantised), unless that is None.
    Raises TrainingStopped, with a state whose loss was seen to be sane, when a loss or gradient is not finite, when the
    loss explodes (`EXPLODED`), or when not even one item fits the memory.
    """
    items = x0 if isinstance(x0, Items) else Items.of(x0, label)
    batch_at = partial(_batch_at, state, items, law, plan, cell, device)
    network, good = state.denoiser.network.train(), None
    state.average.network.eval()
    while state.step < plan.steps:
        k = state.step
        batch = batch_at(k)
        loss, norm = _attempt(state, batch, plan)
        if not _sane(state, loss, norm):
            # The batch before was sane under the weights before: if it is no longer, the last step spoilt them.
            before = batch_at(k - 1) if k else batch
            if k and _spoilt(state, before, plan):
                raise TrainingStopped(_stopped(state, batch, loss, _back(state, good)))
            if not (bool(loss.isfinite()) and bool(norm.isfinite())):
                raise TrainingStopped(_stopped(state, batch, loss, f"the state after step {k} was kept"))
            # Items far outside, in a batch that the weights are not to blame for: clipping has tamed their gradient.
            loss, norm = _attempt(state, batch, plan)
        elif good is None or k % KEPT == 0:
            good = _copy(state)
        state.optimiser.step()
        ema.update(state.average.network, network, k, plan.ema)
        if state.averages is not None:
            state.averages.update(network, k + 1)
        if batch.factor is not None and state.losses is not None:
            state.drawing.observe(batch.u, state.losses / batch.factor)
        state.step = k + 1
        if state.step == plan.steps and _spoilt(state, batch, plan):
            before = batch_at(k - 1) if k else batch
            if _spoilt(state, before, plan):
                raise TrainingStopped(_stopped(state, batch, loss, _back(state, good)))
        yield Step(k + 1, float(loss), float(norm), plan.rate(k))


EXPLODED = 100.0
"""A loss so many times 1 + spread^2 says that the training has diverged: for every parametrisation a network that knows
nothing, and answers 0, costs about that or less, whatever the data. A running mean instead would follow a slow
explosion, and stand near 0 where the data are easy.
"""
KEPT = 25
"""So often, in steps, a state whose loss was seen to be sane is kept to go back to."""


def _batch_at(
    state: State, items: Items, law: TimeLaw, plan: Plan, cell: Tensor | None, device: torch.device | str, k: int
) -> Batch:
    return batch_of(state.denoiser, state.drawing, items, law, plan, k, cell, device)


def _attempt(state: State, batch: Batch, plan: Plan) -> tuple[Tensor, Tensor]:
    """Loss and gradient norm of a batch; the clipped gradients and the step's rate are ready for the optimiser."""
    for group in state.optimiser.param_groups:
        group["lr"] = plan.rate(batch.step)
    rng = Rng(plan.seed).child("dropout", batch.step)
    options = {"told": batch.told, "weight": batch.weight}
    given = {name: value for name, value in options.items() if value is not None}
    loss = _gradients(state, batch.x, batch.y, batch.t, batch.noise, rng, **given)
    return loss, torch.nn.utils.clip_grad_norm_(state.denoiser.network.parameters(), plan.clip)


def _spoilt(state: State, batch: Batch, plan: Plan) -> bool:
    return not _sane(state, *_attempt(state, batch, plan))


def _sane(state: State, loss: Tensor, norm: Tensor) -> bool:
    return bool(loss.isfinite()) and bool(norm.isfinite()) and float(loss) <= _most(state)


def _most(state: State) -> float:
    return EXPLODED * (1 + state.denoiser.process.spread**2)


_Copy = tuple[int, dict, dict, dict, Drawing, PowerAverages | None]


def _copy(state: State) -> _Copy:
    networks = (state.denoiser.network.state_dict(), state.average.network.state_dict())
    more = (state.optimiser.state_dict(), state.drawing, state.averages)
    return state.step, *copy.deepcopy(networks), *copy.deepcopy(more)


def _back(state: State, good: _Copy | None) -> str:
    """Bring `state` back to a copy, and say so."""
    if good is None:
        return "it was no better when this run began: start again with --force"
    state.step, weights, average, moments, state.drawing, state.averages = good
    state.denoiser.network.load_state_dict(weights)
    state.average.network.load_state_dict(average)
    state.optimiser.load_state_dict(moments)
    state.history = [record for record in state.history if record["step"] <= state.step]
    return f"the state after step {state.step}, whose loss was sane, was restored"


def precision(device: torch.device) -> AbstractContextManager[object]:
    """What the network computes in while it trains: bfloat16 where torch finds it safe on a CUDA GPU, else as it is.

    Weights, losses, gradients and the average are float32 everywhere, and so is all that is computed after training.
    """
    return torch.autocast("cuda", dtype=torch.bfloat16) if device.type == "cuda" else nullcontext()


def _gradients(
    state: State,
    x: Tensor,
    y: Tensor | None,
    t: Tensor,
    noise: Tensor,
    rng: Rng,
    *,
    told: Tensor | None = None,
    weight: Tensor | None = None,
) -> Tensor:
    """Fill the gradients of the batch, in `state.parts` parts; halve the parts for good when memory runs out.

    The losses are multiplied by `weight` (n,), unless that is None, and kept in `state.losses`.
    """
    denoiser = state.denoiser
    while True:
        try:
            state.optimiser.zero_grad(set_to_none=True)
            total, losses = torch.zeros((), device=x.device), []
            # Dropout draws from torch's own stream, which is lent a seed for this step and given back untouched.
            with torch.random.fork_rng(devices=[x.device] if x.device.type == "cuda" else []):
                torch.default_generator.set_state(rng.torch_generator().get_state())
                if x.device.type == "cuda":
                    torch.cuda.set_rng_state(rng.torch_generator(x.device).get_state(), x.device)
                for part in torch.arange(len(x), device=x.device).tensor_split(state.parts):
                    alpha, sigma = denoiser.process.alpha(t[part]), denoiser.process.sigma(t[part])
                    x_t = per_item(alpha, x) * x[part] + per_item(sigma, x) * noise[part]
                    given = denoiser if y is None else replace(denoiser, label=y[part])
                    given = given if told is None else replace(given, augmented=told[part])
                    with precision(x.device):
                        output = given.output(x_t, t[part])
                    each = denoiser.parametrisation.loss(output.float(), x[part], x_t, alpha, sigma)
                    if weight is not None:
                        each = each * weight[part].to(each)
                    loss = each.sum() / len(x)
                    loss.backward()
                    total += loss.detach()
                    losses.append(each.detach())
            state.losses = torch.cat(losses)
            return total
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            if state.parts >= len(x):
                raise TrainingStopped(
                    "out of memory with a batch of one item; choose a smaller network or smaller pictures"
                ) from error
            state.parts = min(2 * state.parts, len(x))


def _stopped(state: State, batch: Batch, loss: Tensor, kept: str) -> str:
    x, t = batch.x, batch.t
    bad = "" if bool(torch.isfinite(x).all()) else "; the batch itself holds values that are not finite"
    what = "exploded" if bool(loss.isfinite()) and float(loss) > _most(state) else "is not finite"
    return (
        f"the loss {what} at step {batch.step + 1} (items {batch.index[:3].tolist()} ..., t from {float(t.min()):.3g} "
        f"to {float(t.max()):.3g}, {x.dtype}){bad}; {kept}: try a lower --learning-rate, or look for outliers with "
        "driftback check"
    )
