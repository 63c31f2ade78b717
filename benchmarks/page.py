"""Write the table and the picture of docs/solvers.md from the results of solvers.py and learned.py.

    .venv/bin/python benchmarks/page.py

The table has, for each problem, the evaluations that the best sampler of each library needs, then how near the best of
each comes on learned pictures; the picture shows the same as lines.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from workers.environment import OURS

HERE = Path(__file__).resolve().parent
PAGE, PICTURE = HERE.parent / "docs" / "solvers.md", HERE.parent / "docs" / "images" / "solvers.png"
BEGIN, END = "<!-- made by benchmarks/page.py -->", "<!-- end -->"
TOLERANCES, BUDGETS = ("0.01", "0.001", "0.0001"), ("5", "10", "20")
FITTED, UNFITTED = "driftback, fitted", "driftback, not fitted"
COLOURS = {FITTED: "C3", UNFITTED: "C1", "diffusers": "C0", "kdiffusion": "C2", "azula": "C4"}


def latest(name: str) -> dict:
    """The last committed result of a benchmark."""
    return json.loads(max((HERE / "results").glob(f"*-{name}.json")).read_text(encoding="utf-8"))


def who(row: dict) -> str:
    """The column of a row: the library, ours in two."""
    if row["library"] != OURS:
        return row["library"]
    return FITTED if row["solver"] == "fitted" else UNFITTED


def best(rows: list[dict], number: str) -> dict[str, tuple[float, str]]:
    """For each column the least evaluations for a tolerance, or the least error for a budget, and whose it is."""
    found: dict[str, tuple[float, str]] = {}
    for row in rows:
        cell = row.get("needs", row).get(number) or {}
        value = cell.get("evaluations" if "needs" in row else "error")
        if value is not None:
            found[who(row)] = min(found.get(who(row), (math.inf, "")), (value, row["solver"]))
    return found


def table(solvers: dict, learned: dict) -> str:
    """The block of the page, between its marks."""
    columns = [FITTED, UNFITTED, *(name for name in solvers["libraries"] if name != OURS)]
    lines = [BEGIN, "", "| | | " + " | ".join(columns) + " |", "| --- | ---: |" + " ---: |" * len(columns)]
    for d, rows in sorted(solvers["solve"].items(), key=lambda item: int(item[0])):
        for tolerance in TOLERANCES:
            lines.append(_line(f"mixtures, d = {d}", f"error {tolerance}", best(rows, tolerance), columns, "{:.0f}"))
    for method, rows in learned["near"].items():
        for budget in BUDGETS:
            lines.append(_line(f"digits, `{method}`", f"{budget} evaluations", best(rows, budget), columns, "{:.4f}"))
    picture = f"![Error against evaluations, by library](images/{PICTURE.name})"
    return "\n".join([*lines, "", picture, "", END])


def _line(problem: str, row: str, found: dict, columns: list[str], form: str) -> str:
    low = min(value for value, _ in found.values())
    cells = []
    for column in columns:
        value, name = found.get(column, (None, ""))
        text = "-" if value is None else form.format(value)
        text = f"**{text}**" if value == low else text
        cells.append(text if column == FITTED or value is None else f"{text} ({name})")
    return f"| {problem} | {row} | " + " | ".join(cells) + " |"


def draw(solvers: dict, learned: dict, path: Path) -> None:
    """The picture: a panel for each dimension and for each model."""
    panels = [(f"mixtures, d = {d}", rows, TOLERANCES) for d, rows in solvers["solve"].items()]
    panels += [(f"learned digits, {method}", rows, BUDGETS) for method, rows in learned["near"].items()]
    figure, axes = plt.subplots(1, len(panels), figsize=(3.3 * len(panels), 3.4), layout="constrained")
    for ax, (title, rows, numbers) in zip(axes, panels, strict=True):
        _panel(ax, rows, numbers)
        ax.set_title(title, fontsize=10)
        ax.set_xlabel("evaluations")
    axes[0].set_ylabel("error at the end (best sampler of each)")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(COLOURS), frameon=False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _panel(ax: Axes, rows: list[dict], numbers: tuple[str, ...]) -> None:
    for column, colour in COLOURS.items():
        found = [(float(number), best(rows, number).get(column)) for number in numbers]
        pairs = [(number, cell[0]) for number, cell in found if cell]
        x, y = [value for _, value in pairs], [number for number, _ in pairs]
        x, y = (x, y) if numbers is TOLERANCES else (y, x)
        ax.plot(x, y, "o-", color=colour, label=column, markersize=4, lw=2 if column == FITTED else 1.2)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ticks = [10, 20, 50, 100] if numbers is TOLERANCES else [int(budget) for budget in BUDGETS]
    ax.set_xticks(ticks, ticks)
    ax.minorticks_off()
    ax.grid(alpha=0.3)


def main() -> None:
    """Replace what stands between the marks, and draw the picture."""
    solvers, learned = latest("solvers"), latest("learned")
    text = PAGE.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN, 1)
    PAGE.write_text(before + table(solvers, learned) + rest.split(END, 1)[1], encoding="utf-8")
    draw(solvers, learned, PICTURE)


if __name__ == "__main__":
    main()
