"""`driftback evaluate`: every number with its interval, and with the floor that real data reaches against real data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from driftback.cli import options
from driftback.cli.output import emit, number, say, show, table
from driftback.cli.places import free
from driftback.cli.progress import progress

FEATURES = ("auto", "efficientnet-lite0", "patches", "inception", "none")
EXAMPLES = (
    "driftback evaluate runs/digits --report",
    "driftback evaluate runs/digits --gallery nearest.png",
    "driftback evaluate runs/moons fresh.csv --json",
)


def evaluate(
    run: options.Run,
    data: options.Data = None,
    n: Annotated[int | None, typer.Option("-n", "--n", help="Samples to judge. Default: 1000; 2000 points.")] = None,
    report: Annotated[bool, typer.Option("--report", help="Write RUN/report.html too, one offline file.")] = False,
    gallery: Annotated[
        Path | None, typer.Option(help="A .png to draw: samples beside their nearest training pictures, nearest first.")
    ] = None,
    features: Annotated[
        str, typer.Option(metavar="NAME", help=f"What pictures are judged in: {', '.join(FEATURES)}. Default: auto.")
    ] = "auto",
    fid_weights: Annotated[
        Path | None, typer.Option(help="A file with Inception's weights: tells FID and KID by torch-fidelity.")
    ] = None,
    force: options.Force = False,
    seed: options.Seed = 0,
    size: options.Size = None,
    channels: options.Channels = None,
    aspect: options.Aspect = None,
    columns: options.Columns = None,
    label: options.LabelColumn = None,
    caption: options.Caption = None,
    numbers: options.Numbers = None,
    checkpoint: options.Weights = options.Checkpoint.last,
    ema: options.Ema = None,
    device: options.Device = None,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Judge a model: distances with intervals and floors, precision and recall, memorisation, labels."""
    from driftback.evaluation.metric import PER_CLASS
    from driftback.recipes import evaluate as recipe
    from driftback.recipes.model import load
    from driftback.recipes.neighbours import refuse_points, write_gallery
    from driftback.recipes.report import REPORT, write_report

    if gallery is not None:
        free(gallery, (".png",), force=force)
    model = load(run, device=device, checkpoint=checkpoint.value, ema=ema)
    if gallery is not None:
        refuse_points(model)
    reading = options.reading(size, channels, columns, label, aspect=aspect, caption=caption, numbers=numbers)
    other = None if data is None else recipe.like(model.config, data, **reading)
    real = recipe.real_items(model.config, other)
    if not real.known:
        say(f"the training items cannot be read again: {data} takes their place, so copies of them cannot be seen")
    if real.left_out:
        say(f"{real.left_out} items of {data} were trained on and are left out")
    with progress("drawing", quiet=quiet) as update:
        found = recipe.evaluate(
            model,
            real,
            n=n,
            seed=seed,
            features=features,
            fid_weights=fid_weights,
            progress=lambda done, total: update(done, total, ""),
        )
    recorded = other is None and checkpoint is options.Checkpoint.last and ema is None
    bits = recipe.recorded_bits(run) if recorded else None
    metrics = found.metrics if bits is None else (*found.metrics, bits)
    found = replace(found, metrics=metrics)
    recipe.write_evaluation(run, metrics)
    if report:
        write_report(run, model, found)
        say(f"wrote {run / REPORT}")
    if gallery is not None:
        near = write_gallery(gallery, model, found)
        say(f"wrote {gallery}: {len(near.samples)} pairs, {int(near.copies.sum())} of them copies")
    if found.drawn_on:
        say(found.drawn_on)
    if found.diagnosis:
        say(f"warning: {found.diagnosis}")
    if json:
        emit({"metrics": [metric.as_json() for metric in metrics]})
        return
    table(
        ("measurement", "value", "95 % interval", "floor", "samples", "verdict"),
        [
            (
                metric.name,
                number(metric.value),
                _range(metric.low, metric.high),
                _range(metric.floor_low, metric.floor_high),
                str(metric.n),
                metric.verdict,
            )
            for metric in metrics
        ],
        right=(1, 2, 3, 4),
    )
    apart = (*PER_CLASS, recipe.BITS)
    drawn, least = len(found.samples), min(metric.n for metric in metrics if not metric.name.startswith(apart))
    show("The floor is where 95 of 100 such numbers fall when real data is compared with real data.")
    show("A small p is a distance that chance rarely gives; of ten, one below 0.1 is no surprise for a perfect model.")
    if features == "auto" and any("(patches features" in metric.name for metric in metrics):
        show("Features are those of a small dictionary of patches; pip install 'driftback[features]' for a network's.")
    if least < drawn:
        show(f"{drawn} samples were drawn; some numbers use {least} of them, as many as there are real items beside.")


def _range(low: float | None, high: float | None) -> str:
    return "-" if low is None or high is None else f"{number(low)} .. {number(high)}"
