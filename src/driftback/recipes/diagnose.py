"""Why a model's samples are off: each suspect is swapped for something better, and what that gains is measured.

The distance is the squared energy distance to items that were held out, 2 E|x - y| - E|x - x'| - E|y - y'| (Székely and
Rizzo 2013). With more steps on the same noise it falls by the discretisation error, from the start with the moments of
p_1 by the terminal mismatch, with the target's own score by the score's error. A gain counts where it is beyond four
standard errors and beyond what real data have from real data. Copies of training items are counted by themselves.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from driftback.errors import BadInput
from driftback.evaluation.memorisation import memorisation
from driftback.evaluation.metric import MEMORISED
from driftback.evaluation.pairwise import energy_distance
from driftback.evaluation.verification.check import FAIL, PASS, Check, Verification, judged, shown
from driftback.processes.terminal import matched_to_cloud, mismatch_by_sampling, mismatch_of_cloud
from driftback.randomness import Rng
from driftback.recipes import buckets, conditions
from driftback.recipes.evaluate import RealItems
from driftback.recipes.known_target import Known, known_target
from driftback.recipes.model import Model
from driftback.recipes.streamed import MOST_HELD, MOST_TRAIN, part_of
from driftback.samplers.frame import denoised_end, last
from driftback.samplers.heun import Heun
from driftback.scores.denoiser import Denoiser
from driftback.shapes import per_item

MORE, GROUPS, FEWEST, FEW = 8, 8, 80, 100
RATIOS = (0.05, 0.2, 0.5, 1.0, 2.0, 10.0)
"""Noise levels, sigma / alpha in units of the data's spread."""
LOOKED = 500
"""Items whose scores are compared there."""
STEPS, START, SCORE, COPIES = "discretisation", "terminal mismatch", "score error", "memorising"
REMEDIES = {
    STEPS: "take more steps",
    START: "start from the moments of the noised data, or add noise at the end of the schedule",
    SCORE: "train for longer, or with a larger network",
    COPIES: "give it more data, or train it for less long",
}


@dataclass(frozen=True)
class _Ways:
    """Encoded items (n, *event): as the model draws them, and with one thing swapped; `start` and `times` of all."""

    drawn: Tensor
    finer: Tensor
    start: Tensor
    times: Tensor
    given: Callable[[Denoiser], Denoiser]


def diagnose(
    model: Model, real: RealItems, *, n: int | None = None, steps: int | None = None, seed: int = 0, name: str = "model"
) -> Verification:
    """Draw `n` items (default 1,000 points or 256 pictures) and say, in numbers, why they are not like `real`.

    `steps` is how many the model takes (default: as when it is asked to draw). BadInput without held-out items, or for
    n < 80.
    """
    event = model.config.preprocessing.internal_event
    n = n or (1000 if len(event) == 1 else 256)
    if real.held is None or n < FEWEST:
        raise BadInput(f"a diagnosis needs held-out items and {FEWEST} samples or more; fit with --held-out")
    fresh, real = part_of(real.held, MOST_HELD), replace(real, train=part_of(real.train, MOST_TRAIN))
    encode, spread = model.config.preprocessing.encode, model.config.spread
    train, held = encode(real.train.x), encode(fresh.x)
    known, ways = known_target(model, real.train), _ways(model, n, steps, seed)
    generator = Rng(seed).child("held").generator()
    picked = generator.permutation(len(held))[:2000]
    truth = held[torch.from_numpy(picked)]
    done = buckets.told(model.config, None if fresh.bucket is None else fresh.bucket[picked[:LOOKED]], model.device)
    some = train[torch.from_numpy(generator.permutation(len(train))[: len(truth)])]
    overall = energy_distance(_flat(ways.drawn), _flat(truth), _flat(some), rng=seed)
    limit = overall.floor_high or 0.0
    checks = [judged("energy distance to held-out items", float(overall.value or 0.0), high=limit, n=n)]
    # The square of the root above is too large by the items' distances to themselves, which are 0; gains are not.
    floor = max(0.0, limit**2 - float(torch.pdist(truth.flatten(1).double()).mean()) * (1 / n + 1 / len(truth)))
    moved = (ways.finer - ways.drawn).flatten(1).double().square().mean(1)
    checks.append(_root(f"{STEPS}: items move, in spreads, with {MORE} times the steps", moved / spread**2))
    gains = {STEPS: _gain(STEPS, ways.drawn, ways.finer, truth, floor)}
    checks += [gains[STEPS], _mismatch(model, known, train, ways, seed)]
    plain = _walked(ways.given(model.denoiser), ways.start, ways.times)
    better = _walked(ways.given(model.denoiser), _matched(model, train, ways, seed), ways.times)
    gains[START] = _gain(START, plain, better, truth, floor)
    checks += [gains[START], *_score_errors(model, known, truth[:LOOKED], done, seed)]
    exact = _walked(ways.given(known.denoiser), ways.start, ways.times)
    gains[SCORE] = _gain(SCORE, plain, exact, truth, floor)
    checks.append(gains[SCORE])
    copies = memorisation(_flat(ways.drawn), _flat(train), _flat(held)).copies
    share = float(copies.value or 0.0)
    verdict = FAIL if copies.verdict == MEMORISED else PASS
    error = math.sqrt(share * (1 - share) / n)
    checks.append(Check(f"{COPIES}: {copies.name}", share, None, copies.floor_high, None, error, n, verdict))
    few = f"; {len(truth)} held-out items tell little" if len(truth) < FEW else ""
    return Verification(name, "model", tuple(checks), _concluded(checks, gains, known) + few)


