"""Improved DDPM on Gaussian data, where the best variance, the bound and the density are all known."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from driftback.processes import Cosine, DiscreteChain, betas_of
from driftback.scores.learned_variance import HYBRID, LearnedVariance, between, step_variances
from driftback.scores.parametrisation import predict_noise

SPREAD, STEPS = 0.7, 40
CHAIN = DiscreteChain(betas_of(Cosine(), STEPS))
PREDICTED = LearnedVariance(predict_noise(SPREAD), CHAIN)
NODES, WEIGHTS = (torch.from_numpy(part) for part in np.polynomial.hermite_e.hermegauss(60))
WEIGHTS = WEIGHTS / WEIGHTS.sum()


def level(k: int, chain: DiscreteChain = CHAIN) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    t, s = (torch.tensor(j / len(chain.betas), dtype=torch.float64) for j in (k, k - 1))
    return chain.alpha(t), chain.sigma(t), chain.alpha(s), chain.sigma(s)


def best_share(k: int, chain: DiscreteChain = CHAIN) -> Tensor:
    """h for which Sigma is the variance of x_s given x_t, for x_0 ~ N(0, SPREAD^2): v~ and the posterior's of x_0."""
    alpha, sigma, alpha_s, sigma_s = level(k, chain)
    # Of two jointly normal numbers: Var(x_s) - Cov(x_s, x_t)^2 / Var(x_t), Cov = a Var(x_s).
    before, now = ((a * SPREAD) ** 2 + s**2 for a, s in ((alpha_s, sigma_s), (alpha, sigma)))
    variance = before - (alpha / alpha_s * before) ** 2 / now
    v, known = step_variances(alpha, sigma, alpha_s, sigma_s)
    known = LearnedVariance(predict_noise(SPREAD), chain)._first_known(v) if k == 1 else known
    return (variance / known).log() / (v / known).log()


def grid(k: int, chain: DiscreteChain = CHAIN) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """x_0, x_t and the weight of each pair of Gauss-Hermite nodes, with alpha and sigma and the exact noise."""
    alpha, sigma, _, _ = level(k, chain)
    x0 = (SPREAD * NODES)[:, None].expand(60, 60).reshape(-1, 1)
    x = alpha * x0 + sigma * NODES[None, :].expand(60, 60).reshape(-1, 1)
    weight = (WEIGHTS[:, None] * WEIGHTS[None, :]).reshape(-1)
    noise = sigma * x / ((alpha * SPREAD) ** 2 + sigma**2)
    return x0, x, weight, alpha.expand(len(x)), sigma.expand(len(x)), noise


@pytest.mark.parametrize("k", [1, 2, 3, 17, 39, 40])
def test_the_gradient_of_the_hybrid_loss_vanishes_at_the_best_variance(k: int) -> None:
    x0, x, weight, alpha, sigma, noise = grid(k)
    half = torch.full_like(x, 2 * float(best_share(k)) - 1)
    output = torch.cat([noise, half], 1).requires_grad_(True)
    loss = (weight * PREDICTED.loss(output, x0, x, alpha, sigma)).sum()
    (slope,) = torch.autograd.grad(loss, output)
    for shift in (-0.3, 0.3):  # a minimum, and no saddle
        other = torch.cat([noise, half + shift], 1)
        assert float((weight * PREDICTED.loss(other, x0, x, alpha, sigma)).sum()) > float(loss.detach())
    # The sum over all pairs stands for the mean given each x_t, for one share is best for all of them.
    at_best = abs(float(slope[:, 1].sum()))
    # The exact noise is the mean's optimum: the simple loss alone decides it.
    assert abs(float((slope[:, 0] * x[:, 0]).sum())) < 1e-9
    # Planted faults: shares that are a little off.
    for shift in (-0.05, 0.05):
        output = torch.cat([noise, half + shift], 1).requires_grad_(True)
        loss = (weight * PREDICTED.loss(output, x0, x, alpha, sigma)).sum()
        (slope,) = torch.autograd.grad(loss, output)
        assert at_best < 1e-6 * abs(float(slope[:, 1].sum())) + 1e-15


def test_the_bound_does_not_reach_the_mean() -> None:
    """With a mean that is off, its gradient is that of the simple loss alone."""
    x0, x, _, alpha, sigma, noise = grid(9)
    output = torch.cat([noise + 0.3, torch.zeros_like(x)], 1).requires_grad_(True)
    (both,) = torch.autograd.grad(PREDICTED.loss(output, x0, x, alpha, sigma).sum(), output)
    mean = output.detach()[:, :1].clone().requires_grad_(True)
    (alone,) = torch.autograd.grad(PREDICTED.mean.loss(mean, x0, x, alpha, sigma).sum(), mean)
    assert torch.allclose(both[:, :1], alone, rtol=1e-12)
    # Planted fault: a gradient that is let through.
    (through,) = torch.autograd.grad(PREDICTED.step_loss(output, x0, x, alpha, sigma).sum(), output)
    assert float(through[:, :1].abs().max()) > 0.01


