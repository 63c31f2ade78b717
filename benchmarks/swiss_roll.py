"""The first diffusion model's swiss roll by its own recipe, and how far its bound K lies under the exact density.

A chain of 40 Gaussian steps whose betas are learned; reverse steps whose means and diagonal variances are read, by a
layer for each step, off 16 radial functions that all steps share (Sohl-Dickstein et al. 2015, arXiv 1503.03585,
appendix D.1.1); trained on K itself (equation 14). Beside it the exact scores on the same chain and on ones that are
even in the log of the noise, of more and more steps: what the network loses and what the steps do. See
docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import torch
from torch import Tensor, nn
from workers.environment import HERE
from workers.machine import machine

from driftback.distributions.shapes2d import NoisyCurves, swiss_roll
from driftback.evaluation.entropy_bound import entropy_bound
from driftback.processes import EDM, Diffusion, DiscreteChain
from driftback.samplers.grids import log_snr
from driftback.scores.denoiser import Denoiser
from driftback.shapes import as_time

STEPS, UNITS, BATCH = 40, 16, 512
FIRST = 1e-3
"""beta_1, which he kept small and fixed."""
FRESH = 20_000
"""Draws that K is a mean of."""
BITS = math.log(2)


class Roll:
    """The swiss roll brought to variance 1, with its density and its exact denoisers."""

    def __init__(self) -> None:
        self.curve: NoisyCurves = swiss_roll()
        some = self.curve.sample(1_000_000, rng=99)
        self.mean, self.scale = some.mean(0), float(some.var(0).mean().sqrt())

    def sample(self, n: int, seed: int) -> Tensor:
        return (self.curve.sample(n, rng=seed) - self.mean) / self.scale

    def log_prob(self, x: Tensor) -> Tensor:
        return self.curve.log_prob(x * self.scale + self.mean) + 2 * math.log(self.scale)

    def denoiser(self, process: Diffusion) -> Denoiser:
        """By the quadrature that the density is computed by: it is a mixture of round Gaussians itself."""
        places, log_weights = self.curve._quadrature
        return Round(process, (places - self.mean) / self.scale, log_weights, (self.curve.deviation / self.scale) ** 2)


@dataclass(frozen=True, eq=False)
class Round(Denoiser):
    """E[x_0 | x_t] of sum_k w_k N(m_k, v I): the sum over k that a mixture of any covariances takes longer for."""

    process: Diffusion
    places: Tensor
    log_weights: Tensor
    variance: float

    def denoised(self, x: Tensor, t: float | Tensor) -> Tensor:
        t = as_time(t, x)
        alpha, sigma = (part.reshape(-1, 1) for part in (self.process.alpha(t), self.process.sigma(t)))
        y, noise = x / alpha, (sigma / alpha) ** 2
        far = torch.cdist(y, self.places) ** 2
        mean = (self.log_weights - far / (2 * (self.variance + noise))).softmax(1) @ self.places
        return (noise * mean + self.variance * y) / (self.variance + noise)


class Reverse(nn.Module):
    """Betas, and the means and variances of p(x_(t-1) | x_t)."""

    def __init__(self) -> None:
        super().__init__()
        g = torch.Generator().manual_seed(0)
        self.centres = nn.Parameter(1.2 * torch.randn(UNITS, 2, generator=g))
        self.widths = nn.Parameter(torch.zeros(UNITS))
        self.mean = nn.Parameter(torch.zeros(STEPS, UNITS + 1, 2))
        self.spread = nn.Parameter(torch.zeros(STEPS, UNITS + 1, 2))
        # His start: betas that erase a constant share of the signal in each step.
        self.rates = nn.Parameter(torch.tensor([math.log(1 / (STEPS - t + 1)) for t in range(2, STEPS + 1)]))

    def log_kept(self) -> Tensor:
        """log(1 - beta_t) of steps 1 to T, (T,)."""
        # A beta of 1 or 0 has no logit.
        rest = -nn.functional.softplus(self.rates).clamp(1e-5, 8.0)
        return torch.cat([torch.tensor([math.log1p(-FIRST)]), rest])

    def step(self, x: Tensor, t: Tensor, kept: Tensor, beta: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of p(x_(t-1) | x_t = x), (n, 2) each; `t` (n,) from 1."""
        far = ((x[:, None] - self.centres) ** 2).sum(2)
        unit = torch.cat([torch.exp(-far / (2 * torch.exp(2 * self.widths))), torch.ones(len(x), 1)], 1)
        mean = kept.sqrt()[:, None] * x + torch.einsum("nu,nud->nd", unit, self.mean[t - 1])
        # Where nothing is said yet the variance is beta itself: a sigmoid of what is read off, moved by beta's logit.
        logit = (beta / (1 - beta)).log()[:, None] + torch.einsum("nu,nud->nd", unit, self.spread[t - 1])
        return mean, nn.functional.logsigmoid(logit)

    def bound(self, x0: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """K's contribution in nats, (n,), by one step `t` (n,) in 2 to T for each of `x0` (n, 2), times T - 1."""
        logs = self.log_kept()
        # Steps that change nothing but noise wander: the root of a signal that underflows has no gradient.
        total = logs.cumsum(0).clamp(min=-40.0)
        kept, before, now = logs[t - 1].exp(), total[t - 2].exp(), total[t - 1].exp()
        beta = 1 - kept
        x = now.sqrt()[:, None] * x0 + (1 - now).sqrt()[:, None] * noise
        centre = ((before.sqrt() * beta)[:, None] * x0 + (kept.sqrt() * (1 - before))[:, None] * x) / (1 - now)[:, None]
        variance = (beta * (1 - before) / (1 - now))[:, None]
        mean, log_variance = self.step(x, t, kept, beta)
        kl = (log_variance - variance.log() + (variance + (centre - mean) ** 2) / log_variance.exp() - 1).sum(1) / 2
        return self.ends() - (STEPS - 1) * kl

    def ends(self) -> Tensor:
        """H(X_T | X_0) - H(X_1 | X_0) - H_p(X_T), two numbers each."""
        last = self.log_kept().sum()
        own, first, simple = torch.log1p(-last.exp()), math.log(FIRST), 0.0
        # Each is log(2 pi e v); one more of them is taken away than given. Of x_0, not of sqrt(1 - beta_1) x_0 + noise.
        return own - first - simple - math.log(2 * math.pi * math.e) + math.log1p(-FIRST)


def learned(roll: Roll, steps: int, seed: int = 0) -> tuple[Reverse, float, float]:
    """A chain after so many steps of training, K in nats over fresh draws and its standard error."""
    torch.manual_seed(seed)
    reverse = Reverse()
    optimiser = torch.optim.Adam(reverse.parameters(), lr=1e-2)
    data = roll.sample(100_000, 1).float()
    for k in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = 1e-2 * (1 - k / steps)
        x0 = data[torch.randint(len(data), (BATCH,))]
        t = 2 + (torch.rand(BATCH) * (STEPS - 1)).long()
        loss = -reverse.bound(x0, t, torch.randn(BATCH, 2)).mean()
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(reverse.parameters(), 10.0)
        optimiser.step()
        if k % 5000 == 0:
            print(f"step {k}: {-float(loss.detach()):.3f} nats", file=sys.stderr, flush=True)
    fresh = roll.sample(FRESH, 2).float()
    with torch.no_grad():
        each = torch.stack(
            [reverse.bound(fresh, torch.full((FRESH,), t), torch.randn(FRESH, 2)) for t in range(2, STEPS + 1)]
        )
    # The mean over t of (ends - 39 kl_t) is ends - sum kl_t.
    values = each.double().mean(0)
    return reverse, float(values.mean()), float(values.std()) / math.sqrt(FRESH)


def exact(roll: Roll, chain: DiscreteChain | int, share: float) -> tuple[float, float]:
    """K in nats with exact scores, and its standard error: on a chain, or on so many steps even in log noise."""
    if isinstance(chain, int):
        process = Diffusion(EDM(80.0), (2,), 1.0)
        times = log_snr(process, chain, low=0.01, high=80.0)
    else:
        process, times = Diffusion(chain, (2,), 1.0), chain.times
    found = entropy_bound(roll.denoiser(process), roll.sample(2000, 3), times, share=share, rng=0)
    return float(found.nats.mean()), float(found.nats.std()) / math.sqrt(2000)


def table(result: dict) -> str:
    """A run as Markdown."""
    facts, truth = result["machine"], result["truth"]
    rows = ["| chain | score | steps | K, bits | ± | under the density, bits |", "| --- | --- |" + " ---: |" * 4]
    for row in result["rows"]:
        rows.append(
            f"| {row['chain']} | {row['score']} | {row['steps']} | {row['K'] / BITS:.3f} | {row['error'] / BITS:.3f} | "
            f"{(row['truth'] - row['K']) / BITS:.3f} |"
        )
    top = f"{result['date']}, {facts['cpu']} ({facts['cores']} cores), {result['training']:,} steps of {BATCH} points. "
    top += f"E log p is {truth / BITS:.3f} bits; K of a Gaussian is {result['gaussian'] / BITS:.3f}."
    return "\n".join([top, "", *rows])


def main() -> None:
    """Train, compare, and write the raw results."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=30_000, help="of training (default 30,000)")
    parser.add_argument("--out", type=Path, help="where the raw results go (default benchmarks/results)")
    parser.add_argument("--table", type=Path, metavar="FILE", help="measure nothing, print the table of a run's JSON")
    options = parser.parse_args()
    if options.table:
        print(table(json.loads(options.table.read_text(encoding="utf-8"))))
        return
    roll = Roll()
    reverse, value, error = learned(roll, options.steps)
    truths = {seed: float(roll.log_prob(roll.sample(n, seed)).mean()) for seed, n in ((2, FRESH), (3, 2000))}
    rows = [{"chain": "learned betas", "score": "his network", "steps": STEPS, "K": value, "error": error}]
    rows[0]["truth"] = truths[2]
    own = DiscreteChain(-torch.expm1(reverse.log_kept().detach().double()))
    chains: list[tuple[str, DiscreteChain | int, int]] = [("learned betas", own, STEPS)]
    chains += [("even in log noise", steps, steps) for steps in (STEPS, 200, 1000)]
    for name, chain, steps in chains:
        # The variances between beta~ and beta that are best of five, for the mean is the same.
        best = max(((*exact(roll, chain, share), share) for share in (0.0, 0.25, 0.5, 0.75, 1.0)), key=lambda k: k[0])
        row = {"chain": name, "score": "exact", "steps": steps, "K": best[0], "error": best[1], "share": best[2]}
        rows.append(row | {"truth": truths[3]})
        print(rows[-1], file=sys.stderr, flush=True)
    result = {"date": date.today().isoformat(), "machine": machine(os.cpu_count() or 1), "training": options.steps}
    result |= {"truth": truths[2], "gaussian": -math.log(2 * math.pi * math.e), "rows": rows}
    print(table(result))
    out = options.out or HERE / "results"
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{result['date']}-swiss-roll.json").write_text(json.dumps(result) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
