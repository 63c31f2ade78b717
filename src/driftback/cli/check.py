"""`driftback check`: what is in the data, what will be done to it, and what looks wrong."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict

import typer

from driftback.cli import options
from driftback.cli.output import emit, show
from driftback.cli.progress import reading

EXAMPLES = ("driftback check digits", "driftback check photos/ --size 32 --json")
MARKS = {"error": "error  ", "warning": "warning", "note": "note   "}
SHOWN = 5


def check(
    source: options.Source,
    size: options.Size = None,
    channels: options.Channels = None,
    aspect: options.Aspect = None,
    columns: options.Columns = None,
    label: options.LabelColumn = None,
    caption: options.Caption = None,
    numbers: options.Numbers = None,
    group: options.GroupColumn = None,
    n: options.Items = None,
    seed: options.Seed = 0,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Look at data before training: what is in it, what will be done to it, what looks wrong.

    Leaves with status 2 if fitting would be refused.
    """
    from driftback.data.buckets import named
    from driftback.data.doctor import check as examine
    from driftback.data.loading import load

    dataset = reading(load, "progress", quiet=quiet)(
        source,
        seed=seed,
        **options.reading(
            size, channels, columns, label, n, aspect=aspect, caption=caption, numbers=numbers, group=group
        ),
    )
    findings = examine(dataset)
    each = Counter(named(one) for one in ([] if dataset.shapes is None else dataset.shapes.tolist()))
    counts = {} if dataset.buckets is None else {name: each[name] for name in map(named, dataset.buckets.shapes)}
    if json:
        emit(
            {
                "kind": dataset.kind,
                "items": len(dataset),
                "shape": dataset.event_shape,
                **({"buckets": counts} if counts else {}),
                "findings": [asdict(finding) for finding in findings],
            }
        )
    else:
        sides = dataset.event_shape
        shape = " x ".join(map(str, sides)) + (" number" + "s" * (sides[0] != 1) if len(sides) == 1 else "")
        classes = f", {len(dataset.classes)} classes" if dataset.y is not None else ""
        beside = ", captions" if dataset.captions is not None else ""
        beside += f", numbers {', '.join(dataset.number_names)}" if dataset.number_names else ""
        beside += f", in {len(counts)} buckets" if counts else ""
        show(f"{dataset.name}: {len(dataset):,} {dataset.kind} of {shape}{classes}{beside}")
        for finding in findings:
            show(f"  {MARKS[finding.level]}  {finding.what}")
            for file in finding.files[:SHOWN]:
                show(f"           {file}")
            if len(finding.files) > SHOWN:
                show(f"           and {len(finding.files) - SHOWN} more (--json lists them all)")
    if any(finding.level == "error" for finding in findings):
        raise typer.Exit(2)
