"""How likely are new pictures: bits per dimension of Fashion-MNIST's test pictures, beside three simpler models.

A histogram per pixel, the best of some mixtures of Gaussians, and a small autoregressive network (a PixelCNN, van
den Oord et al. 2016, arXiv 1601.06759, section 3.3), which has the same time as driftback's methods. All see the 60,000
training pictures without classes; all are asked for the same test pictures, so that differences have standard errors of
their own. A histogram's and the PixelCNN's value is exact, the others are bounds: of a density, by uniform
dequantisation, or of the levels themselves. See docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
import warnings
from datetime import date
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from workers.autoregressive import tuned
from workers.fashion_judge import read
from workers.machine import machine

from driftback.recipes.fit import prepare

HERE = Path(__file__).parent
SOURCE = Path("/usr/share/datasets/fashion-mnist")
LEVELS = 256
OURS = ("spikes", "vdm")
"""The methods whose bound is measured; the first is the one that docs/likelihood.md recommends for it."""
SMALLEST = (1e-4, 1e-3, 1e-2)
"""The smallest deviations of the mixture, pixels in 0 .. 1: the best for the training pictures that are left out."""
KINDS = {"full": (10, 5_000, 15_000), "diag": (100, 20_000, 60_000)}
"""Covariances of the mixture: components, pictures that choose the smallest deviation, and that the best of all is
fitted to, which takes about the time that the networks have.
"""
SHOWN = (0.01, 0.1, 0.5, 1.0)
"""What is added to the histogram's counts, chosen in the same way."""
LEFT_OUT = 5_000

Pictures = NDArray[np.uint8]
Bits = NDArray[np.float64]


def histogram(x: Pictures, asked: Pictures) -> tuple[Bits, dict]:
    """Bits per dimension of `asked` (n, h, w) under the shares of each level at each pixel of `x`."""

    def bits(seen: Pictures, some: Pictures, added: float) -> Bits:
        flat, d = seen.reshape(len(seen), -1).astype(np.int64), math.prod(seen.shape[1:])
        counts = np.bincount((flat + LEVELS * np.arange(d)).ravel(), minlength=LEVELS * d).reshape(d, LEVELS) + added
        shares = np.log2(counts / counts.sum(1, keepdims=True))
        return -shares[np.arange(d), some.reshape(len(some), -1)].mean(1)

    out, rest = x[:LEFT_OUT], x[LEFT_OUT:]
    best = min(SHOWN, key=lambda added: bits(rest, out, added).mean())
    return bits(x, asked, best), {"added": best}


