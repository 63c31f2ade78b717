"""How good is what is learned in five minutes: Fashion-MNIST by class, judged beside torchcfm and diffusers.

Every library trains for the same wall-clock time on all cores, one after the other, and draws 100 pictures of each
class; a classifier's features judge them. The rivals meet it twice: with a network of their own examples' kind, and
with their loss and samplers on driftback's network, so that it is plain what the network gives and what the method
gives. A rival has the best of its learning rates, by its own loss on test pictures after a tenth of the time, and the
best of its samplers, by the judge. See docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path

import numpy as np
import torch
from workers.environment import ENVIRONMENT, HERE, OURS, prepare_environment
from workers.fashion_judge import Judge, read
from workers.machine import busy_seconds, machine

RIVALS = ("torchcfm", "diffusers")
RATES = {"torchcfm": (1e-3, 3e-4), "diffusers": (1e-4, 5e-4, 1e-3)}
"""Learning rates, each tried for a tenth of the time: the library's own, and what is usual for a small U-Net."""
BATCH = {"own": 32, "shared": 32}
SOURCE = Path("/usr/share/datasets/fashion-mnist")
PILOT = 0.1


def learn(
    library: str, network: str, seconds: float, rate: float, spec: dict, folder: Path, threads: int, quick: bool = False
) -> dict:
    """What a library's process tells of its training; its pictures lie in `folder`."""
    name = f"{library}-{network}-{rate:g}-{seconds:.0f}"
    task = {
        "pictures": str(folder / "train.npz"),
        "fresh": str(folder / "test.npz"),
        "out": str(folder / f"{name}.npz"),
        "network": network,
    }
    task |= {"seconds": seconds, "rate": rate, "batch": BATCH.get(network, 0), "spec": spec, "threads": threads}
    task |= {"quick": quick}
    python = sys.executable if library == OURS else ENVIRONMENT / "bin" / "python"
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [str(python), "-m", f"workers.fashion_{library}", json.dumps(task)]
    busy = busy_seconds()
    done = subprocess.run(command, cwd=HERE, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(f"{library} failed on its {network} network; what it said is above")
    facts = json.loads(done.stdout) | {"rate": rate, "busy_seconds": busy_seconds() - busy}
    if quick:
        return facts
    with np.load(task["out"]) as drawn:
        return facts | {"drawn": {key: drawn[key] for key in drawn.files}}


def judged(judge: Judge, facts: dict) -> dict:
    """The facts with the distance of each sampler's pictures in place of these."""
    drawn = facts.pop("drawn")
    found = {name: {"distance": judge.distance(x), "error": judge.spread(x)} for name, x in drawn.items()}
    best = min(found, key=lambda name: found[name]["distance"])
    return facts | {"samplers": found, "best": best, "excess": found[best]["distance"] - judge.floor}


def rival(judge: Judge, library: str, network: str, options: argparse.Namespace, spec: dict, folder: Path) -> dict:
    """A rival with the best of its learning rates, each of which was tried for a part of the time."""
    tried = {}
    for rate in RATES[library]:
        found = learn(library, network, PILOT * options.seconds, rate, spec, folder, options.threads, quick=True)
        tried[rate] = found["loss"]
        print(f"{library}, {network}: rate {rate:g} tried, loss {tried[rate]:.4f}", file=sys.stderr, flush=True)
    best = min(tried, key=lambda rate: tried[rate])
    found = judged(judge, learn(library, network, options.seconds, best, spec, folder, options.threads))
    return found | {"tried": {str(rate): loss for rate, loss in tried.items()}}


def table(result: dict) -> str:
    """A run as Markdown."""
    facts, judge = result["machine"], result["judge"]
    rows = [
        f"{result['date']}, {facts['cpu']} ({facts['cores']} cores), {facts['system']}, torch {result['torch']}; "
        f"{result['minutes']:g} minutes each; the judge is right on {judge['accuracy']:.1%} of the test pictures, and "
        f"puts 1,000 real ones at {judge['floor']:.2f} ({judge['low']:.2f} to {judge['high']:.2f}).",
        "",
        "| library | network | parameters | pictures seen | sampler | distance | ± | above the floor |",
        "| --- | --- | ---: | ---: | --- | ---: | ---: | ---: |",
    ]
    for row in result["rows"]:
        found = row["samplers"][row["best"]]
        numbers = (found["distance"], found["error"], row["excess"])
        cells = (row["library"], row["network_kind"], f"{row['parameters']:,}", f"{row['pictures']:,}", row["best"])
        rows.append("| " + " | ".join((*cells, *(f"{number:.2f}" for number in numbers))) + " |")
    return "\n".join(rows)


def main() -> None:
    """Train all, judge all, and write the raw results."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=5.0, help="of training, for everybody (default 5)")
    parser.add_argument("--data", type=Path, default=SOURCE, help="the folder of the four IDX files")
    parser.add_argument("--libraries", nargs="*", default=RIVALS, choices=RIVALS, help="the rivals to run")
    parser.add_argument("--networks", nargs="*", default=("own", "shared"), choices=("own", "shared"))
    parser.add_argument("--no-ours", action="store_true", help="the rivals alone, with --networks own")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="cores for everybody (default: all)")
    parser.add_argument("--out", type=Path, help="where the raw results go (default benchmarks/results)")
    parser.add_argument("--keep", type=Path, help="a folder for the models and pictures (default: thrown away)")
    parser.add_argument("--table", type=Path, metavar="FILE", help="measure nothing, print the table of a run's JSON")
    options = parser.parse_args()
    if options.table:
        print(table(json.loads(options.table.read_text(encoding="utf-8"))))
        return
    if options.no_ours and "shared" in options.networks:
        sys.exit("what is shared is driftback's network: give --networks own, or leave --no-ours out")
    if not options.data.is_dir():
        sys.exit(f"{options.data} is missing: install Debian's dataset-fashion-mnist, or give its folder with --data")
    options.seconds = 60 * options.minutes
    if options.libraries:
        prepare_environment()
    torch.set_num_threads(options.threads)
    data = read(options.data)
    judge = Judge(data)
    rows = []
    with tempfile.TemporaryDirectory() as place:
        folder = options.keep or Path(place)
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(folder / "train.npz", x=data["x"], y=data["y"].astype(np.int64))
        np.savez(folder / "test.npz", x=data["test x"], y=data["test y"].astype(np.int64))
        ours: dict = {"network": {}}
        if not options.no_ours:
            ours = judged(judge, learn(OURS, "default", options.seconds, 0.0, {}, folder, options.threads))
            rows.append({"library": OURS, "network_kind": "its default"} | ours)
            print(f"{OURS}: excess {ours['excess']:.2f}", file=sys.stderr, flush=True)
        for library in options.libraries:
            for network in options.networks:
                found = rival(judge, library, network, options, ours["network"], folder)
                kind = {"own": "its own", "shared": "driftback's"}[network]
                rows.append({"library": library, "network_kind": kind} | found)
                print(f"{library}, {network}: excess {found['excess']:.2f}", file=sys.stderr, flush=True)
    found = {"accuracy": judge.accuracy, "floor": judge.floor, "low": min(judge.floors), "high": max(judge.floors)}
    result = {"date": date.today().isoformat(), "machine": machine(options.threads), "torch": torch.__version__}
    result |= {"minutes": options.minutes, "judge": found, "rows": rows}
    print(table(result))
    out = options.out or HERE / "results"
    out.mkdir(parents=True, exist_ok=True)
    which = "-rivals" if options.no_ours else ""
    path = out / f"{result['date']}-fashion-{options.minutes:g}{which}.json"
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
