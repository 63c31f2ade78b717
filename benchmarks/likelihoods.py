"""How many evaluations a log-likelihood takes to be so near, beside torchdiffeq's and flow_matching's.

Mixtures in two dimensions, exact divergence, errors against the exact log-density; and how often Hutchinson's intervals
hold it in twenty. See docs/benchmarks.md and workers/likelihoods.py.
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

ERRORS = (1e-2, 1e-3, 1e-4)
RIVALS = ("torchdiffeq", "flow_matching")


def needed(lines: list[dict], error: float) -> tuple[float, str]:
    """The fewest evaluations, a mean over seeds, of a setting whose error is that small on average; and its name."""
    by: dict[str, list[dict]] = {}
    for line in lines:
        by.setdefault(", ".join(f"{k} {_short(v)}" for k, v in line["setting"].items()), []).append(line)
    fine = {
        name: float(np.mean([one["evaluations"] for one in of]))
        for name, of in by.items()
        if np.mean([one["error"] for one in of]) <= error
    }
    best = min(fine, key=fine.__getitem__, default="")
    return fine.get(best, float("inf")), best


def _short(value: object) -> str:
    return f"{value:.2g}" if isinstance(value, float) else str(value)


def table(result: dict) -> str:
    """A run as Markdown."""
    libraries = list(dict.fromkeys(line["library"] for line in result["lines"]))
    rows = ["| mean error of log p | " + " | ".join(libraries) + " |", "| ---: |" + " ---: |" * len(libraries)]
    for error in ERRORS:
        cells = []
        for library in libraries:
            spent, name = needed([line for line in result["lines"] if line["library"] == library], error)
            cells.append(f"{spent:.0f} ({name})" if name else "not reached")
        rows.append(f"| {error:g} | " + " | ".join(cells) + " |")
    found, facts = result["coverage"], result["machine"]
    told = (
        f"Hutchinson, {found['probes']} probes, {found['dimension']} dimensions: 95 % intervals hold the exact value "
        f"in {100 * found['covered']:.1f} % of {found['trials']} trials; one probe is off by {found[ONE]:.2f} nats."
    )
    return "\n".join([f"{result['date']}, {facts['cpu']} ({facts['cores']} cores).", "", *rows, "", told])


ONE = "one probe's error"


def main() -> None:
    """Ask the worker, and write the raw results."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=5, help="mixtures (default 5)")
    parser.add_argument("--libraries", nargs="*", default=RIVALS, choices=RIVALS, help="the rivals to run")
    parser.add_argument("--out", type=Path, help="where the raw results go (default benchmarks/results)")
    parser.add_argument("--table", type=Path, metavar="FILE", help="measure nothing, print the table of a run's JSON")
    options = parser.parse_args()
    if options.table:
        print(table(json.loads(options.table.read_text(encoding="utf-8"))))
        return
    if options.libraries:
        prepare_environment()
    python = ENVIRONMENT / "bin" / "python" if options.libraries else sys.executable
    task = {"seeds": options.seeds, "libraries": options.libraries, "threads": os.cpu_count()}
    command = [python, "-m", "workers.likelihoods", json.dumps(task)]
    told = subprocess.run(command, cwd=HERE, stdout=subprocess.PIPE, text=True, check=True).stdout
    lines = [json.loads(line) for line in told.splitlines()]
    result = {"date": date.today().isoformat(), "machine": machine(os.cpu_count() or 1)}
    result |= {"lines": [one for one in lines if "library" in one], "coverage": lines[-1]["coverage"]}
    print(table(result))
    out = options.out or HERE / "results"
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{result['date']}-likelihoods.json").write_text(json.dumps(result) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