def _concluded(checks: list[Check], gains: dict[str, Check], known: Known) -> str:
    exact = f"the score was compared with {known.what}"
    if checks[-1].verdict == FAIL:
        return f"largest cause: {COPIES}; {REMEDIES[COPIES]} ({exact})"
    largest = max(gains, key=lambda cause: gains[cause].value or 0.0)
    if gains[largest].verdict == FAIL:
        return f"largest cause: {largest}; {REMEDIES[largest]} ({exact})"
    if checks[0].verdict == FAIL:
        return f"the samples are off, and no single cause stands out: what is left is under the noise ({exact})"
    return f"the samples are as near as real data are, and no cause stands out ({exact})"


def _flat(x: Tensor) -> np.ndarray:
    return x.detach().cpu().flatten(1).double().numpy()


def _ways(model: Model, n: int, steps: int | None, seed: int) -> _Ways:
    fixed, block = steps or model.ways.steps, model.block
    drawn, finer, starts = [], [], []
    for first in range(0, n, block):
        count = min(block, n - first)
        frames = list(model.frames(count, seed=seed, steps=steps, first=first))
        drawn.append(frames[-1].x)
        starts.append(frames[0].x)
        finer.append(last(model.frames(count, seed=seed, steps=MORE * fixed, first=first)).x)
    frames = list(model.frames(1, seed=seed, steps=fixed))
    times = torch.tensor([frame.t for frame in frames[: fixed + 1]], dtype=torch.float64)
    rows, done = conditions.told_of(model.config, model.given(n, seed=seed), np.arange(n), model.device)

    def given(denoiser: Denoiser) -> Denoiser:
        # What is known of the target knows classes, but neither captions nor numbers, nor buckets.
        own = denoiser is model.denoiser
        asked = replace(model.denoiser, augmented=done) if own else denoiser
        return asked.given(rows) if rows is not None and (model.classes or own) else asked

    return _Ways(torch.cat(drawn), torch.cat(finer), torch.cat(starts), times, given)


def _walked(denoiser: Denoiser, start: Tensor, times: Tensor) -> Tensor:
    """By Heun's rule without churn, so that two ways differ in nothing but the score or the start."""
    return last(denoised_end(denoiser, Heun(denoiser)(start, times))).x


def _matched(model: Model, train: Tensor, ways: _Ways, seed: int) -> Tensor:
    """The same noise with the mean and covariance of the noised data."""
    t = float(ways.times[0])
    law = matched_to_cloud(model.denoiser.process, train.flatten(1), t=t)
    deviation = model.denoiser.process.simple_at(t).deviation
    white = (ways.start / deviation).flatten(1).double().cpu()
    out = law.mean + white @ torch.linalg.cholesky(law.covariance).T
    return out.reshape(ways.start.shape).to(ways.start)


def _gain(cause: str, drawn: Tensor, better: Tensor, truth: Tensor, floor: float) -> Check:
    """How much nearer to `truth` the `better` items are, over groups of items that both have in common."""
    y = truth.flatten(1).double().cpu()

    def far(x: Tensor) -> float:
        within = torch.cdist(x, x).sum() / (len(x) * (len(x) - 1))
        return float(2 * torch.cdist(x, y).mean() - within)

    pairs = zip(
        drawn.flatten(1).double().cpu().chunk(GROUPS), better.flatten(1).double().cpu().chunk(GROUPS), strict=True
    )
    gained = np.array([far(one) - far(other) for one, other in pairs])
    error = float(gained.std(ddof=1) / math.sqrt(GROUPS))
    room = max(4 * error, floor)
    return judged(
        f"{cause}: squared energy distance gained", float(gained.mean()), high=room, error=error, n=len(drawn)
    )


def _root(name: str, squares: Tensor) -> Check:
    mean = float(squares.mean())
    root = math.sqrt(mean)
    error = float(squares.std()) / math.sqrt(len(squares)) / (2 * root) if root else 0.0
    return shown(name, root, expected=0.0, error=error, n=len(squares))


def _mismatch(model: Model, known: Known, train: Tensor, ways: _Ways, seed: int) -> Check:
    process, t = model.denoiser.process, float(ways.times[0])
    start = process.simple_at(t)
    if known.mixture is None:
        left = mismatch_of_cloud(process, train[:500].double().cpu(), start, t=t)
        return shown(f"{START}: nats, an upper bound", left.nats, expected=0.0, n=len(train[:500]))
    left = mismatch_by_sampling(process.marginal(known.mixture, t), start, 20_000, rng=Rng(seed).child("kl"))
    return shown(f"{START}: nats", left.nats, expected=0.0, error=left.standard_error, n=20_000)


@torch.no_grad()
def _score_errors(model: Model, known: Known, truth: Tensor, done: Tensor | None, seed: int) -> Iterator[Check]:
    process, spread = model.denoiser.process, model.config.spread
    x0, denoiser = truth.to(model.device), replace(model.denoiser, augmented=done)
    for ratio in RATIOS:
        level = ratio * spread
        if not float(process.ratio(0.0)) < level < float(process.ratio(1.0)):
            continue
        t = process.time_of(level)
        noise = Rng(seed).child("level", round(1000 * ratio)).normal(x0.shape, dtype=x0.dtype).to(x0)
        x = per_item(process.alpha(t), x0) * x0 + per_item(process.sigma(t), x0) * noise
        off = (denoiser.denoised(x, t) - known.denoiser.denoised(x, t)).flatten(1).double().square().mean(1)
        yield _root(f"{SCORE}: of D, in spreads, at sigma/alpha {ratio:g} spreads", off.cpu() / spread**2)
