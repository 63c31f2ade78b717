"""`driftback fit`: learn once, with a forecast, a progress line, and an end that nothing can take away."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from driftback.cli import options
from driftback.cli.output import amount, emit, say, show, span
from driftback.cli.progress import progress, reading
from driftback.cli.stopping import stoppable

if TYPE_CHECKING:
    from driftback.recipes.fit import Job, Summary

EXAMPLES = (
    "driftback fit digits --out runs/digits --minutes 1.5",
    "driftback fit photos/ --size 32 --out runs/photos --minutes 30",
    "driftback fit photos/ --out runs/photos --resume",
)
NETWORKS = (
    "unet, dit or mlp; tiny, small, medium, large or huge; or both: dit-small. Default: the largest that sees enough "
    "within --minutes, by the speed measured here."
)
AUGMENT = (
    "Train on pictures that are also flipped or shifted, draw none such: flip, shift, or flip,shift. Default: none."
)
METHODS = "levels, corrected, spikes, edm, ddpm, iddpm, score-sde-vp, score-sde-sub-vp, score-sde-ve, vdm, flow, "
METHODS += "recorded, smoothed, patches"


def fit(
    source: options.Source,
    out: Annotated[Path, typer.Option(help="The folder to make: weights, measurements, previews.")],
    minutes: Annotated[float | None, typer.Option(help="How long it may take; fractions too. Default: 5.")] = None,
    steps: Annotated[int | None, typer.Option(help="How many steps instead, which repeats exactly.")] = None,
    method: Annotated[str | None, typer.Option(help=f"{METHODS}. Default: chosen from the data.")] = None,
    weighting: Annotated[
        str | None, typer.Option(metavar="NAME", help="How much each noise level counts: simple, min-snr, likelihood.")
    ] = None,
    times: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="How noise levels are drawn: stratified, independent, importance."),
    ] = None,
    optimiser: Annotated[
        str | None, typer.Option(metavar="NAME", help="The rule of a step: adamw, muon. Default: the method's.")
    ] = None,
    snapshots: Annotated[
        bool | None,
        typer.Option(
            "--snapshots/--no-snapshots",
            help="Keep what sample --ema needs, at most 256 MiB. Default: of pictures.",
            show_default=False,
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where the training in --out ended.")] = False,
    force: options.Force = False,
    seed: Annotated[int | None, typer.Option(min=0, help="The same seed gives the same model. Default: 0.")] = None,
    held_out: Annotated[float | None, typer.Option(help="The share of items kept to judge by. Default: 0.2.")] = None,
    batch: Annotated[int | None, typer.Option(help="Items per step.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="The highest learning rate.")] = None,
    network: Annotated[str | None, typer.Option(help=NETWORKS)] = None,
    augment: Annotated[str | None, typer.Option(help=AUGMENT)] = None,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write losses, speed and previews for TensorBoard too.")
    ] = False,
    size: options.Size = None,
    channels: options.Channels = None,
    aspect: options.Aspect = None,
    columns: options.Columns = None,
    label: options.LabelColumn = None,
    caption: options.Caption = None,
    numbers: options.Numbers = None,
    group: options.GroupColumn = None,
    text_encoder: Annotated[
        str | None,
        typer.Option(help="trained (along with the model; default) or minilm (frozen, from a package) reads captions."),
    ] = None,
    shift: Annotated[
        int | None,
        typer.Option(metavar="N", help="Method patches: compare those up to N pixels away too. Default: 0."),
    ] = None,
    n: options.Items = None,
    device: options.Device = None,
    quiet: options.Quiet = False,
    json: options.Json = False,
    checkpoint_seconds: Annotated[float | None, typer.Option(hidden=True)] = None,
) -> None:
    """Learn from SOURCE and keep the model in a folder.

    Ctrl-C saves; --resume goes on, also after a crash, and ends with the very same weights.
    """
    from driftback.recipes.fit import prepare

    if tensorboard:
        from driftback.training.tensorboard import refuse_without

        refuse_without()
    job = reading(prepare, "reading_progress", quiet=quiet)(
        source,
        out=out,
        minutes=minutes,
        steps=steps,
        method=method,
        seed=seed,
        held_out=held_out,
        resume=resume,
        force=force,
        batch=batch,
        learning_rate=learning_rate,
        network=network,
        augment=augment,
        weighting=weighting,
        times=times,
        optimiser=optimiser,
        snapshots=snapshots,
        device=device,
        captions=caption,
        numbers=options.names(numbers),
        groups=group,
        text_encoder=text_encoder,
        shift=shift,
        **options.reading(size, channels, columns, label, n, aspect=aspect),
    )
    if job.finished is not None:
        say(f"{out} is finished: {job.config.plan.steps} steps were planned and done; --force would start again")
        _tell(job.finished, out, json)
        return
    warn(job)
    if not quiet:
        forecast(job)
    if tensorboard:
        from driftback.training.logger import Loggers
        from driftback.training.tensorboard import FOLDER, TensorBoard

        board = TensorBoard(out.expanduser() / FOLDER, job.state.step)
        job.loggers = Loggers.of(job.config.plan, [board], say)
        say(f"watch it with: tensorboard --logdir {shlex.quote(str(out / FOLDER))}")
    go_on = f"driftback fit {shlex.quote(source)} --out {shlex.quote(str(out))} --resume"
    go_on += " --tensorboard" if tensorboard else ""
    summary = trained(job, go_on, quiet=quiet, checkpoint_seconds=checkpoint_seconds)
    _tell(summary, out, json)


def trained(job: Job, go_on: str, *, quiet: bool = False, checkpoint_seconds: float | None = None) -> Summary:
    """Train to the end and give the summary. Ctrl-C saves, says to `go_on` with that command, and leaves,
    also in the last measurement.
    """
    every = {} if checkpoint_seconds is None else {"checkpoint_seconds": checkpoint_seconds}
    with stoppable() as stop:
        parts = job.state.parts
        with progress("fitting", quiet=quiet, start=job.state.step) as update:
            for now in job.run(stop=stop, **every):
                if now.parts > parts:
                    parts = now.parts
                    say(
                        f"out of memory at step {now.step}: the batch of {job.config.plan.batch} is computed in "
                        f"{parts} parts from here on, with the gradients of the whole; it takes longer"
                    )
                held = "" if now.held_out is None else f", held-out {now.held_out:.4f}"
                update(now.step, now.steps, f"loss {now.loss:.4f}{held}  {now.verdict}")
        stop.waits = False
        if stop():
            say(f"saved at step {job.state.step}; go on with: {go_on}")
            raise typer.Exit(stop.code)
        try:
            return job.finish()[1]
        except KeyboardInterrupt:
            say(f"stopped after the last step, before the held-out likelihood was known; go on with: {go_on}")
            raise typer.Exit(stop.code) from None


def warn(job: Job) -> None:
    """Say what the data doctor warns of; what is lost or will go wrong is no chatter that --quiet silences."""
    for finding in job.findings:
        if finding.level != "note":
            say(f"{finding.level}: {finding.what}")


def forecast(job: Job) -> None:
    """Say what will be trained, and how long it will take."""
    import torch

    from driftback.networks.ladder import named
    from driftback.networks.presets import cost
    from driftback.recipes.methods import METHODS
    from driftback.training.memory import memory_of

    config, event = job.config, job.config.preprocessing.internal_event
    if METHODS[config.method].remembers:
        say(f"data: {config.name}, {config.items} items to remember, {config.held_out} held out")
        say(f"method: {config.method}; no network, nothing is trained, on {job.device}")
        for line in job.said:
            say(line)
        return
    denoiser = job.state.average  # its weights ask for no gradients, which the counter of operations could not bear
    price = cost(denoiser.network, denoiser.parametrisation.channels(event[0])[0], event, cores=torch.get_num_threads())
    say(f"data: {config.name}, {config.items} items to learn from, {config.held_out} held out")
    preset = named(config.network, event, config.items)
    shape = " ".join(filter(None, (config.network.kind, preset, "-".join(map(str, config.network.widths)))))
    say(
        f"method: {config.method}; network: {shape}, "
        f"{price.parameters:,} parameters, {price.flops_per_item / 1e6:.3g} MFLOP per item, on {job.device}"
    )
    size = config.plan.batch / job.state.parts
    need = int(WORKING * price.bytes_per_item * size + STATES * price.bytes_of_weights)
    here = memory_of(job.device)
    say(f"memory: about {amount(need)} for a step of {size:.0f} items" + (f", of {amount(here)} here" if here else ""))
    if here and need > here:
        say("warning: that is more than there is; the batch will be cut, or give a smaller --batch, --size or --n")
    expected = f"{price.items_per_second:,.0f} {config.preprocessing.kind} per second expected of this preset"
    if job.per_step is None:
        say(f"speed: {expected}")
    else:
        rate, left = config.plan.batch / job.per_step, config.plan.steps - job.state.step
        say(f"speed: {rate:,.0f} measured, {expected}; training takes about {span(left * job.per_step)}")
    for line in job.said:
        say(line)


WORKING = 1.3
"""What a step needs at its peak, in units of what it keeps for the gradients: 1.1 to 1.5 were measured."""
STATES = 10
"""Copies of the weights that a training holds: weights, gradients, their average, two moments; and the state that is
kept to go back to, with room for the optimiser's work.
"""


def _tell(summary: Summary, out: Path, json: bool) -> None:
    if json:
        emit(asdict(summary))
        return
    seen = f", {summary.samples_seen:,} samples seen" if summary.samples_seen else ""
    show(f"fitted {out}: {summary.items:,} {summary.kind} in {span(summary.seconds)}{seen}")
    show(f"verdict: {summary.verdict}")
    if "best checkpoint" in summary.verdict:
        show(f"      the weights of that step: driftback sample {shlex.quote(str(out))} --checkpoint best")
    if summary.bits_per_dim is not None:
        error = "" if summary.bits_per_dim_se is None else f" ± {summary.bits_per_dim_se:.3f}"
        given = "a variational bound, given the class where the data has classes"
        show(f"held-out bits per dimension: {summary.bits_per_dim:.3f}{error} ({given})")
    name = "new.csv" if summary.kind == "points" else "new.png"
    show(f"next: driftback sample {shlex.quote(str(out))} -n 100 --out {name}")
    show(f"      driftback evaluate {shlex.quote(str(out))} --report")
