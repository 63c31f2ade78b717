"""How good in how long: driftback's own numbers on digits and on shapes in the plane, from one run on an idle machine.

Digits (class-conditional, 1,437 to train on, 360 held out) in 1.4 and in 10 minutes: held-out bits per dimension, the
share of 1,000 samples whose asked label a classifier confirms, and whether training items were copied. Three shapes of
10,000 points (8,000 to train on) in 2 minutes each: every distance of 2,000 samples from the 2,000 held-out points,
beside its floor. No rival runs here; reference values for the digits are in `REFERENCES`.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from datetime import date
from pathlib import Path

import torch

from driftback.recipes.evaluate import evaluate, original
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


def fitted(source: str, minutes: float, n: int) -> dict:
    """Fit `source` for `minutes`, draw and judge `n` items; everything that was measured."""
    began = time.perf_counter()
    job = prepare(source, minutes=minutes, seed=0)
    for _ in job.run():
        pass
    model, summary = job.finish()
    fitting = time.perf_counter() - began
    judged = evaluate(model, original(job.config), n=n, seed=0)
    return {
        "source": source,
        "minutes": minutes,
        "seconds": round(fitting, 1),
        "steps": job.config.plan.steps,
        "network": job.config.network.model_dump(),
        "bits_per_dim": summary.bits_per_dim,
        "bits_per_dim_se": summary.bits_per_dim_se,
        "verdict": summary.verdict,
        "metrics": [metric.as_json() for metric in judged.metrics],
    }


def table(results: list[dict]) -> str:
    """The results as lines to read."""
    lines = []
    for run in results:
        bits = "" if run["bits_per_dim"] is None else f", {run['bits_per_dim']:.3f} bits per dimension"
        lines.append(f"{run['source']}, {run['minutes']} min ({run['seconds']} s, {run['steps']} steps){bits}")
        for m in run["metrics"]:
            if ": " not in m["name"]:
                floor = "" if m["floor_low"] is None else f"  [{m['floor_low']:.4g}, {m['floor_high']:.4g}]"
                lines.append(f"    {m['name']:55}{m['value']:.4g}{floor}  {m['verdict']}")
    return "\n".join(lines)


def main() -> None:
    """Run everything, or with --quick a tenth of the minutes, and write the raw results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the time")
    parser.add_argument("--out", type=Path, default=HERE / "results" / f"{date.today()}-quality.json")
    options = parser.parse_args()
    scale = 0.1 if options.quick else 1.0
    plans = [("digits", 1.4, 1000), *((shape, 2.0, 2000) for shape in SHAPES), ("digits", 10.0, 1000)]
    results = []
    for source, minutes, n in plans:
        results.append(fitted(source, scale * minutes, n))
        print(table(results[-1:]), flush=True)
    machine = {"processor": platform.processor() or platform.machine(), "threads": torch.get_num_threads()}
    record = {"date": str(date.today()), "machine": machine, "torch": torch.__version__, "references": REFERENCES}
    options.out.parent.mkdir(exist_ok=True)
    options.out.write_text(json.dumps(record | {"results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
