"""The exact score of many recorded points: how long, how near, and in how much memory, beside the dense formula.

A million points in the plane at noise levels from fine to coarse, by the tree and by a softmax over all distances, in
float64 and float32; and 60,000 pictures of 784 numbers. Each memory is that of a process of its own. See
docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from workers.fashion_judge import read
from workers.machine import machine

from driftback.distributions.recall import Recall

HERE = Path(__file__).parent
SOURCE = Path("/usr/share/datasets/fashion-mnist")
RATIOS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 30.0)
TOLERANCE = 2e-4
CHUNK = 1 << 24
"""Distances that the dense formula holds at once."""


def spiral(m: int) -> Tensor:
    """Points of deviation about 1 on a noisy spiral, (m, 2) float64."""
    rng = np.random.default_rng(0)
    angle = rng.uniform(0, 4 * np.pi, m)
    x = np.stack([angle * np.cos(angle), angle * np.sin(angle)], 1) / 6 + 0.05 * rng.normal(size=(m, 2))
    return torch.from_numpy(x)


def queries(points: Tensor, ratio: float, n: int) -> Tensor:
    """What is asked: points with noise on top."""
    rng = np.random.default_rng(1)
    chosen = torch.from_numpy(rng.integers(0, len(points), n))
    return points[chosen] + ratio * torch.from_numpy(rng.normal(size=(n, points.shape[1])))


def dense(points: Tensor, y: Tensor, ratio: float) -> Tensor:
    """The formula as it stands, in the points' own precision, some queries at once."""
    rows = max(1, CHUNK // len(points))
    return torch.cat(
        [(-(torch.cdist(part, points) ** 2) / (2 * ratio**2)).softmax(1) @ points for part in y.split(rows)]
    )


def plane(m: int, n: int) -> list[dict]:
    """The tree and the dense formula at each noise level; errors are of the score, relative to its own size."""
    points, rows = spiral(m), []
    begun = time.perf_counter()
    recall = Recall(points, TOLERANCE)
    recall.mean(queries(points, 1.0, 2), torch.ones(2, dtype=torch.float64))
    built = time.perf_counter() - begun
    narrow = points.float()
    for ratio in RATIOS:
        y, precision = queries(points, ratio, n), torch.full((n,), ratio**-2, dtype=torch.float64)
        row: dict = {"ratio": ratio, "built": built}
        begun = time.perf_counter()
        mean, bound = recall.bounded(y, precision)
        row["tree"] = time.perf_counter() - begun
        begun = time.perf_counter()
        exact = dense(points, y, ratio)
        row["dense float64"] = time.perf_counter() - begun
        begun = time.perf_counter()
        single = dense(narrow, y.float(), ratio)
        row["dense float32"] = time.perf_counter() - begun
        size = (exact - y).norm(dim=1)
        row["error"] = float(((mean - exact).norm(dim=1) / size).max())
        row["error float32"] = float(((single.double() - exact).norm(dim=1) / size).max())
        row["bound"] = float(bound.max())
        rows.append(row)
        print(row, file=sys.stderr, flush=True)
    return rows


def pictures(data: Path, n: int) -> dict:
    """Seconds and peak memory for `n` queries of 60,000 pictures."""
    x = torch.from_numpy(read(data)["x"].reshape(-1, 784).astype(np.float32) / 127.5 - 1)
    recall, rows = Recall(x), []
    for ratio in (0.05, 0.5, 5.0):
        y = queries(x.double(), ratio, n).float()
        begun = time.perf_counter()
        recall.mean(y, torch.full((n,), ratio**-2, dtype=torch.float64))
        rows.append({"ratio": ratio, "seconds": time.perf_counter() - begun})
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"items": len(x), "queries": n, "rows": rows, "peak MiB": peak}


def table(result: dict) -> str:
    """A run as Markdown."""
    rows = [
        "| r | tree, s | dense float64, s | times | dense float32, s | times | error of the score | bound |",
        "| ---: |" + " ---: |" * 7,
    ]
    for row in result["plane"]:
        wide, narrow = row["dense float64"], row["dense float32"]
        rows.append(
            f"| {row['ratio']:g} | {row['tree']:.3f} | {wide:.1f} | {wide / row['tree']:.0f} | {narrow:.1f} | "
            f"{narrow / row['tree']:.0f} | {row['error']:.0e} | {row['bound']:.0e} |"
        )
    facts, seen = result["machine"], result["pictures"]
    top = (
        f"{result['date']}, {facts['cpu']} ({facts['cores']} cores), {result['points']:,} points, {result['queries']} "
    )
    top += f"queries; the tree is built in {result['plane'][0]['built']:.1f} s."
    last = ", ".join(f"{row['seconds']:.1f} s at r = {row['ratio']:g}" for row in seen["rows"])
    end = f"{seen['items']:,} pictures of 784 numbers, {seen['queries']} queries: {last}; "
    end += f"{seen['peak MiB']:.0f} MiB at most."
    return "\n".join([top, "", *rows, "", end])


def main() -> None:
    """Measure both, and write the raw results."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--points", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--data", type=Path, default=SOURCE, help="the folder of the four IDX files")
    parser.add_argument("--pictures", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help="where the raw results go (default benchmarks/results)")
    parser.add_argument("--table", type=Path, metavar="FILE", help="measure nothing, print the table of a run's JSON")
    options = parser.parse_args()
    if options.table:
        print(table(json.loads(options.table.read_text(encoding="utf-8"))))
        return
    if options.pictures:
        print(json.dumps(pictures(options.data, 256)))
        return
    own = [sys.executable, __file__, "--pictures", "--data", str(options.data)]
    seen = json.loads(subprocess.run(own, stdout=subprocess.PIPE, text=True, check=True).stdout)
    result = {"date": date.today().isoformat(), "machine": machine(os.cpu_count() or 1)}
    result |= {"points": options.points, "queries": options.queries, "tolerance": TOLERANCE}
    result |= {"plane": plane(options.points, options.queries), "pictures": seen}
    print(table(result))
    out = options.out or HERE / "results"
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{result['date']}-scores.json").write_text(json.dumps(result) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
