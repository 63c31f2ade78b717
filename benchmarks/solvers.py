"""How many evaluations of an exact denoiser driftback's samplers and the rivals' need, and how true noisy ones are.

Mixtures of Gaussians in 2, 10 and 100 dimensions; every sampler starts from the same points and gets its best setting
for each tolerance. See docs/benchmarks.md and workers/scan.py.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import tempfile
from datetime import date
from pathlib import Path

import numpy as np
from workers.environment import HERE, OURS, prepare_environment
from workers.machine import machine
from workers.mixtures import Problem
from workers.pool import Answer, Pool
from workers.scan import LOWS, MOST

RIVALS = ("diffusers", "kdiffusion", "azula")
TOLERANCES = (1e-2, 1e-3, 1e-4)
STEPS = (32, 16)
"""Steps of the noisy samplers; those with two evaluations a step are read at 16 as well."""
SEEDS = 5
FEW = {2: 64, 10: 48, 100: 8}
"""Points per seed on which settings are ranked, by dimension; MANY are those on which the best are read."""
MANY = {2: 256, 10: 256, 100: 32}
DRAWS = {2: (2_000, 20_000), 10: (1_000, 20_000)}
"""Draws per seed of the noisy samplers: for the choice of a grid, and for the table."""


def truths(folder: str, dimensions: list[int]) -> None:
    """Write where the ODE leads, for all problems."""
    for d in dimensions:
        for points in (FEW[d], MANY[d]):
            np.save(
                Path(folder) / f"{d}-{SEEDS}-{points}.npy", Problem(d, SEEDS, points).truth(levels=LOWS[::-1]).numpy()
            )


def questions(libraries: dict, dimensions: list[int], folder: str, named: str, quick: bool) -> list[tuple[str, dict]]:
    """Everything that is to be measured, one question per sampler and dimension: first all that follow the ODE."""
    asked: list[tuple[str, dict]] = []
    for d in sorted(dimensions):
        ends = {"few": [d, SEEDS, FEW[d]], "many": [d, SEEDS, MANY[d]], "truths": folder, "tolerances": TOLERANCES}
        for library, facts in libraries.items():
            names = [name for name in facts["solvers"] if re.search(named, name)]
            asked += [(library, {"act": "solve", "solver": name} | ends) for name in names[: 2 if quick else None]]
        if d not in DRAWS:
            continue
        few, many = (50, 100) if quick else DRAWS[d]
        draws = {"few": [d, SEEDS, few], "many": [d, SEEDS, many]}
        asked.append((OURS, {"act": "truly", "many": draws["many"]}))
        for library, facts in libraries.items():
            names = [name for name in facts["noisy"] if re.search(named, name)]
            asked += [
                (library, {"act": "draw", "solver": name, "steps": steps} | draws)
                for name in names[: 1 if quick else None]
                for steps in STEPS[: 1 + (facts["costs"][name] > 1)]
            ]
    return sorted(asked, key=lambda question: question[1]["act"] != "solve")


def sorted_out(answers: list[Answer]) -> dict:
    """Answers by dimension: {'solve' or 'draw': {dimension: [rows]}}."""
    rows: dict = {"solve": {}, "draw": {}}
    for library, question, answer in answers:
        kind = "solve" if question["act"] == "solve" else "draw"
        steps = question.get("steps")
        row = {"library": library, "solver": question.get("solver", "exact draws"), "steps": steps} | answer
        rows[kind].setdefault(str(question["many"][0]), []).append(row)
    return rows


def needed(row: dict, tolerance: str) -> float:
    """Evaluations that a sampler needs, infinite where it needs more than the search looks at."""
    found = row.get("needs", {}).get(tolerance, {}).get("evaluations")
    return float("inf") if found is None else found


def best_table(result: dict, top: int) -> list[str]:
    """For each dimension and tolerance the rivals that need fewest evaluations, then driftback's best."""
    rows = ["| d | error | library | sampler | setting | evaluations | error's range over seeds |"]
    rows.append("| ---: | ---: | --- | --- | --- | ---: | --- |")
    for d, solvers in sorted(result["solve"].items(), key=lambda item: int(item[0])):
        for tolerance in (f"{t:g}" for t in TOLERANCES):
            ranked = sorted(solvers, key=lambda row, t=tolerance: needed(row, t))
            theirs = [row for row in ranked if row["library"] != OURS][:top]
            for row in theirs + [row for row in ranked if row["library"] == OURS][:1]:
                found = row.get("needs", {}).get(tolerance, {})
                if found.get("evaluations") is None:
                    cells = ("", f"more than {MOST}", "")
                else:
                    low, high = min(found["errors"]), max(found["errors"])
                    cells = (found["setting"], str(found["evaluations"]), f"{low:.1e} .. {high:.1e}")
                start = f"| {d} | {tolerance} | {row['library']} | {row['solver']} |"
                rows.append(start + " " + " | ".join(cells) + " |")
    return rows


