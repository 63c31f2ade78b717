"""A score against the oracles: its error at each noise level, whether it is a gradient, and whether it is a mean.

A score is the gradient of a log-density, so its Jacobian is symmetric. A denoiser is a conditional mean, so what it
leaves of x_0 has mean 0 and is uncorrelated with it: E (x_0 - D) = 0 and E <x_0 - D, D> = 0 (orthogonality of
regression; Vincent 2011, 'A connection between score matching and denoising autoencoders').
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from driftback.distributions.mixture import Mixture
from driftback.errors import BadInput
from driftback.evaluation.verification.check import ERRORS, Check, Verification, judged, verification
from driftback.evaluation.verification.targets import TARGET, true_score
from driftback.randomness import Rng, as_rng
from driftback.scores.denoiser import Denoiser

RATIOS = (0.02, 0.05, 0.2, 0.5, 1.0, 2.0, 10.0)
"""The noise levels sigma / alpha at which scores are compared; those outside the process's range are left out."""
ITEMS, PLACES, REGRESSED = 1000, 100, 8000
TILT, STEP = 1e-2, 1e-4


def verify_score(
    denoiser: Denoiser,
    target: Mixture = TARGET,
    *,
    tolerance: float = 0.01,
    subject: str = "score",
    rng: Rng | int | None = 0,
) -> Verification:
    """Check a denoiser of `target` (flat events) under its own process, at several noise levels.

    `tolerance` is the root mean square error of the score that passes, relative to the score's own. BadInput if the
    answer has another shape than the question or is not finite.
    """
    rng, process = as_rng(rng), denoiser.process
    low, high = float(process.ratio(0.0)), float(process.ratio(1.0))
    ratios = [ratio for ratio in RATIOS if low < ratio < high]
    if not ratios:
        raise BadInput(f"none of the noise levels {RATIOS} lies in the process's range, {low:g} to {high:g}; scale it")
    times = [float(process.time_of(ratio)) for ratio in ratios]
    checks: list[Check] = []
    for ratio, t in zip(ratios, times, strict=True):
        key = rng.child("level", round(1000 * ratio))
        checks += _level(denoiser, target, ratio, t, tolerance, key)
    checks.append(_alone(denoiser, target, times[len(times) // 2], rng.child("alone")))
    return verification(subject, "score", checks)


def _alone(denoiser: Denoiser, target: Mixture, t: float, rng: Rng) -> Check:
    """Whether what is said of a point depends on the points beside it."""
    alpha, sigma = float(denoiser.process.alpha(t)), float(denoiser.process.sigma(t))
    x = target.noised(alpha, sigma).sample(40, rng=rng)
    off = float((denoiser.denoised(x, t)[:7] - denoiser.denoised(x[:7], t)).abs().max())
    return judged("difference in another batch", off, high=1e-9, expected=0.0, n=7)


def _level(denoiser: Denoiser, target: Mixture, ratio: float, t: float, tolerance: float, rng: Rng) -> Iterator[Check]:
    alpha, sigma = float(denoiser.process.alpha(t)), float(denoiser.process.sigma(t))
    x0 = target.sample(REGRESSED, rng=rng.child("data"))
    x = alpha * x0 + sigma * rng.child("noise").normal(x0.shape, dtype=torch.float64)
    denoised = denoiser.denoised(x, t)
    if denoised.shape != x.shape:
        raise BadInput(f"points of {tuple(x.shape)} were answered by {tuple(denoised.shape)}; keep the shape")
    if not bool(torch.isfinite(denoised).all()):
        raise BadInput(f"the answer is not finite at alpha = {alpha:.4g}, sigma = {sigma:.4g}; look there")
    at = f"at sigma/alpha {ratio:g}"
    true = true_score(target, x[:ITEMS], alpha, sigma)
    ours = (alpha * denoised[:ITEMS].double() - x[:ITEMS]) / sigma**2
    off = float((ours - true).square().mean().sqrt() / true.square().mean().sqrt())
    yield judged(f"relative error {at}", off, high=tolerance, expected=0.0, n=ITEMS)
    jacobian = _jacobian(denoiser, x[:PLACES], t, alpha, sigma)
    tilt = float((jacobian - jacobian.mT).square().mean().sqrt() / jacobian.square().mean().sqrt())
    yield judged(f"asymmetry of the Jacobian {at}", tilt, high=max(TILT, tolerance), expected=0.0, n=PLACES)
    left = x0 - denoised.double()
    for name, values in (("mean of what is left", left.sum(1)), ("what is left times D", (left * denoised).sum(1))):
        error = float(values.std()) / math.sqrt(len(values))
        # A small error of the score is not told as a bias a second time: it may be this large.
        room = tolerance * sigma**2 / alpha**2 * float(true.square().sum(1).mean().sqrt()) * alpha
        size = room if name.startswith("mean") else room * float(denoised.double().square().sum(1).mean().sqrt())
        band = ERRORS * error + size
        yield judged(f"{name} {at}", float(values.mean()), -band, band, expected=0.0, error=error, n=REGRESSED)


def _jacobian(denoiser: Denoiser, x: Tensor, t: float, alpha: float, sigma: float) -> Tensor:
    """The score's Jacobian at `x` (n, d) by central differences: (n, d, d)."""
    columns = []
    for unit in torch.eye(x.shape[1], dtype=x.dtype):
        ahead, behind = (denoiser.denoised(x + way * STEP * sigma * unit, t) for way in (1, -1))
        columns.append((alpha * (ahead - behind).double() / (2 * STEP * sigma) - unit) / sigma**2)
    return torch.stack(columns, 2)
