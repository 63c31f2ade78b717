"""`driftback likelihood`: how probable data is under a model, in nats and in bits per dimension."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from driftback.cli import options
from driftback.cli.output import emit, say, show
from driftback.cli.progress import progress

if TYPE_CHECKING:
    from driftback.data.dataset import Dataset
    from driftback.recipes.model import Model

EXAMPLES = ("driftback likelihood runs/digits", "driftback likelihood runs/moons fresh.csv --per-item --json")


def likelihood(
    run: options.Run,
    data: options.Data = None,
    label_less: Annotated[
        bool, typer.Option("--label-less", help="log p(x) even where classes are known, not log p(x | class).")
    ] = False,
    per_item: Annotated[bool, typer.Option("--per-item", help="Every item, not only the mean.")] = False,
    bound: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="ode, continuous (VDM's), ddpm or entropy (the first paper's K). Default: what suits."
        ),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=2, help="The steps of the chain of ddpm and entropy. Default: 1000.")
    ] = None,
    draws: Annotated[
        int | None,
        typer.Option(min=2, help="Random draws per item, for a bound (32), or the probes of Hutchinson's estimate."),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Of a density, tell also what the solver's steps contribute.")
    ] = False,
    typical: Annotated[
        bool, typer.Option("--typicality", help="How usual each item's likelihood is among the held-out items'.")
    ] = False,
    seed: options.Seed = 0,
    size: options.Size = None,
    channels: options.Channels = None,
    aspect: options.Aspect = None,
    columns: options.Columns = None,
    label: options.LabelColumn = None,
    caption: options.Caption = None,
    numbers: options.Numbers = None,
    n: options.Items = None,
    checkpoint: options.Weights = options.Checkpoint.last,
    ema: options.Ema = None,
    device: options.Device = None,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """The log-likelihood of data under a model: the mean over the items, with its standard error in nats."""
    from driftback.errors import BadInput
    from driftback.evaluation.typicality import typicality
    from driftback.recipes import conditions
    from driftback.recipes.model import load

    model = load(run, device=device, checkpoint=checkpoint.value, ema=ema)
    if typical and data is None:
        raise BadInput(COMPARED)
    reading = options.reading(size, channels, columns, label, n, aspect=aspect, caption=caption, numbers=numbers)
    items = _held(model, run, seed, **reading) if data is None else _given(model, data, **reading)
    some = _known(model, seed) if typical else None
    if data is not None and model.config.source is not None and _same(data, model.config.source):
        say(f"{data} holds the items that the model was trained on; leave DATA out for the held-out ones")
    told = None if label_less else conditions.beside(model.config, items)
    known = "class" if model.config.condition is None else model.config.condition.column
    if told is None and (model.classes or model.config.condition is not None):
        why = "--label-less" if label_less else f"{data} has no {'labels' if model.classes else known}"
        several = "classes" if model.classes else "of them"
        say(f"{why}: this is log p(x), of all {several} together, not log p(x | {known})")
    how: dict[str, Any] = {"bound": bound, "steps": steps, "draws": draws}
    every = len(items) + (0 if some is None else len(some))
    with progress("items", quiet=quiet) as update:
        found = model.log_likelihood(
            items.x,
            told,
            shape=items.shapes,
            check=check,
            seed=seed,
            progress=lambda done, _: update(done, every, ""),
            **how,
        )
        usual = None
        if some is not None:  # with their labels only where DATA has its own
            same = None if told is None else conditions.beside(model.config, some)
            known_nats = model.log_likelihood(
                some.x,
                same,
                shape=some.shapes,
                seed=seed + 1,
                progress=lambda done, _: update(len(items) + done, every, ""),
                **how,
            ).nats
            usual = typicality(found.nats, known_nats)
    method = found.method + (f", given the {known}" if told is not None else "")
    bits, error = model.bits_per_dim(found.mean), found.standard_error
    if json:
        each = {
            "items": [
                {"nats": nats, "bits_per_dim": model.bits_per_dim(nats), "standard_error": error}
                for nats, error in zip(found.nats.tolist(), found.error.tolist(), strict=True)
            ]
        }
        record: dict[str, Any] = {
            "nats": found.mean,
            "bits_per_dim": bits,
            "standard_error": error,
            "method": method,
            "evaluations": found.evaluations,
        }
        if found.products:
            record["vector_products"] = found.products
        if found.terms is not None:
            record["terms"] = {name: float(term.mean()) for name, term in found.terms.items()}
        if found.discretisation is not None:
            record["discretisation"] = float(found.discretisation.mean())
        if usual is not None:
            record["unusual"] = float((usual.p <= UNUSUAL).double().mean())
            each = {"items": [one | {"p": p} for one, p in zip(each["items"], usual.p.tolist(), strict=True)]}
        emit(record | (each if per_item else {}))
        return
    if per_item:
        for i, (nats, its) in enumerate(zip(found.nats.tolist(), found.error.tolist(), strict=True)):
            told = "" if usual is None else f", p = {float(usual.p[i]):.3g}"
            spread = f" ± {its:.4f}" if its > 0 else ""
            show(f"item {i}: {nats:.4f}{spread} nats, {model.bits_per_dim(nats):.4f} bits per dimension{told}")
    spread = "" if error is None else f" ± {error:.4f}"
    show(f"{found.mean:.4f}{spread} nats per item, {bits:.4f} bits per dimension ({len(items)} items)")
    products = f", and {found.products} products of vectors with their Jacobian" if found.products else ""
    show(f"method: {method}; {found.evaluations} evaluations per item{products}")
    if found.terms is not None:
        show("nats: " + ", ".join(f"{name} {float(term.mean()):.4f}" for name, term in found.terms.items()))
    if found.discretisation is not None:
        mean, most = float(found.discretisation.mean()), float(found.discretisation.max())
        show(f"the steps contribute about {mean:.1g} nats per item, {most:.1g} at most")
    if usual is not None and len(items) == 1:
        show(f"typicality: p = {float(usual.p[0]):.3g}, the share of held-out items that are as far from the usual")
    elif usual is not None:
        share = float((usual.p <= UNUSUAL).double().mean())
        show(
            f"unusual: {100 * share:.1f} % of the items have p <= {UNUSUAL:g}; {100 * UNUSUAL:g} % would, were they "
            "like the held-out ones"
        )


UNUSUAL = 0.05
"""Items that are as far from the usual likelihood as this share of the held-out ones are called unusual."""
COMPARED = "--typicality compares DATA with the held-out items; give DATA, to a model that held some out"
MOST_KNOWN = 500
"""At most so many held-out items tell what is usual."""


def _held(model: Model, run: Path, seed: int, n: int | None = None, **reading: Any) -> Dataset:
    """The held-out items, or `n` of them, chosen by `seed`. BadInput where there are none or not as many, and for what
    says how to read other data.
    """
    from driftback.data.loading import load
    from driftback.errors import BadInput
    from driftback.recipes.evaluate import original

    if reading:
        option = "label" if "y" in reading else next(iter(reading))
        raise BadInput(f"--{option} says how to read DATA, and the held-out items are read as they were: give DATA too")
    held = original(model.config).held
    if held is None:
        raise BadInput(f"nothing was held out when {run} was fitted; give DATA")
    if n is not None and n > len(held):
        raise BadInput(f"{len(held)} items were held out, fewer than --n {n}: ask for less, or give DATA")
    return held if n is None else load(held, n=n, seed=seed)


def _given(model: Model, data: str, **reading: Any) -> Dataset:
    """DATA, with what was noticed on reading it said. BadInput for rows with missing values, as from Python."""
    from driftback.recipes.evaluate import like
    from driftback.recipes.shown import refuse_incomplete

    items = like(model.config, data, **reading)
    refuse_incomplete(items)
    for finding in items.findings:
        if finding.level == "warning":
            say(f"{data}: {finding.what}")
    return items


def _known(model: Model, seed: int) -> Dataset:
    """Held-out items to compare with, at most `MOST_KNOWN` of them, chosen by `seed`: they may lie sorted by class.
    BadInput where there are none.
    """
    from driftback.data.loading import load
    from driftback.errors import BadInput
    from driftback.evaluation.typicality import LEAST
    from driftback.recipes.evaluate import original

    if model.config.source is None:
        raise BadInput(
            "--typicality compares with the held-out items, and this model was fitted on data in memory, which cannot "
            "be read again; compare from Python by driftback.evaluation.typicality"
        )
    held = original(model.config).held
    if held is None or len(held) < LEAST:
        count = 0 if held is None else len(held)
        raise BadInput(
            f"--typicality compares with the held-out items, of which this model has {count}, and less than {LEAST} "
            "say little; fit with more data, or a larger --held-out"
        )
    return load(held, n=min(len(held), MOST_KNOWN), seed=seed)


def _same(data: str, source: str) -> bool:
    return data == source or Path(data).expanduser().resolve() == Path(source).expanduser().resolve()