def full_table(result: dict) -> list[str]:
    """Evaluations that each sampler needs, dimension by dimension, and what its error falls to."""
    dimensions = sorted(result["solve"], key=int)
    columns = [(d, f"{t:g}") for d in dimensions for t in TOLERANCES]
    rows = ["| library | sampler | " + " | ".join(f"d={d}, {t}" for d, t in columns) + " | error at 500 |"]
    rows.append("| --- | --- |" + " ---: |" * (len(columns) + 1))
    by_name: dict = {}
    for d in dimensions:
        for row in result["solve"][d]:
            by_name.setdefault((row["library"], row["solver"]), {})[d] = row
    for (library, solver), found in sorted(by_name.items()):
        cells = [f"{needed(found.get(d, {}), t):g}".replace("inf", "-") for d, t in columns]
        last = max((row["floor"] for row in found.values() if "floor" in row), default=float("nan"))
        rows.append(f"| {library} | {solver} | " + " | ".join(cells) + f" | {last:.0e} |")
    return rows


def noise_table(result: dict) -> list[str]:
    """How true the components of the noisy samplers' draws are."""
    rows = [
        "| d | library | sampler | steps | evaluations | grid | mean ratio | off | worst axis, component | weights |"
    ]
    rows.append("| ---: | --- | --- | ---: | ---: | --- | ---: | ---: | ---: | ---: |")
    for d, draws in sorted(result["draw"].items(), key=lambda item: int(item[0])):
        for row in sorted(draws, key=lambda row: row.get("off", float("inf"))):
            start = f"| {d} | {row['library']} | {row['solver']} | {row['steps'] or ''} |"
            if "failed" in row:
                rows.append(f"{start} | {row['failed']} | | | | |")
                continue
            grid = f"{row.get('evaluations', '')} | {row.get('setting', '')}"
            mean, worst = (
                f"{row['mean']:.4f} ± {row['error']:.4f}",
                f"{row['worst']:.3f}, {row['worst component']:.3f}",
            )
            rows.append(f"{start} {grid} | {mean} | {worst} | {row['weights']:.4f} |")
    return rows


def report(result: dict, top: int) -> str:
    """A run as Markdown."""
    facts = result["machine"]
    versions = ", ".join(f"{name} {library['version']}" for name, library in result["libraries"].items())
    where = f"{result['date']}, {facts['cpu']} ({facts['cores']} cores), {facts['system']}, {versions}."
    tables = (best_table(result, top), full_table(result), noise_table(result))
    return "\n\n".join([where, *("\n".join(rows) for rows in tables)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--quick", action="store_true", help="a minute or two, to see that it runs: few samplers, d = 2"
    )
    parser.add_argument("--libraries", nargs="*", default=RIVALS, choices=RIVALS, help="the rivals to run")
    parser.add_argument("--dimensions", nargs="*", type=int, default=list(MANY), choices=list(MANY))
    parser.add_argument("--samplers", default="", metavar="REGEX", help="only those with names in which this is found")
    parser.add_argument("--hands", type=int, default=os.cpu_count(), help="samplers measured at once (default: cores)")
    parser.add_argument("--top", type=int, default=4, help="rivals shown per tolerance (default 4)")
    parser.add_argument("--out", type=Path, help="where the raw results go (default benchmarks/results)")
    parser.add_argument("--table", type=Path, metavar="FILE", help="measure nothing, print the tables of a run's JSON")
    options = parser.parse_args()
    if options.table:
        print(report(json.loads(options.table.read_text(encoding="utf-8")), options.top))
        return
    if options.libraries:
        prepare_environment()
    pool, dimensions = Pool(options.hands), [2] if options.quick else options.dimensions
    names = [OURS, *options.libraries]
    libraries = {name: answer for name, _, answer in pool.ask([(name, {"act": "hello"}) for name in names])}
    points = {"seeds": SEEDS, "few": FEW, "many": MANY, "draws": DRAWS}
    start = {"date": date.today().isoformat(), "machine": machine(1), "points": points, "libraries": libraries}
    out = options.out or (None if options.quick else HERE / "results")

    def keep(answers: list[Answer]) -> None:
        if out:
            out.mkdir(parents=True, exist_ok=True)
            text = json.dumps(start | sorted_out(answers), indent=1) + "\n"
            (out / f"{start['date']}-solvers.json").write_text(text, encoding="utf-8")

    with tempfile.TemporaryDirectory() as folder:
        truths(folder, dimensions)
        answers = pool.ask(questions(libraries, dimensions, folder, options.samplers, options.quick), keep)
    print(report(start | sorted_out(answers), options.top))


if __name__ == "__main__":
    main()