def mixture(x: Pictures, asked: Pictures, seed: int = 0) -> tuple[Bits, dict]:
    """The same under a mixture of Gaussians, fitted to pictures spread over their cells: the best of some, by pictures
    that are left out.
    """
    rng = np.random.default_rng(seed)

    def spread(some: Pictures) -> Bits:
        return (some.reshape(len(some), -1) + rng.uniform(size=(len(some), x[0].size))) / LEVELS

    def fit(some: Bits, kind: str, least: float) -> GaussianMixture:
        how = {"reg_covar": least**2, "max_iter": 8, "init_params": "k-means++", "random_state": seed}
        model = GaussianMixture(min(KINDS[kind][0], len(some) // 20), covariance_type=kind, **how)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            return model.fit(some)

    def bits(model: GaussianMixture, some: Bits) -> Bits:
        return -model.score_samples(some) / (x[0].size * math.log(2)) + math.log2(LEVELS)

    out, found = spread(x[:LEFT_OUT]), {}
    for kind, (_, tried, _) in KINDS.items():
        few = spread(x[LEFT_OUT : LEFT_OUT + tried])
        found |= {(kind, least): float(bits(fit(few, kind, least), out).mean()) for least in SMALLEST}
    kind, least = min(found, key=found.__getitem__)
    components, _, seen = KINDS[kind]
    facts = {"covariances": kind, "components": components, "smallest deviation": least, "pictures": len(x[:seen])}
    facts["left out"] = {f"{kind}, {least:g}": round(value, 4) for (kind, least), value in found.items()}
    return bits(fit(spread(x[:seen]), kind, least), spread(asked)), facts


def autoregressive(x: Pictures, asked: Pictures, seconds: float) -> tuple[Bits, dict]:
    """The same under a PixelCNN, exactly."""
    model, facts = tuned(x, seconds)
    with torch.no_grad():
        parts = torch.from_numpy(asked).split(64)
        return torch.cat([model.bits(part) for part in parts]).double().numpy(), facts


def ours(x: Pictures, asked: Pictures, method: str, minutes: float, draws: int) -> tuple[Bits, dict]:
    """The same under a model of ours, by `driftback fit --method ... --minutes ... --held-out 0`."""
    job = prepare(x, method=method, minutes=minutes, seed=0, held_out=0.0)
    for _ in job.run():
        pass
    model, _ = job.finish()
    found = model.log_likelihood(asked, draws=draws, seed=0)
    plan, network = job.config.plan, job.config.network.model_dump()
    facts = {"network": network, "pictures": plan.steps * plan.batch, "method": found.method}
    each = float(found.error.square().mean().sqrt()) / (x[0].size * math.log(2))
    return -found.nats.double().numpy() / (x[0].size * math.log(2)), facts | {"error of the draws, each": each}


def row(name: str, bits: Bits, facts: dict, seconds: float) -> dict:
    """What is written of one model."""
    found = {"model": name, "bits": float(bits.mean()), "error": float(bits.std(ddof=1) / math.sqrt(len(bits)))}
    print(f"{name}: {found['bits']:.3f} ± {found['error']:.3f} bits/dim, {seconds:.0f} s", file=sys.stderr, flush=True)
    return found | {"seconds": seconds, "facts": facts, "each": np.round(bits, 5).tolist()}


def table(result: dict) -> str:
    """A run as Markdown; the difference is to the best of ours, over the same pictures."""
    rows = result["rows"]
    best = min((one for one in rows if one["model"].startswith("driftback")), key=lambda one: one["bits"])
    lines = [
        "| model | bits per dimension | ± | more than the best of ours | ± | seconds |",
        "| --- " + "| ---: " * 5 + "|",
    ]
    for one in rows:
        apart = np.array(one["each"]) - np.array(best["each"])
        error = apart.std(ddof=1) / math.sqrt(len(apart))
        numbers = (one["bits"], one["error"], float(apart.mean()), float(error))
        lines.append(f"| {one['model']} | " + " | ".join(f"{v:.3f}" for v in numbers) + f" | {one['seconds']:.0f} |")
    facts = result["machine"]
    head = f"{result['date']}, {facts['cpu']} ({facts['cores']} cores), torch {result['torch']}; "
    head += f"{result['minutes']:g} minutes each."
    return "\n".join([head, "", *lines])


def main() -> None:
    """Train all, ask all, and write the raw results."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=5.0, help="for the networks (default 5)")
    parser.add_argument("--items", type=int, default=1000, help="test pictures that are asked for (default 1000)")
    parser.add_argument("--draws", type=int, default=32, help="of the noise, for a bound (default 32)")
    parser.add_argument("--methods", nargs="*", default=OURS)
    parser.add_argument("--data", type=Path, default=SOURCE, help="the folder of the four IDX files")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="cores (default: all)")
    parser.add_argument("--out", type=Path, help="where the raw results go (default benchmarks/results)")
    parser.add_argument("--table", type=Path, metavar="FILE", help="measure nothing, print the table of a run's JSON")
    options = parser.parse_args()
    if options.table:
        print(table(json.loads(options.table.read_text(encoding="utf-8"))))
        return
    if not options.data.is_dir():
        sys.exit(f"{options.data} is missing: install Debian's dataset-fashion-mnist, or give its folder with --data")
    torch.set_num_threads(options.threads)
    data = read(options.data)
    # The last: the first ones were seen in trials of driftback's networks (docs/benchmarks.md).
    x, asked = data["x"], data["test x"][-options.items :]
    models = {
        "histogram per pixel": lambda: histogram(x, asked),
        "mixture of Gaussians": lambda: mixture(x, asked),
        "PixelCNN": lambda: autoregressive(x, asked, 60 * options.minutes),
    } | {
        f"driftback, {method}": lambda method=method: ours(x, asked, method, options.minutes, options.draws)
        for method in options.methods
    }
    rows = []
    for name, run in models.items():
        start = time.perf_counter()
        bits, facts = run()
        rows.append(row(name, bits, facts, time.perf_counter() - start))
    result = {"date": date.today().isoformat(), "machine": machine(options.threads), "torch": torch.__version__}
    result |= {"minutes": options.minutes, "items": len(asked), "rows": rows}
    print(table(result))
    out = options.out or HERE / "results"
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{result['date']}-bits.json").write_text(json.dumps(result) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
