"""Pictures without training, beside a network that was trained for as long: Fashion-MNIST by what is remembered.

`driftback fit --method recorded|smoothed|patches` keeps the pictures, and draws by the exact score of these, of these
smoothed, and of their patches. Judged are the feature distance of 100 pictures of each class (the judge of
benchmarks/fashion.py) and copies of training pictures; the network is fitted by default for the minutes that `patches`
took to fit and to draw, less what it takes beside its training. See docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

import numpy as np
import torch
from workers.environment import HERE
from workers.fashion import CLASSES, EACH
from workers.fashion_judge import Judge, read
from workers.machine import machine

import driftback as db
from driftback.evaluation.memorisation import memorisation

SOURCE = Path("/usr/share/datasets/fashion-mnist")
METHODS = ("recorded", "smoothed", "patches")
DRAWING = 50.0
"""Seconds that a small network takes beside its training: to read, to be judged as it goes, and to draw as many."""


def drawn(folder: Path, data: Path, **given: object) -> tuple[np.ndarray, dict]:
    """Pictures in the order of their classes, and the seconds that fitting and drawing took."""
    begun = time.perf_counter()
    model = db.fit(data, y="y", out=folder, seed=0, force=True, **given)
    fitted = time.perf_counter()
    x = model.sample(CLASSES * EACH, label=[model.classes[k] for k in range(CLASSES) for _ in range(EACH)], seed=0)
    return x, {"fit": fitted - begun, "draw": time.perf_counter() - fitted, "method": model.config.method}


def judged(judge: Judge, x: np.ndarray, data: dict) -> dict:
    """The feature distance, and which share copies training pictures, for test pictures too."""
    flat = {name: data[name].reshape(len(data[name]), -1).astype(np.float32) for name in ("x", "test x")}
    found = memorisation(x.reshape(len(x), -1).astype(np.float32), flat["x"], flat["test x"][:1000])
    told = {"distance": judge.distance(x), "error": judge.spread(x), "copies": found.copies.value}
    return told | {"fresh copies": [found.copies.floor_low, found.copies.floor_high], "verdict": found.copies.verdict}


def table(result: dict) -> str:
    """A run as Markdown."""
    rows = [
        "| method | fit, s | draw 1,000, s | distance | ± | copies | verdict |",
        "| --- |" + " ---: |" * 5 + " --- |",
    ]
    for row in result["rows"]:
        rows.append(
            f"| {row['name']} | {row['fit']:.0f} | {row['draw']:.0f} | {row['distance']:.2f} | {row['error']:.2f} | "
            f"{100 * row['copies']:.1f} % | {row['verdict']} |"
        )
    facts = result["machine"]
    top = f"{result['date']}, {facts['cpu']} ({facts['cores']} cores); real pictures are at {result['floor']:.2f}."
    return "\n".join([top, "", *rows])


def main() -> None:
    """Fit, draw and judge all, and write the raw results."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=SOURCE, help="the folder of the four IDX files")
    parser.add_argument("--out", type=Path, help="where the raw results go (default benchmarks/results)")
    parser.add_argument("--table", type=Path, metavar="FILE", help="measure nothing, print the table of a run's JSON")
    options = parser.parse_args()
    if options.table:
        print(table(json.loads(options.table.read_text(encoding="utf-8"))))
        return
    if not options.data.is_dir():
        sys.exit(f"{options.data} is missing: install Debian's dataset-fashion-mnist, or give its folder with --data")
    data = read(options.data)
    judge, rows = Judge(data), []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        np.savez(folder / "train.npz", x=data["x"], y=data["y"].astype(np.int64))
        for name in (*METHODS, "a network"):
            given: dict = {"method": name}
            if name == "a network":
                given = {"minutes": max(0.5, (rows[-1]["fit"] + rows[-1]["draw"] - DRAWING) / 60)}
            x, told = drawn(folder / name.replace(" ", "-"), folder / "train.npz", **given)
            rows.append({"name": name} | told | judged(judge, x, data))
            print(rows[-1], file=sys.stderr, flush=True)
    result = {"date": date.today().isoformat(), "machine": machine(os.cpu_count() or 1), "torch": torch.__version__}
    result |= {"floor": judge.floor, "rows": rows}
    print(table(result))
    out = options.out or HERE / "results"
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{result['date']}-remembering.json").write_text(json.dumps(result) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
