"""How near draws after an observation come to the exact posterior, by driftback's methods, azula's and deepinv's.

Mixtures of Gaussians in 2 to 100 dimensions, seen through matrices of rank 1 to full; sliced distances to exact draws
in units of what exact draws have among themselves. See docs/benchmarks.md and workers/posteriors.py.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from datetime import date
from pathlib import Path

import numpy as np
from workers.environment import ENVIRONMENT, HERE, prepare_environment
from workers.machine import machine

PROBLEMS = ((2, 1), (10, 1), (10, 5), (10, 10), (100, 1), (100, 10), (100, 100))
"""Dimensions and ranks."""
CALIBRATED = ((2, 1), (10, 5))
"""Those of which ranks are looked at."""
TOLD = ("distance", "mean", "spread", "covariance", "weights")


def best(lines: list[dict]) -> dict[tuple, dict[str, dict]]:
    """For each problem and method the setting with the smallest mean distance: its means over seeds."""
    found: dict[tuple, dict[str, dict]] = {}
    for line in lines:
        rows = [row for row in line["rows"] if row.get("finite")]
        if len(rows) < len(line["rows"]):
            continue
        means = {name: float(np.mean([row[name] for row in rows])) for name in (*TOLD, "passes")}
        means |= {"setting": line["setting"], "seconds": line["seconds"], "worst": max(row["distance"] for row in rows)}
        methods = found.setdefault((line["d"], line["rank"]), {})
        if line["method"] not in methods or means["distance"] < methods[line["method"]]["distance"]:
            methods[line["method"]] = means
    return found


def table(result: dict) -> str:
    """A run as Markdown: distances by problem, then what else is off."""
    found = best(result["lines"])
    names = sorted({name for methods in found.values() for name in methods})
    head = [f"d = {d}, rank {rank}" for d, rank in found]
    rows = ["| method | " + " | ".join(head) + " |", "| --- |" + " ---: |" * len(head)]
    for name in names:
        cells = [
            f"{methods[name]['distance']:.2f} ({methods[name]['passes']:.0f})" if name in methods else ""
            for methods in found.values()
        ]
        rows.append(f"| {name} | " + " | ".join(cells) + " |")
    more = [
        "| problem | method | mean off | deviation | covariance off | weights off |",
        "| --- | --- |" + " ---: |" * 4,
    ]
    for problem, methods in zip(head, found.values(), strict=True):
        for name in names:
            if name in methods:
                told = " | ".join(f"{methods[name][one]:.3f}" for one in TOLD[1:])
                more.append(f"| {problem} | {name} | {told} |")
    facts = result["machine"]
    top = f"{result['date']}, {facts['cpu']} ({facts['cores']} cores), {result['seeds']} seeds."
    ranked = ["| problem | method | p | lean | excess | held by 90 % |", "| --- | --- |" + " ---: |" * 4]
    ranked += [
        f"| d = {one['d']}, rank {one['rank']} | {one['method']} | {one['p']:.1g} | {one['lean']:+.3f} | "
        f"{one['excess']:.2f} | {100 * one['covered']:.0f} % |"
        for one in result["calibration"]
    ]
    return "\n".join([top, "", *rows, "", *more, "", *ranked])


def told(one: dict) -> tuple:
    """A line of the worker for people."""
    if "p" in one:
        return (one,)
    near = [round(row.get("distance", float("nan")), 2) for row in one["rows"]]
    return (one["d"], one["rank"], one["method"], one["setting"], near, round(one["seconds"], 1))


def main() -> None:
    """Ask the worker, and write the raw results."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=3, help="mixtures and observations of each kind (default 3)")
    parser.add_argument("--problems", nargs="*", metavar="DxR", help="only these, as 10x5")
    parser.add_argument("--methods", nargs="*", default=[], help="only methods with such names")
    parser.add_argument("--no-rivals", action="store_true", help="driftback's alone")
    parser.add_argument("--quick", action="store_true", help="one setting each, to see that it runs")
    parser.add_argument("--out", type=Path, help="where the raw results go (default benchmarks/results)")
    parser.add_argument("--table", type=Path, metavar="FILE", help="measure nothing, print the tables of a run's JSON")
    options = parser.parse_args()
    if options.table:
        print(table(json.loads(options.table.read_text(encoding="utf-8"))))
        return
    if not options.no_rivals:
        prepare_environment()
    problems = [tuple(map(int, one.split("x"))) for one in options.problems or ()] or PROBLEMS
    task = {"problems": problems, "seeds": options.seeds, "methods": options.methods, "threads": os.cpu_count()}
    task |= {"rivals": not options.no_rivals, "quick": options.quick}
    task |= {"calibrated": [] if options.quick or options.problems else CALIBRATED}
    python = sys.executable if options.no_rivals else ENVIRONMENT / "bin" / "python"
    result: dict = {"date": date.today().isoformat(), "machine": machine(os.cpu_count() or 1), "seeds": options.seeds}
    result |= {"lines": [], "calibration": []}
    out = options.out or HERE / "results"
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{result['date']}-posteriors.json"
    command = [python, "-m", "workers.posteriors", json.dumps(task)]
    with subprocess.Popen(command, cwd=HERE, stdout=subprocess.PIPE, text=True) as worker:
        for text in worker.stdout or ():
            one = json.loads(text)
            result["calibration" if "p" in one else "lines"].append(one)
            print(*told(one), file=sys.stderr, flush=True)
            # It takes most of an hour: what is measured is kept.
            if options.out or not options.quick:
                path.write_text(json.dumps(result) + "\n", encoding="utf-8")
    if worker.returncode:
        sys.exit(f"the worker ended before its time; what it said is above, and what it measured in {path.name}")
    print(table(result))


if __name__ == "__main__":
    main()
