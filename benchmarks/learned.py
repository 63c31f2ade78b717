"""How near samplers come, in 5, 10 and 20 evaluations, to where a learned picture model's own 1,000 steps lead.

Two models of scikit-learn's digits, fitted here: on levels, as `driftback demo` does, and EDM's. Every sampler of
driftback and the rivals starts from the same noise, meets the same network in float32, and gets its best setting for
each budget. See docs/benchmarks.md and workers/network.py.
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
import torch
from workers.environment import HERE, OURS, prepare_environment
from workers.machine import machine
from workers.network import STEPS, Pictures, loaded
from workers.pool import Answer, Pool

from driftback.recipes.prepare import prepare
from driftback.recipes.way_back import Asked

RIVALS = ("diffusers", "kdiffusion", "azula")
BUDGETS = (5, 10, 20)
METHODS = ("levels", "edm")
TRAINED = 696
"""Training steps: what `driftback demo` plans."""
FEW, MANY = (1, 16, True), (5, 32, False)
"""Sets, pictures in each, and whether they are further ones: for the choice of settings, and for the table."""
Problems = list[tuple[list, str]]
"""The few pictures and the many, each with the file of their truth."""


def fitted(method: str, folder: Path, steps: int) -> Problems:
    """Fit a model of the digits and its solver, and follow its ways in 1,000 steps."""
    job = prepare("digits", out=folder / method, steps=steps, method=method, seed=0)
    for _ in job.run():
        pass
    job.finish()
    loaded(str(folder / method)).ways.choice(Asked(evaluations=max(BUDGETS)))  # once, not in every worker
    problems = []
    for numbers in (FEW, MANY):
        pictures, file = Pictures(str(folder / method), *numbers), folder / f"{method}-{numbers[1]}.npy"
        np.save(file, pictures.truth().numpy())
        problems.append(([str(folder / method), *numbers], str(file)))
    return problems


def sorted_out(answers: list[Answer]) -> dict:
    """Answers by model: {method: [rows]}."""
    rows: dict = {}
    for library, question, answer in answers:
        method = Path(question["few"][0][0]).name
        rows.setdefault(method, []).append({"library": library, "solver": question["solver"]} | answer)
    return rows


def error(row: dict, budget: int) -> float:
    """A sampler's error, infinite where it failed."""
    found = row.get(str(budget), {}).get("error")
    return float("inf") if found is None else found


def table(result: dict, top: int) -> str:
    """A run as Markdown: for each model and budget the rivals that come nearest, and driftback's two nearest."""
    facts = result["machine"]
    versions = ", ".join(f"{name} {library['version']}" for name, library in result["libraries"].items())
    rows = [f"{result['date']}, {facts['cpu']} ({facts['cores']} cores), {facts['system']}, {versions}.", ""]
    rows.append("| model | evaluations | library | sampler | setting | error | range over sets |")
    rows.append("| --- | ---: | --- | --- | --- | ---: | --- |")
    for method, solvers in result["near"].items():
        for budget in BUDGETS:
            ranked = sorted(solvers, key=lambda row, b=budget: error(row, b))
            theirs = [row for row in ranked if row["library"] != OURS][:top]
            for row in theirs + [row for row in ranked if row["library"] == OURS][:2]:
                found = row.get(str(budget), {"setting": row.get("failed", ""), "errors": []})
                known = [one for one in found["errors"] if one is not None]
                band = f"{min(known):.4f} .. {max(known):.4f}" if known else ""
                cells = (found["setting"], f"{error(row, budget):.4f}", band)
                rows.append(f"| {method} | {budget} | {row['library']} | {row['solver']} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def main() -> None:
    """Fit, follow, measure and write the raw results."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="to see that it runs: one model, two samplers a library")
    parser.add_argument("--libraries", nargs="*", default=RIVALS, choices=RIVALS, help="the rivals to run")
    parser.add_argument("--samplers", default="", metavar="REGEX", help="only those with names in which this is found")
    parser.add_argument("--hands", type=int, default=os.cpu_count(), help="samplers measured at once (default: cores)")
    parser.add_argument("--top", type=int, default=3, help="rivals shown per budget (default 3)")
    parser.add_argument("--out", type=Path, help="where the raw results go (default benchmarks/results)")
    parser.add_argument("--table", type=Path, metavar="FILE", help="measure nothing, print the tables of a run's JSON")
    options = parser.parse_args()
    if options.table:
        print(table(json.loads(options.table.read_text(encoding="utf-8")), options.top))
        return
    if options.libraries:
        prepare_environment()
    pool, names = Pool(options.hands), [OURS, *options.libraries]
    libraries = {name: answer for name, _, answer in pool.ask([(name, {"act": "hello"}) for name in names])}
    asked, models = [], {}
    with tempfile.TemporaryDirectory() as folder:
        for method in METHODS[: 1 if options.quick else None]:
            few, many = fitted(method, Path(folder), TRAINED // 10 if options.quick else TRAINED)
            models[method] = {"steps": loaded(few[0][0]).config.plan.steps, "spread": loaded(few[0][0]).config.spread}
            for library, facts in libraries.items():
                chosen = [name for name in facts["solvers"] if re.search(options.samplers, name)]
                for name in chosen[: 2 if options.quick else None]:
                    question = {"act": "near", "solver": name, "few": few, "many": many, "budgets": BUDGETS}
                    asked.append((library, question))
        answers = pool.ask(asked)
    pictures = {"few": FEW, "many": MANY, "budgets": BUDGETS, "truth": f"Heun's rule in {STEPS} steps"}
    result = {"date": date.today().isoformat(), "machine": machine(1), "torch": torch.__version__}
    result |= {"pictures": pictures, "models": models, "libraries": libraries, "near": sorted_out(answers)}
    print(table(result, options.top))
    out = options.out or (None if options.quick else HERE / "results")
    if out:
        out.mkdir(parents=True, exist_ok=True)
        (out / f"{result['date']}-learned.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
