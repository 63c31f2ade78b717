"""The tables of benchmarks/chains.py.

A ratio is that of the means over seeds, each library in the setting in which that mean is largest; its range is over
all pairs of seeds. Two numbers in a cell of the last table are those of sampling alone and of all with the warm-up.
"""

from __future__ import annotations

from statistics import fmean

from workers.environment import OURS

CHAINS = (4, 64, 256, 1024)
DISAGREE = 1.1
"""The R-hat from which on chains have not found the same law; in a few chains as short as these 1.01 means nothing."""


def rate(row: dict, per: str, phase: str, clock: str) -> float:
    """Effective draws per evaluation or second, of the sampling `phase` ('draw') or with the warm-up ('all')."""
    spent = {name: part[clock] if per == "seconds" else part for name, part in row[per].items() if name != "compiled"}
    return row["ess"] / (spent["draw"] if phase == "draw" else sum(spent.values()))


def best(rows: list[dict], per: str, phase: str, clock: str) -> list[dict]:
    """The rows of the setting that is best in the mean over its seeds."""
    grouped: dict[str, list[dict]] = {}
    for row in rows:
        if "failed" not in row:
            grouped.setdefault(row["setting"], []).append(row)
    return max(grouped.values(), key=lambda group: fmean(rate(row, per, phase, clock) for row in group), default=[])


def compared(ours: list[dict], theirs: list[dict], per: str, phase: str, clock: str) -> str:
    """Ours over theirs: the ratio of means, and its range over all pairs of seeds."""
    mine, other = ([rate(row, per, phase, clock) for row in rows] for rows in (ours, theirs))
    pairs = [a / b for a in mine for b in other]
    spread = f" ({min(pairs):.2g} .. {max(pairs):.2g})" if len(pairs) > 1 else ""
    return f"{fmean(mine) / fmean(other):.2g}{spread}{_doubt(ours + theirs)}"


def _doubt(rows: list[dict]) -> str:
    return " !" if max(row["rhat"] for row in rows) > DISAGREE else ""


def table(result: dict, per: str, phase: str) -> list[str]:
    """For each target and number of chains ours, and ours over each rival's, each in its best setting."""
    clock, libraries = result["machine"]["table_clock"], result["libraries"]
    # An evaluation of a density alone is no gradient.
    rivals = [name for name in libraries if name != OURS and (per == "seconds" or _gradients(libraries, name))]
    lines = [f"| target | chains | {OURS} | metric |" + "".join(f" {name} |" for name in rivals)]
    lines.append("| --- | ---: | ---: | --- |" + " ---: |" * len(rivals))
    for target in dict.fromkeys(row["target"] for row in result["rows"]):
        for chains in CHAINS:
            here = {"target": target, "chains": chains}
            ours = best(_chosen(result, library=OURS, **here), per, phase, clock)
            if not ours:
                continue
            cells = [f"{fmean(rate(row, per, phase, clock) for row in ours):.3g}{_doubt(ours)}"]
            cells.append(ours[0]["setting"].split(",")[0])
            for name in rivals:
                many = 1 if (name, chains) == ("pyro", 4) else chains
                theirs = best(_chosen(result, library=name, target=target, chains=many), per, phase, clock)
                cells.append(compared(ours, theirs, per, phase, clock) if theirs else "")
            lines.append(f"| {target} | {chains} | " + " | ".join(cells) + " |")
    return lines


def _gradients(libraries: dict, name: str) -> bool:
    return libraries[name]["counts"] == "gradients"


def _chosen(result: dict, **wanted: object) -> list[dict]:
    return [row for row in result["rows"] if all(row[key] == value for key, value in wanted.items())]


def full_table(result: dict) -> list[str]:
    """Every setting that was measured: means over the seeds."""
    clock = result["machine"]["table_clock"]
    lines = [
        "| target | chains | library | setting | seeds | ESS | R-hat | off | ESS per evaluation, all | ESS/s, all |"
    ]
    lines[0] += " compiling |"
    lines.append("| --- | ---: | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    groups: dict[tuple, list[dict]] = {}
    for row in result["rows"]:
        groups.setdefault((row["target"], row["chains"], row["library"], row["setting"]), []).append(row)
    for (target, chains, library, setting), group in groups.items():
        start, rows = f"| {target} | {chains} | {library} | {setting} |", [r for r in group if "failed" not in r]
        if not rows:
            lines.append(f"{start} {group[0]['failed']} | | | | | | |")
            continue
        cells = [str(len(rows)), f"{fmean(r['ess'] for r in rows):.0f}", f"{max(r['rhat'] for r in rows):.3f}"]
        cells.append(f"{max(r['off'] for r in rows):.1f}" if "off" in rows[0] else "")
        for per, form in (("evaluations", ".3g"), ("seconds", ".0f")):
            one, other = (fmean(rate(r, per, phase, clock) for r in rows) for phase in ("draw", "all"))
            cells.append(f"{one:{form}}, {other:{form}}")
        compiling = sum(r["seconds"]["compiled"][clock] for r in rows)
        lines.append(f"{start} " + " | ".join(cells) + f" | {f'{compiling:.1f} s' if compiling else ''} |")
    return lines


def report(result: dict) -> str:
    """A run as Markdown."""
    facts = result["machine"]
    versions = ", ".join(f"{name} {library['version']}" for name, library in result["libraries"].items())
    others = fmean(row["cores_used_by_others"] for row in result["rows"])
    where = (
        f"{result['date']}, {facts['cpu']} ({facts['cores']} cores), {facts['system']}, {versions}, threads: "
        f"{facts['threads']}, clock: {facts['table_clock']}. Other processes used {others:.2f} cores. Log-densities "
        f"differ by {max(far for one in result['apart'].values() for far in one.values()):.0e} at most."
    )
    parts = [where]
    for per, name in (("evaluations", "gradient"), ("seconds", "second")):
        for phase, when in (("draw", "sampling alone"), ("all", "with the warm-up")):
            parts += [f"Effective draws per {name}, {when}:", "\n".join(table(result, per, phase))]
    last = "Above 1 driftback is ahead. !: in some run R-hat was above 1.1. Pyro's is one chain, set against our four."
    return "\n\n".join([*parts, last, "Every setting:", "\n".join(full_table(result))])
