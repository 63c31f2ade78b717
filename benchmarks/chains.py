"""How many effective draws driftback's chains and the rivals' give for a gradient and for a second, on four densities.

Every library meets the same log-density in float64, its chains begin at the same places, and it is read in the
settings that suit it best. Compiling is timed apart. See docs/benchmarks.md and workers/chains.py.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

from workers.chains_table import CHAINS, report
from workers.chains_targets import DIMENSIONS, apart
from workers.environment import HERE, OURS, Worker, prepare_environment
from workers.machine import busy_seconds, machine, worked

RIVALS = ("numpyro", "blackjax", "pyro", "emcee")
COMPILED = ("numpyro", "blackjax")
DRAWS = {4: 500, 64: 300, 256: 100, 1024: 50}
FEWER = {4: 500, 64: 100, 256: 50, 1024: 50}
"""Draws of a chain by the number of chains; the fewer where a gradient costs more."""
SUITS = {"eight-schools": "diag", "gaussian": "diag", "gaussian-rotated": "dense", "logistic": "dense"}
"""The metric with which all libraries do best, in trials with gradients counted; the other one is read where it is
affordable: with 64 chains by all, and by driftback also in `MORE`.
"""
MORE = {"eight-schools": CHAINS, "logistic": (4, 64)}
KEPT = 300
"""Draws of emcee's walkers, which need more of them."""
SETTLE = 25
APART = ("eight-schools", "gaussian")
"""Targets whose chains JAX's libraries share out to several devices: with matrix products in them XLA's devices waited
for one another for ever (numpyro 0.22, jax 0.10, two cores).
"""
LIMIT = 20.0
AGREE = 1e-8
"""How far log-densities and gradients may be apart."""


@dataclass(frozen=True)
class Setting:
    """A metric, moves of the warm-up (0: driftback's own choice), and `settle` > 0 where one chain tunes for all."""

    metric: str
    warmup: int
    settle: int = 0

    def __str__(self) -> str:
        if self.metric == "stretch":
            return "stretch"
        if not self.warmup:
            return f"{self.metric}, default"
        return f"{self.metric}, {'one chain tunes' if self.settle else 'each tunes'}, {self.warmup}"


def settings(library: str, target: str, chains: int) -> list[Setting]:
    """What a library is read in; none where it is not measured.

    JAX's two libraries tune each chain for itself, or one for all. With many chains the latter always won in trials.
    Pyro runs one chain, to be set against driftback's four. emcee's walkers must be twice as many as coordinates.
    """
    best = SUITS[target]
    other = "dense" if best == "diag" else "diag"
    if library == OURS:
        if chains not in CHAINS:
            return []
        also = chains in MORE.get(target, ()) or (chains == 64 and target != "gaussian-rotated")
        return [Setting(metric, 0) for metric in (best, other)[: 1 + also]]
    if library == "pyro":
        # Its tuning takes minutes where 1,000 leapfrogs a move are needed until the shape is known.
        known = {"diag": 300, "dense": 500}[best]
        return [Setting(best, known)] if chains == 1 and target != "gaussian-rotated" else []
    if library == "emcee":
        # Stretches do not know of rotations, so one Gaussian is enough.
        able = {"eight-schools": (64, 256), "logistic": (64, 256), "gaussian": (256,)}
        return [Setting("stretch", 100)] if chains in able.get(target, ()) else []
    one = Setting(best, 1000, SETTLE)
    if chains == 4:
        each = (1000,) if target == "gaussian-rotated" else (300, 1000)  # 300 moves leave its shape unknown
        return [*(Setting(best, warmup) for warmup in each), one]
    if chains == 64:
        return [one, Setting(other, 1000, SETTLE)]
    return [one] if chains in CHAINS else []


def asked(target: str, chains: int, setting: Setting, options: argparse.Namespace) -> dict:
    """The question to a worker, without a seed."""
    draws = (FEWER if target == "logistic" else DRAWS).get(chains, DRAWS[4])
    draws = KEPT if setting.metric == "stretch" else draws
    shared = target in APART and chains > 1 and chains % options.threads == 0
    devices = options.threads if shared else 1
    found = {"target": target, "chains": chains, "draws": draws, "devices": devices} | asdict(setting)
    # Quick: as short as an effective size can be told from.
    return found | {"draws": 20, "warmup": min(setting.warmup, 150)} if options.quick else found