def bound(chain: DiscreteChain, share: float | None) -> float:
    """-E of the variational bound on log p(x_0), in nats: all steps, and the KL to N(0, 1) at their end."""
    predicted, total = LearnedVariance(predict_noise(SPREAD), chain), 0.0
    for k in range(1, len(chain.betas) + 1):
        x0, x, weight, alpha, sigma, noise = grid(k, chain)
        h = best_share(k, chain) if share is None else torch.tensor(share)
        output = torch.cat([noise, torch.full_like(x, 2 * float(h) - 1)], 1)
        total += float((weight * predicted.step_loss(output, x0, x, alpha, sigma)).sum())
    alpha, sigma, _, _ = level(len(chain.betas), chain)
    end = sigma**2 + (alpha * SPREAD) ** 2
    return total + float(end - 1 - (sigma**2).log()) / 2


@pytest.mark.parametrize("steps", [4, 40])
def test_the_bound_of_a_gaussian_is_its_entropy(steps: int) -> None:
    """With the best means and variances every step is the exact conditional law, so the bound on -E log p is the
    entropy and the KL of the end: at least the entropy, whatever the number of steps; with other variances more.
    """
    chain = DiscreteChain(betas_of(Cosine(), steps))
    entropy = math.log(2 * math.pi * math.e * SPREAD**2) / 2
    alpha, sigma, _, _ = level(steps, chain)
    end = float((alpha * SPREAD) ** 2 + sigma**2)
    prior = (end - 1 - math.log(end)) / 2
    assert bound(chain, None) == pytest.approx(entropy + prior, abs=1e-8)
    for share in (0.0, 0.5, 1.0):
        assert bound(chain, share) > entropy + prior + 1e-5


def test_the_loss_is_the_papers() -> None:
    """L_simple + .001 T L_t in bits per dimension, a mean over the event."""
    assert HYBRID == 0.001
    generator = torch.Generator().manual_seed(0)
    x0, noise = torch.randn(2, 5, 3, 2, generator=generator, dtype=torch.float64)
    output = torch.randn(5, 6, 2, generator=generator, dtype=torch.float64)
    alpha, sigma, alpha_s, sigma_s = level(7)
    x = alpha * x0 + sigma * noise
    many = (alpha.expand(5), sigma.expand(5))
    a, var = alpha / alpha_s, sigma**2
    v = var - (a * sigma_s) ** 2
    known = v * sigma_s**2 / var
    log_sigma = (output[:, 3:] + 1) / 2 * v.log() + (1 - output[:, 3:]) / 2 * known.log()
    means = [(a * sigma_s**2 * x + alpha_s * v * d) / var for d in (x0, (x - sigma * output[:, :3]) / alpha)]
    kl = (log_sigma - known.log() + (known + (means[0] - means[1]) ** 2) / log_sigma.exp() - 1) / 2
    wanted = ((output[:, :3] - noise) ** 2).mean((1, 2)) + 0.001 * STEPS * kl.mean((1, 2)) / math.log(2)
    assert torch.allclose(PREDICTED.loss(output, x0, x, *many), wanted, rtol=1e-9)
    assert torch.equal(PREDICTED.denoised(output, x, *many), PREDICTED.mean.denoised(output[:, :3], x, *many))
    assert torch.equal(PREDICTED.share(output, x), (output[:, 3:] + 1) / 2)
    assert PREDICTED.channels(3) == (3, 6)


def test_between_leads_from_the_one_to_the_other() -> None:
    v, known = torch.tensor([0.2, 0.4]).double(), torch.tensor([0.1, 0.05]).double()
    for share, wanted in ((0.0, known), (1.0, v), (0.5, (v * known).sqrt())):
        found = between(torch.full((2, 3), share, dtype=torch.float64), v, known).exp()
        assert torch.allclose(found, wanted[:, None].expand(2, 3))


def test_beta_and_beta_tilde() -> None:
    """v is beta_k and v~ is beta~_k = (1 - abar_{k-1}) / (1 - abar_k) beta_k of the chain (equation 10)."""
    for k in (2, 11, STEPS):
        v, known = step_variances(*level(k))
        kept = torch.exp(CHAIN.log_kept)
        assert float(v) == pytest.approx(float(CHAIN.betas[k - 1]), rel=1e-9)
        wanted = (1 - kept[k - 1]) / (1 - kept[k]) * CHAIN.betas[k - 1]
        assert float(known) == pytest.approx(float(wanted), rel=1e-9)
