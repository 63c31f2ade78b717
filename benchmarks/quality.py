"""How good in how long: driftback's own numbers on digits and on shapes in the plane, in one run.

Digits (class-conditional, 1,437 to train on, 360 held out) with a budget of 1.4 and of 10 minutes: held-out bits per
dimension, the share of 1,000 samples whose asked label a classifier confirms, and whether training items were copied.
Three shapes of 10,000 points (8,000 to train on) with 2 minutes each: every distance of 2,000 samples from the 2,000
held-out points, beside its floor. A budget is not what is spent: few items are passed over 62 times at most, so that
the 10 minutes for the digits end much earlier; `seconds` is what it took, and `capped` says that the cap decided. No
rival runs here; reference values for the digits are in `REFERENCES`.
"""

from __future__ import annotations

import argparse
import json
import time
from datetime import date
from pathlib import Path

import torch
from workers.machine import machine

from driftback.recipes.evaluate import evaluate, original
from driftback.recipes.pace import LEAST_STEPS, MOST_PASSES
from driftback.recipes.prepare import prepare

HERE = Path(__file__).parent
REFERENCES = {
    "uniform": 4.087,
    "dequantised Gaussian mixture": 2.60,
    "histogram per pixel": 2.433,
    "histogram per pixel and class": 2.228,
    "autoregressive forest": 1.909,
}
"""Held-out bits per dimension of simpler models on the same split."""
SHAPES = ("two-moons", "eight-gaussians", "checkerboard")
PLANS = (("digits", 1.4, 1000), ("digits", 10.0, 1000), *((shape, 2.0, 2000) for shape in SHAPES))
"""Source, minutes, and how many samples are judged; in the order in which they run."""


def fitted(source: str, minutes: float, n: int) -> dict:
    """Fit `source` for `minutes`, draw and judge `n` items; everything that was measured."""
    began = time.perf_counter()
    job = prepare(source, minutes=minutes, seed=0)
    for _ in job.run():
        pass
    model, summary = job.finish()
    fitting = time.perf_counter() - began
    judged = evaluate(model, original(job.config), n=n, seed=0)
    plan = job.config.plan
    agreement = [metric.value for metric in judged.metrics if metric.name == "label agreement"]
    return {
        "source": source,
        "minutes": minutes,
        "seconds": round(fitting, 1),
        "steps": plan.steps,
        "capped": plan.steps == max(LEAST_STEPS, MOST_PASSES * job.config.items // plan.batch),
        "network": job.config.network.model_dump(),
        "bits_per_dim": summary.bits_per_dim,
        "bits_per_dim_se": summary.bits_per_dim_se,
        "label_agreement": agreement[0] if agreement else None,
        "verdict": summary.verdict,
        "metrics": [metric.as_json() for metric in judged.metrics],
    }


def table(results: list[dict]) -> str:
    """The results as lines to read."""
    lines = []
    for run in results:
        bits = "" if run["bits_per_dim"] is None else f", {run['bits_per_dim']:.3f} bits per dimension"
        steps = f"{run['steps']} steps{', capped' if run['capped'] else ''}"
        lines.append(f"{run['source']}, {run['minutes']} min ({run['seconds']} s, {steps}){bits}")
        for m in run["metrics"]:
            if ": " not in m["name"]:
                floor = "" if m["floor_low"] is None else f"  [{m['floor_low']:.4g}, {m['floor_high']:.4g}]"
                value = "-" if m["value"] is None else f"{m['value']:.4g}"
                lines.append(f"    {m['name']:55}{value}{floor}  {m['verdict']}")
    return "\n".join(lines)


def main() -> None:
    """Run everything, or with --quick a tenth of the minutes, and write the raw results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the time")
    parser.add_argument("--out", type=Path, default=HERE / "results" / f"{date.today()}-quality.json")
    options = parser.parse_args()
    scale = 0.1 if options.quick else 1.0
    results = []
    for source, minutes, n in PLANS:
        results.append(fitted(source, scale * minutes, n))
        print(table(results[-1:]), flush=True)
    options.out.parent.mkdir(exist_ok=True)
    options.out.write_text(json.dumps(record(results), indent=1) + "\n")


def record(results: list[dict]) -> dict:
    """What is written: the results, and what they depend on."""
    return {
        "date": str(date.today()),
        "machine": machine(torch.get_num_threads()),
        "torch": torch.__version__,
        "references": REFERENCES,
        "results": results,
    }


if __name__ == "__main__":
    main()
