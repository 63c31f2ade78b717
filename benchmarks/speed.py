"""How fast driftback trains and samples, as a ratio to public projects that run beside it.

One worker process per library, each in its own environment, does the same task for a short while; then the next library
does. Rounds A B C D, B C D A ... are repeated, and a ratio is taken within each round, so that a machine that slows
down slows all of them. Above 1 driftback is the faster one. See docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

from scipy.stats import binom
from workers.environment import OURS, Worker, prepare_environment
from workers.machine import busy_seconds, machine, worked

HERE = Path(__file__).resolve().parent
RIVALS = ("diffusers", "azula", "torchcfm")
CLOCKS = ("wall", "cpu")


@dataclass(frozen=True)
class Task:
    """One row of the table: what is timed, on which pictures and network, and how many steps make one reading."""

    act: str
    case: str
    kind: str
    steps: int
    sampler: str | None = None

    @property
    def name(self) -> str:
        """The row's name."""
        network = "no network" if self.kind == "none" else f"{self.kind} network"
        return " · ".join(filter(None, (self.act, self.case, network, self.sampler)))

    def message(self, quick: bool) -> dict:
        """What a worker is asked."""
        ask = {key: value for key, value in asdict(self).items() if value is not None}
        return ask | {"steps": max(2, self.steps // 8)} if quick else ask


SAMPLERS = ("euler", "heun", "dpm-2m", "dpm-3m", "unipc-3", "deis-3", "ancestral", "sde-dpm-2m")
"""As driftback calls them; Heun's rule has two evaluations a step, the others one."""
TASKS = (
    *(Task("train", case, kind, 3) for case in ("8x8", "28x28") for kind in ("own", "same")),
    *(
        Task("sample", case, kind, 4, sampler)
        for case in ("8x8", "28x28")
        for kind in ("own", "same")
        for sampler in ("euler", "ancestral")
    ),
    *(Task("sample", case, "none", 100, sampler) for case in ("8x8", "28x28") for sampler in SAMPLERS),
)


@contextmanager
def workers(names: list[str], threads: int) -> Iterator[list[Worker]]:
    """The libraries' processes, ended when the block is left."""
    started = [Worker(name, threads) for name in names]
    try:
        yield started
    finally:
        for worker in started:
            worker.process.kill()
            worker.process.wait()


def measure(team: list[Worker], tasks: list[Task], rounds: int, quick: bool) -> tuple[dict, list[float]]:
    """Seconds per step, {clock: {task: {library: [one per round]}}}, and how many cores other processes used."""
    seconds: dict = {clock: {task.name: {} for task in tasks} for clock in CLOCKS}
    others = []
    for r in range(0 if quick else -1, rounds):  # round -1 builds and warms up
        start, busy = time.perf_counter(), busy_seconds() - sum(worked(w.process.pid) for w in team)
        for k, task in enumerate(tasks):
            turn = (r + k) % len(team)
            for worker in team[turn:] + team[:turn]:
                answer = worker.ask(**task.message(quick or r < 0))
                if not answer.get("finite", True):
                    sys.exit(
                        f"{worker.name} failed at '{task.name}': what came out is not finite, so its time means nothing"
                    )
                for clock in CLOCKS:
                    if r >= 0 and clock in answer:
                        seconds[clock][task.name].setdefault(worker.name, []).append(answer[clock])
        spent = busy_seconds() - sum(worked(w.process.pid) for w in team) - busy
        if r >= 0:
            others.append(spent / (time.perf_counter() - start))
        print(f"round {r + 1} of {rounds}, other processes used {spent:.0f} s", file=sys.stderr)
    return seconds, others


def ratios(seconds: dict, rival: str) -> list[float]:
    """The rival's time over ours, round by round."""
    return [theirs / ours for theirs, ours in zip(seconds[rival], seconds[OURS], strict=True)]


def interval(values: list[float], level: float = 0.95) -> tuple[float, float] | None:
    """An interval for the median that holds whatever the law of `values`, by the sign test; None for too few values."""
    values, n = sorted(values), len(values)
    cut = int(binom.ppf((1 - level) / 2, n, 0.5))
    if cut and binom.cdf(cut - 1, n, 0.5) > (1 - level) / 2:
        cut -= 1
    return (values[cut - 1], values[n - cut]) if cut else None


def table(seconds: dict, libraries: dict) -> list[str]:
    """The ratios as a Markdown table."""
    rivals = [name for name in libraries if name != OURS]
    rows = [f"| time per step | {OURS} |" + "".join(f" {name} {libraries[name]['version']} |" for name in rivals)]
    rows.append("| --- | ---: |" + " ---: |" * len(rivals))
    for task, times in seconds.items():
        cells = [f"{1e3 * statistics.median(times[OURS]):.3g} ms"]
        for rival in rivals:
            if rival not in times:
                cells.append("not offered")
                continue
            found = ratios(times, rival)
            band = interval(found)
            cells.append(f"{statistics.median(found):.2f}" + (f" ({band[0]:.2f} .. {band[1]:.2f})" if band else ""))
        rows.append(f"| {task} | " + " | ".join(cells) + " |")
    return rows


def network_table(libraries: dict) -> list[str]:
    """The networks' sizes as a Markdown table."""
    rows = ["| network | parameters | MFLOP a picture | memory layout |", "| --- | ---: | ---: | --- |"]
    for case in dict.fromkeys(task.case for task in TASKS):
        for name, library in libraries.items():
            if facts := library["networks"].get(f"{case} own"):
                size, flops = facts["parameters"], facts["flops_per_picture"] / 1e6
                rows.append(f"| {name}, {case} | {size:,} | {flops:.0f} | {facts['memory_layout']} |")
    return rows


def report(result: dict) -> str:
    """A run as docs/benchmarks.md shows it: where and when, the times, and the networks."""
    facts, libraries = result["machine"], result["libraries"]
    clock, others = facts["table_clock"], statistics.mean(facts["cores_used_by_others"])
    rounds = len(next(iter(result["seconds"][clock].values()))[OURS])
    where = (
        f"{result['date']}, {facts['cpu']} ({facts['cores']} cores), {facts['system']}, Python {facts['python']}, "
        f"torch {libraries[OURS]['torch']}, threads: {facts['threads']}, clock: {clock}, rounds: {rounds}. "
        f"Other processes used {others:.2f} cores."
    )
    times = table(result["seconds"][clock], libraries)
    return "\n".join([where, "", *times, "", *network_table(libraries), "", "Above 1 driftback is faster."])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=9, help="readings per task and library (default 9)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="torch's threads (default: all cores)")
    parser.add_argument("--quick", action="store_true", help="under a minute, to see that it runs: one short round")
    parser.add_argument("--libraries", nargs="*", default=RIVALS, choices=RIVALS, help="the rivals to run")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: for a busy machine, with --threads 1")
    parser.add_argument("--out", type=Path, help="where the raw results go (default benchmarks/results)")
    parser.add_argument("--table", type=Path, metavar="FILE", help="measure nothing, print the tables of a run's JSON")
    options = parser.parse_args()
    if options.table:
        print(report(json.loads(options.table.read_text(encoding="utf-8"))))
        return
    if options.libraries:
        prepare_environment()
    tasks = [task for task in TASKS if task.case == "8x8" or not options.quick]
    load = os.getloadavg()[0]
    with workers([OURS, *options.libraries], options.threads) as team:
        libraries = {worker.name: worker.ask(act="hello") for worker in team}
        seconds, others = measure(team, tasks, 1 if options.quick else options.rounds, options.quick)
        for worker in team:
            libraries[worker.name]["networks"] = worker.ask(act="facts")
    facts = machine(options.threads) | {"load_before": round(load, 2), "cores_used_by_others": others}
    facts["table_clock"] = options.clock
    result = {"date": date.today().isoformat(), "machine": facts, "libraries": libraries, "seconds": seconds}
    print(report(result))
    out = options.out or (None if options.quick else HERE / "results")
    if out:
        out.mkdir(parents=True, exist_ok=True)
        (out / f"{result['date']}-speed.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