def checked(team: dict[str, Worker], targets: list[str]) -> dict:
    """How far the libraries' log-densities and gradients are from ours; exits where they do not agree."""
    found: dict = {}
    for target in targets:
        ours = team[OURS].ask(act="check", target=target)
        for name, worker in team.items():
            far = found.setdefault(target, {})[name] = apart(ours, worker.ask(act="check", target=target))
            if not far < AGREE:
                sys.exit(f"{name} has another {target}: its log-density or gradient differs by {far:.1e} of its size")
    return found


def prepared(team: dict[str, Worker], questions: list[tuple[str, dict]]) -> None:
    """Let the libraries that compile do it, at the same time."""

    def compiled(name: str) -> None:
        for library, question in questions:
            if library == name:
                team[name].ask(act="prepare", **question)

    with ThreadPoolExecutor() as pool:
        list(pool.map(compiled, [name for name in COMPILED if name in team]))


def measured(team: dict[str, Worker], options: argparse.Namespace) -> Iterator[dict]:
    """All rows. Seeds go round the libraries; once a cell has taken `limit` seconds it gets no further seed."""
    for target in options.targets:
        for chains in (1, *options.chains):
            cells = [(name, s) for name in team for s in settings(name, target, chains)]
            cells = [cell for cell in cells if not (options.quick and cell[1] == Setting(cell[1].metric, 1000))]
            prepared(team, [(name, asked(target, chains, setting, options)) for name, setting in cells])
            spent = dict.fromkeys(cells, 0.0)
            for seed in range(1, options.seeds + 1):
                for cell in cells:
                    if spent[cell] >= options.limit:
                        continue
                    name, setting = cell
                    start, busy = time.perf_counter(), busy_seconds() - _worked(team)
                    answer = team[name].ask(act="run", seed=seed, **asked(target, chains, setting, options))
                    took = time.perf_counter() - start
                    others = (busy_seconds() - _worked(team) - busy) / took
                    spent[cell] += took
                    print(f"{target}, {chains} chains, {name} ({setting}), seed {seed}: {took:.1f} s", file=sys.stderr)
                    about = {"target": target, "chains": chains, "library": name, "setting": str(setting), "seed": seed}
                    yield about | {"cores_used_by_others": round(others, 2)} | answer


def _worked(team: dict[str, Worker]) -> float:
    return sum(worked(worker.process.pid) for worker in team.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--quick", action="store_true", help="some minutes, to see that it runs: short chains, 4 and 64"
    )
    parser.add_argument("--libraries", nargs="*", default=RIVALS, choices=RIVALS, help="the rivals to run")
    parser.add_argument(
        "--targets", nargs="*", choices=list(DIMENSIONS), help="default: all four; quick: the first two"
    )
    parser.add_argument("--chains", nargs="*", type=int, choices=CHAINS, help="numbers of chains (default: all)")
    parser.add_argument("--seeds", type=int, help="runs of each setting (default 3; quick 1)")
    parser.add_argument("--limit", type=float, default=LIMIT, help="seconds after which a setting gets no further seed")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="cores for each library (default: all)")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall", help="cpu: for a busy machine, --threads 1")
    parser.add_argument("--out", type=Path, help="where the raw results go (default benchmarks/results)")
    parser.add_argument("--table", type=Path, metavar="FILE", help="measure nothing, print the tables of a run's JSON")
    options = parser.parse_args()
    if options.table:
        print(report(json.loads(options.table.read_text(encoding="utf-8"))))
        return
    options.targets = options.targets or list(DIMENSIONS)[: 2 if options.quick else None]
    options.chains = options.chains or (CHAINS[:2] if options.quick else CHAINS)
    options.seeds = options.seeds or (1 if options.quick else 3)
    if options.libraries:
        prepare_environment()
    team = {name: Worker(name, options.threads, f"chains_{name}") for name in (OURS, *options.libraries)}
    out = options.out or (None if options.quick else HERE / "results")
    facts = machine(options.threads) | {"load_before": round(os.getloadavg()[0], 2), "table_clock": options.clock}
    result: dict = {"date": date.today().isoformat(), "machine": facts}
    begun = time.perf_counter()
    try:
        result["libraries"] = {name: worker.ask(act="hello") for name, worker in team.items()}
        result |= {"apart": checked(team, options.targets), "rows": []}
        for row in measured(team, options):
            result["rows"].append(row)
            facts["seconds"] = round(time.perf_counter() - begun)
            if out:  # after each row, so that nothing is lost
                out.mkdir(parents=True, exist_ok=True)
                text = json.dumps(result, indent=1) + "\n"
                (out / f"{result['date']}-chains.json").write_text(text, encoding="utf-8")
    finally:
        for worker in team.values():
            worker.process.kill()
            worker.process.wait()
    print(report(result))


if __name__ == "__main__":
    main()
