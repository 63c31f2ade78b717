"""Everything before the first step: look at the data, split and encode it, choose method, network and number of steps.

What was chosen is written to `config.json` before training starts, and a resume reads it from there instead of choosing
again.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from driftback.arguments import real, told, whole
from driftback.data import builtin
from driftback.data.beside import named_and_given
from driftback.data.dataset import Finding
from driftback.data.doctor import check
from driftback.data.levels import Levels as Grid
from driftback.data.loading import load as load_data
from driftback.data.preprocessing import Preprocessing
from driftback.data.split import split
from driftback.errors import BadInput
from driftback.networks.ladder import asked as network_asked
from driftback.networks.presets import NetworkSpec
from driftback.randomness import Rng
from driftback.recipes import buckets, conditions, remembered
from driftback.recipes import config as configs
from driftback.recipes import folder as folders
from driftback.recipes.assembly import signal_warning, training_times
from driftback.recipes.budget import Judging, usual_batch
from driftback.recipes.captions import Captions
from driftback.recipes.config import Config
from driftback.recipes.devices import device_named
from driftback.recipes.early import early_step, read_early
from driftback.recipes.job import Job
from driftback.recipes.log import LOG, trim
from driftback.recipes.methods import METHODS, default_method, method_named, refuse_unfit
from driftback.recipes.pace import paced, with_snapshots, without_snapshots
from driftback.recipes.previews import preview_evaluations
from driftback.recipes.start import closed_form_for, filled, ready
from driftback.recipes.timed import timed
from driftback.training import checkpoint, ema, optimisers
from driftback.training.augment import augmentations
from driftback.training.drawing import refuse_unknown
from driftback.training.items import Items
from driftback.training.loop import State
from driftback.training.plan import RATE, Plan
from driftback.training.speed import seconds_per_step
from driftback.training.weightings import refuse_not_squared, weighting_named


@told
def prepare(
    source: Any,
    y: Any = None,
    *,
    out: str | Path | None = None,
    minutes: float | None = None,
    steps: int | None = None,
    method: str | None = None,
    seed: int | None = None,
    held_out: float | None = None,
    resume: bool = False,
    force: bool = False,
    batch: int | None = None,
    learning_rate: float | None = None,
    network: NetworkSpec | str | None = None,
    augment: str | Sequence[str] | None = None,
    device: str | None = None,
    size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    aspect: str | None = None,
    columns: Sequence[str] | None = None,
    n: int | None = None,
    weighting: str | None = None,
    times: str | None = None,
    optimiser: str | None = None,
    snapshots: bool | None = None,
    captions: Any = None,
    numbers: Any = None,
    groups: Any = None,
    text_encoder: str | None = None,
    shift: int | None = None,
    reading_progress: Callable[[int, int], None] | None = None,
) -> Job:
    """Everything before the first step; see `fit` for the arguments. Raises BadInput and DamagedModel in one line.

    `reading_progress(done, all)` is called while pictures are decoded.
    """
    named, values = named_and_given(captions, numbers, groups)
    asked_reading = {"size": size, "channels": channels, "aspect": aspect, "columns": columns, "n": n} | named
    reading: dict[str, Any] = {name: value for name, value in asked_reading.items() if value is not None}
    minutes = None if minutes is None else real(minutes, "minutes")
    steps = None if steps is None else whole(steps, "steps")
    batch = None if batch is None else whole(batch, "batch")
    learning_rate = None if learning_rate is None else real(learning_rate, "learning_rate")
    held_out = None if held_out is None else real(held_out, "held_out")
    seed = None if seed is None else whole(seed, "seed")
    if minutes is not None and steps is not None:
        raise BadInput("give minutes or steps, not both: minutes are turned into steps")
    if minutes is not None and not 0 < minutes < 1e6:
        raise BadInput(f"{minutes:g} minutes is no time to train; give more than 0")
    if steps is not None and steps < 1:
        raise BadInput(f"{steps} steps train nothing; give at least 1")
    if batch is not None and batch < 1:
        raise BadInput(f"a batch of {batch} items trains nothing; give at least 1")
    if learning_rate is not None and not 0 < learning_rate < math.inf:
        raise BadInput(f"a learning rate of {learning_rate:g} trains nothing; give more than 0, such as 0.001")
    if seed is not None:
        Rng(seed)
    if method is not None:
        method_named(method)
    weighting_named(weighting or "simple")
    refuse_unknown(times or "stratified")
    optimisers.refuse_unknown(optimiser or "adamw")
    begun = time.perf_counter()
    folder = None if out is None else Path(out).expanduser()
    device = device_named(device)
    old = configs.read(folder) if resume and folder is not None and (folder / "config.json").is_file() else None
    if old and folder is not None:
        folders.refuse_to_retrain(folder)
    if old and y is None and not reading:
        reading = {name: tuple(v) if isinstance(v, list) else v for name, v in old.reading.items()}
        y = reading.pop("y", None)
    dataset = load_data(source, y, **(reading | values), progress=reading_progress)
    findings = check(dataset)
    errors = [f.what for f in findings if f.level == "error"]
    if errors:
        raise BadInput(
            errors[0] + (f" (and {len(errors) - 1} more problems: see driftback check)" if errors[1:] else "")
        )
    share = old.held_out_share if old else SHARE if held_out is None else held_out
    train_index, held_index = split(dataset, share)
    seen, held = dataset.take(train_index), dataset.take(held_index)
    prepared = old.preprocessing if old else Preprocessing.fit(dataset)
    transforms = None if augment is None else augmentations(augment, prepared.internal_event)
    condition = old.condition if old else conditions.learn(seen, text_encoder)
    findings = (*findings, *conditions.unused(condition, seen, asked=y is not None and not old))
    label = conditions.of(condition, seen)
    items = Items.encoded(seen.x, prepared.encode, label, buckets.done(seen))
    mark = items.fingerprint(conditions.identity(condition, seen, label))
    if old:
        if old.fingerprint != mark:
            raise BadInput(
                f"{folder} was fitted on other data than {dataset.name}; give the same source, or another --out"
            )
        asked: dict[str, Any] = {"steps": steps, "batch": batch, "learning_rate": learning_rate, "seed": seed}
        asked |= {"weighting": weighting, "times": times, "snapshots": snapshots, "augment": transforms}
        asked["optimiser"] = optimiser
        planned = old.plan.model_dump() | {"method": old.method, "held_out": old.held_out_share}
        planned |= {"snapshots": bool(old.plan.snapshots)}
        planned["text_encoder"] = getattr(old.condition, "encoder", None)
        asked |= {"text_encoder": text_encoder, "shift": shift}
        planned["shift"] = getattr(old.closed_form, "shift", 0)
        for name, value in (asked | {"method": method, "held_out": held_out}).items():
            if value is not None and value != planned[name]:
                raise BadInput(
                    f"the training in {folder} was planned with {name} {planned[name]}, not {value}: leave "
                    f"--{name.replace('_', '-')} out to go on, or start anew with --force"
                )
        # Presets of older models of a method that sees detail now were the usual ones.
        event, rungs = prepared.internal_event, {METHODS[old.method].fine, False}
        if network is not None and not any(
            network_asked(network, event, len(items), fine=fine).agrees(old.network) for fine in rungs
        ):
            raise BadInput(
                f"the training in {folder} was planned with a network of kind {old.network.kind} and widths "
                f"{'-'.join(map(str, old.network.widths))}: leave --network out to go on, or start anew with --force"
            )
        config = old
    else:
        if folder is not None:
            folders.refuse(folder, force=force)
            if resume:
                # A kill may have come before anything was written: then going on is starting.
                what = (
                    f"{folder} holds only what a killed training left before its first checkpoint"
                    if folders.begun(folder)
                    else f"there is nothing to resume in {folder}"
                )
                findings = (*findings, Finding("warning", f"{what}: starting again"))
        name = method or default_method(prepared.levels, items.event, len(items))
        refuse_unfit(name, prepared.levels, items.event)
        spread = items.spread()
        counts = conditions.class_counts(condition, label, len(dataset.classes))
        kind = {"discrete": _discrete(name, prepared.levels), "fine": METHODS[name].fine}
        training = {"network": network, "steps": steps, "minutes": minutes, "snapshots": snapshots, "augment": augment}
        none = remembered.instead(name, condition, training | {"batch": batch, "learning_rate": learning_rate})
        choice = none or network_asked(network, items.event, len(items), **kind)
        steps, batch = (1, remembered.BATCH) if none else (steps, batch)
        config = Config(
            library=version("driftback"),
            name=dataset.name,
            # Items that are told of by what is in memory alone cannot be read again.
            source=None if values or not (y is None or isinstance(y, str)) else _recorded(source),
            reading=reading | ({"y": y} if isinstance(y, str) else {}),
            method=name,
            preprocessing=prepared,
            network=choice.spec,
            plan=Plan(
                steps=steps or 1,
                batch=batch or usual_batch(prepared.internal_event),
                seed=seed or 0,
                learning_rate=learning_rate or RATE,
                augment=transforms or (),
                weighting=weighting or "simple",
                times=times or METHODS[name].draws,
                # Measured (docs/methods.md): transformers learn no faster by it.
                optimiser=optimiser or (METHODS[name].optimiser if choice.spec.kind == "unet" else "adamw"),
                noise=METHODS[name].captioned if isinstance(condition, Captions) else None,
            ),
            closed_form=closed_form_for(
                len(items),
                math.prod(items.event),
                counts,
                conditions.features(condition),
                METHODS[name].closed_form,
                remembered.moved(shift, name, items.event),
            ),
            spread=spread if spread > 0 else 1.0,
            centre=items.mean() if METHODS[name].spikes else 0.0,
            class_counts=counts,
            bucket_counts=buckets.counted(seen, len(counts)),
            condition=condition,
            fingerprint=mark,
            judging=remembered.LOOKED_AT if none else Judging(),
            items=len(items),
            held_out=len(held),
            held_out_share=share,
        )
    if (signal := signal_warning(config)) is not None:
        findings = (*findings, Finding("warning", signal))
    said, per_step = buckets.said(config), None
    denoiser = ready(config, items, device)
    refuse_not_squared(config.plan.weighting, denoiser.parametrisation)
    kept = None if old is None or folder is None else folder / "training" / "state.safetensors"
    if kept is None or not kept.is_file():  # else the mixture is in the checkpoint
        spent = filled(denoiser, items, config.plan.seed)
    if not old:
        snapshots = False if METHODS[config.method].remembers else snapshots
        config = with_snapshots(config, denoiser.network, snapshots, folder)
        if steps is None:

            def measured(one: Config) -> float:
                shown, law = ready(one, items, device, denoiser), training_times(one)
                return seconds_per_step(shown, items, law, one.plan, device=device, budget=1.0)

            preview = 0 if folder is None else preview_evaluations(items.event)
            given = 5.0 if minutes is None else minutes
            budget = timed(config, choice, measured, minutes=given, held_out=len(held), preview=preview, spent=spent)
            config, steps, per_step = budget.config, budget.steps, budget.per_step
            said += budget.said
        config = paced(config, steps, fixed=choice.own is not None)
        denoiser = ready(config, items, device, denoiser)
        config = with_snapshots(config, denoiser.network, snapshots, folder)
    state = State.start(denoiser, config.plan)
    job = Job(config, folder, findings, state, items, held, device, said=said, per_step=per_step)
    said += without_snapshots(config, snapshots)
    if ema.trails(config.plan.steps, config.plan.ema) and not METHODS[config.method].remembers:
        said.append(f"{config.plan.steps} steps are few for averaged weights; samples may trail the training")
    if kept is not None and folder is not None:
        with folders.locked(folder):
            folders.sweep(folder)
        if kept.is_file():
            job.seconds = checkpoint.restore(state, kept)
        if state.step >= early_step(config.plan.steps):
            job.early = read_early(folder, state.average)
        trim(folder / LOG, state.step, finished=state.step == config.plan.steps)
        said.append(f"going on from step {state.step} of {config.plan.steps}")
        if minutes is not None:
            said.append(f"{minutes:g} minutes change nothing: {config.plan.steps} steps were planned at the start")
    elif folder is not None:
        # Only now, when nothing can go wrong any more, does an old model give way.
        with folders.locked(folder):
            folders.clear(folder)
            configs.write(config, folder)
    job.seconds += time.perf_counter() - begun
    return job


SHARE = 0.2
"""The share of the items that is held out when nothing is said."""


def _discrete(method: str, levels: Grid | None) -> bool:
    return METHODS[method].on_levels and levels is not None


def _recorded(source: Any) -> str | None:
    """Where the data can be read again, from any working directory; None for data in memory."""
    if not isinstance(source, str | os.PathLike):
        return None
    return str(source) if builtin.accepts(source) else str(Path(source).expanduser().resolve())
