"""`driftback demo`: the main job from end to end, on handwritten digits."""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer

from driftback.cli import options
from driftback.cli.fit import forecast, trained, warn
from driftback.cli.output import emit, say, show, span
from driftback.cli.progress import progress

EXAMPLES = ("driftback demo", "driftback demo --out runs/digits --minutes 10")
GRID = "grid.png"
MARK = ".demo"
"""Says that a demo made the folder, so that the next one may replace it without --force."""


def demo(
    out: Annotated[Path, typer.Option(help="The folder to make; an earlier demo there is replaced.")] = Path(
        "runs/digits"
    ),
    minutes: Annotated[float, typer.Option(help="How long the fitting may take.")] = 1.4,
    steps: Annotated[int | None, typer.Option(hidden=True)] = None,
    n: Annotated[int | None, typer.Option(hidden=True)] = None,
    seed: options.Seed = 0,
    force: options.Force = False,
    device: options.Device = None,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Learn handwritten digits, draw 100 new ones, judge them, and write a report to look at."""
    import numpy as np

    from driftback.files import write_text, writing
    from driftback.pictures.preview import picture_grid
    from driftback.recipes import evaluate as recipe
    from driftback.recipes.model import load
    from driftback.recipes.prepare import prepare
    from driftback.recipes.report import REPORT, write_report

    began = time.perf_counter()
    job = prepare(
        "digits",
        out=out,
        minutes=None if steps else minutes,
        steps=steps,
        seed=seed,
        force=force or _was_a_demo(out),
        device=device,
    )
    write_text(out / MARK, "")
    warn(job)
    if not quiet:
        forecast(job)
    summary = trained(job, f"driftback fit digits --out {out} --resume", quiet=quiet)
    fitted = time.perf_counter() - began
    model = load(out, device=device)
    asked = [name for name in model.classes for _ in range(10)]
    pictures = model.sample(len(asked), label=np.array(asked), seed=seed)
    with writing(out / GRID) as temporary:
        picture_grid(pictures, model.config.preprocessing, columns=10).save(temporary, format="PNG")
    say(f"fitted in {span(fitted)}; drew {len(asked)} new digits; judging against {summary.held_out} held-out ones")
    with progress("drawing", quiet=quiet) as update:
        found = recipe.evaluate(
            model,
            recipe.original(model.config),
            n=n,
            seed=seed + 1,
            progress=lambda done, total: update(done, total, ""),
        )
    bits = recipe.recorded_bits(out)
    found = replace(found, metrics=found.metrics if bits is None else (*found.metrics, bits))
    recipe.write_evaluation(out, found.metrics)
    write_report(out, model, found)
    if json:
        emit(asdict(summary) | {"report": str(out / REPORT), "grid": str(out / GRID)})
        return
    show(f"verdict: {summary.verdict}")
    for metric in found.metrics:
        if metric.name in ("label agreement", recipe.BITS) or metric.name.startswith("copies"):
            show(f"{metric.name}: {metric.value:.3g}; {metric.verdict}")
    show(f"look at {out / REPORT} and {out / GRID}")


def _was_a_demo(out: Path) -> bool:
    """Whether a demo made `out`, also one that was killed before it could leave its mark: then digits were to be
    learned there, and nothing has been.
    """
    from driftback.errors import DamagedModel
    from driftback.recipes import config, stored

    if (out / MARK).is_file():
        return True
    if not (out / "config.json").is_file() or (out / stored.WEIGHTS).exists() or (out / "training").exists():
        return False
    try:
        return config.read(out).source == "digits"
    except DamagedModel:
        return False
