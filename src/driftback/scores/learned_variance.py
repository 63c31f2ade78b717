"""Improved DDPM: the network also says how wide each step back is, between the two widths that bound it.

Where a step leads back from t to s, x_s given x_t has variance v = sigma_t^2 - a^2 sigma_s^2, a = alpha_t / alpha_s, if
nothing is known of x_0, and v~ = v sigma_s^2 / sigma_t^2 if x_0 is known: beta and beta~ of DDPM. The network's second
half is mapped to a share h, and the step has Sigma = exp(h log v + (1 - h) log v~) in each coordinate (Nichol and
Dhariwal 2021, arXiv 2102.09672, equation 15; h = (output + 1) / 2 in their code). The loss is
L_simple + 0.001 L_vlb (equation 16), where L_vlb, the bound in bits per dimension over all T steps, does not reach the
mean: L_t = KL(q(x_s | x_t, x_0) || N(mu, Sigma)), and for the last step -log N(x_0; mu, Sigma).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from driftback.processes.ddpm import DiscreteChain
from driftback.scores.parametrisation import Linear
from driftback.shapes import per_item, sum_event

HYBRID = 0.001
"""What the bound counts beside the simple loss."""


def step_variances(alpha: Tensor, sigma: Tensor, alpha_s: Tensor, sigma_s: Tensor) -> tuple[Tensor, Tensor]:
    """v and v~ of the step from (alpha, sigma) back to (alpha_s, sigma_s), in their shape."""
    v = sigma**2 - (alpha / alpha_s * sigma_s) ** 2
    return v, v * (sigma_s / sigma) ** 2


def between(share: Tensor, v: Tensor, known: Tensor) -> Tensor:
    """log Sigma in the shape of `share` (n, ...) for v and v~ = `known`, () or (n,)."""
    log_v, log_known = per_item(v.log(), share), per_item(known.log(), share)
    return log_known + share * (log_v - log_known)


@dataclass(frozen=True)
class LearnedVariance:
    """Predicts what `mean` predicts, and with as many channels more the share h; trained on the steps of `chain`."""

    mean: Linear
    chain: DiscreteChain
    hybrid: float = HYBRID

    def channels(self, event: int) -> tuple[int, int]:
        return event, 2 * event

    def shown(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        return self.mean.shown(x, alpha, sigma)

    def denoised(self, output: Tensor, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        return self.mean.denoised(output[:, : x.shape[1]], x, alpha, sigma)

    def share(self, output: Tensor, x: Tensor) -> Tensor:
        """h in each coordinate, the shape of `x`; usually in [0, 1], but not kept there, as in the paper."""
        return (output[:, x.shape[1] :] + 1) / 2

    def natural(self, alpha: Tensor, sigma: Tensor) -> Tensor | None:
        """The weight of |x_0 - D|^2 in the simple loss."""
        return self.mean.natural(alpha, sigma)

    def loss(self, output: Tensor, x0: Tensor, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        simple = self.mean.loss(output[:, : x.shape[1]], x0, x, alpha, sigma)
        stopped = torch.cat([output[:, : x.shape[1]].detach(), output[:, x.shape[1] :]], 1)
        steps = len(self.chain.betas)
        bits = self.step_loss(stopped, x0, x, alpha, sigma) / math.log(2)
        return simple + self.hybrid * steps * bits

    def step_loss(self, output: Tensor, x0: Tensor, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """L_t of the chain's step that leads back from this noise level: nats, a mean over the event, (n,)."""
        steps = len(self.chain.betas)
        t = self.chain.time_of(sigma / alpha)
        s = ((t * steps).round().clamp(1, steps) - 1) / steps
        alpha_s, sigma_s = self.chain.alpha(s), self.chain.sigma(s)
        v, known = step_variances(alpha, sigma, alpha_s, sigma_s)
        last = sigma_s == 0
        log_sigma = between(self.share(output, x), v, torch.where(last, self._first_known(v), known))
        # The means of q and of the model differ by this much of x_0 - D.
        error = per_item(alpha_s * v / sigma**2, x) * (x0 - self.denoised(output, x, alpha, sigma))
        # At the last step q is a point: what is left is the density of x_0.
        width = per_item(torch.where(last, 0.0, known), x)
        entropy = per_item(torch.where(last, -math.log(2 * math.pi), known.log() + 1), x)
        each = (log_sigma + (width + error**2) * torch.exp(-log_sigma) - entropy) / 2
        return sum_event(each) / math.prod(x.shape[1:])

    def _first_known(self, like: Tensor) -> Tensor:
        """v~ of the chain's second step, which stands for that of its first, which is 0 (as in the paper's code)."""
        first, second = (torch.tensor(k / len(self.chain.betas), dtype=torch.float64) for k in (1, 2))
        chain = self.chain
        known = step_variances(chain.alpha(second), chain.sigma(second), chain.alpha(first), chain.sigma(first))[1]
        return known.to(like)
