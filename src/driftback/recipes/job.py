"""A training that is ready to run: it trains, measures, draws previews and checkpoints, and ends in a model and a
summary.

`Job.run` yields after every step, so that progress lines and early stopping are a `for` loop; what it writes is whole
or not there, so that a kill at any moment costs the steps since the last checkpoint and nothing else.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from driftback.data.dataset import Dataset, Finding
from driftback.errors import BadInput, NotFinite, TrainingStopped
from driftback.files import write_tensors
from driftback.networks.memory import Memory
from driftback.pictures.preview import on_white, preview
from driftback.randomness import Rng
from driftback.recipes import buckets, conditions, remembered
from driftback.recipes import folder as folders
from driftback.recipes.assembly import bounded, cells, training_times
from driftback.recipes.budget import MEASUREMENTS
from driftback.recipes.config import Config
from driftback.recipes.early import early_step, snapshot
from driftback.recipes.log import LOG, Summary, last_summary
from driftback.recipes.methods import METHODS
from driftback.recipes.model import Model
from driftback.recipes.previews import preview_steps
from driftback.recipes.stored import WEIGHTS
from driftback.scores.learned import LearnedDenoiser
from driftback.training import checkpoint, snapshots
from driftback.training.health import Measurement, Verdict, verdict
from driftback.training.items import Items
from driftback.training.levels import level_losses
from driftback.training.logger import Loggers
from driftback.training.loop import State, Step, train

CHECKPOINT_SECONDS = 15.0


@dataclass(frozen=True)
class Progress:
    """How far a training is: enough for a progress line."""

    step: int
    steps: int
    seconds: float
    loss: float
    held_out: float | None
    verdict: str
    parts: int = 1
    """Into how many parts a batch is cut since memory ran out."""


@dataclass
class Job:
    """A training that is ready to run, with its data encoded; made by `prepare`."""

    config: Config
    folder: Path | None
    findings: tuple[Finding, ...]
    state: State
    items: Items
    held: Dataset
    device: str
    seconds: float = 0.0
    said: list[str] = field(default_factory=list)
    """Lines worth telling the person before the start: what was chosen and why."""
    early: LearnedDenoiser | None = None
    """The averaged denoiser as it was after an eighth of the steps, for autoguidance; None before."""
    per_step: float | None = None
    """Seconds per step as measured before the start; None where the number of steps was given."""
    loggers: Loggers = field(default_factory=Loggers)
    """Who else is told."""

    @property
    def model(self) -> Model:
        """The model as it stands, with the averaged weights."""
        return Model(self.config, self.state.average, self.state.step, early=self.early)

    @property
    def verdict(self) -> Verdict:
        """The verdict on the measurements so far; of a method that trains nothing, that it does not."""
        if isinstance(memory := self.state.average.network.closed_form, Memory):
            return remembered.verdict(self.config.items, memory)
        history = [Measurement.from_json(record) for record in self.state.history]
        return verdict(history, ended=self.state.step >= self.config.plan.steps)

    @property
    def finished(self) -> Summary | None:
        """The summary of a training that had reached its end before, else None; also where its weights were lost since,
        which `finish` writes again.
        """
        if self.folder is None or self.state.step < self.config.plan.steps or not (self.folder / WEIGHTS).is_file():
            return None
        return last_summary(self.folder)

    def run(
        self, *, stop: Callable[[], bool] = lambda: False, checkpoint_seconds: float = CHECKPOINT_SECONDS
    ) -> Iterator[Progress]:
        """Train to the end, or until `stop()` is true after a step; then a checkpoint has been written and nothing is
        lost. A checkpoint is also written every `checkpoint_seconds`. Raises BadInput if another process trains in
        the folder.
        """
        with folders.locked(self.folder):
            yield from self._run(stop, checkpoint_seconds)

    def _run(self, stop: Callable[[], bool], checkpoint_seconds: float) -> Iterator[Progress]:
        plan, started, written = self.config.plan, time.perf_counter() - self.seconds, time.perf_counter()
        losses: list[float] = []
        try:
            for step in train(
                self.state,
                self.items,
                None,
                training_times(self.config),
                plan,
                cell=cells(self.config),
                device=self.device,
            ):
                losses.append(step.loss)
                self.seconds = time.perf_counter() - started
                self.loggers.stepped(step, self.seconds)
                if step.number == early_step(plan.steps) and not METHODS[self.config.method].remembers:
                    self.early = snapshot(self.state.average, self.folder, step.number)
                if _falls(step.number, plan.steps, MEASUREMENTS):
                    self._measure(step, sum(losses) / len(losses))
                    losses.clear()
                self._snapshot(step.number)
                if _falls(step.number, plan.steps, self.config.judging.previews):
                    self._preview(step.number)
                halted = stop()
                if halted or time.perf_counter() - written > checkpoint_seconds:
                    self.save()
                    written = time.perf_counter()
                held = [m["held_out"] for m in self.state.history if m["held_out"]]
                yield Progress(
                    step.number,
                    plan.steps,
                    self.seconds,
                    step.loss,
                    float(np.mean(held[-1]["loss"])) if held else None,
                    self.verdict.text if self.state.history else "",
                    self.state.parts,
                )
                if halted:
                    return
        except TrainingStopped:
            self.save()
            raise
        finally:
            self.loggers.close()

    def save(self) -> None:
        """Write a checkpoint and the averaged weights, each whole or not at all."""
        if self.folder is None:
            return
        if not METHODS[self.config.method].remembers:  # which is made again in a moment, and may be large
            checkpoint.save(self.state, self.folder / "training" / "state.safetensors", seconds=self.seconds)
        write_tensors(self.folder / WEIGHTS, self.state.average.network.state_dict(), {"step": self.state.step})

    def finish(self) -> tuple[Model, Summary]:
        """The finished model, with its weights written, and the summary with the held-out likelihood."""
        started = time.perf_counter()
        self.save()
        network = self.state.average.network.eval()
        model = Model(self.config, replace(self.state.average, network=network), self.state.step, early=self.early)
        bits = error = None
        # Other likelihoods cost thousands of evaluations per item: they wait for `driftback likelihood`.
        if len(self.held) and bounded(self.config):
            some = self.held.take(_chosen(len(self.held), self.config.judging.judged, "held-out"))
            found = model.log_likelihood(some.x, conditions.beside(self.config, some), shape=some.shapes)
            bits = model.bits_per_dim(found.mean)
            error = None if found.standard_error is None else -model.bits_per_dim(found.standard_error)
        self.seconds += time.perf_counter() - started
        plan = self.config.plan
        summary = Summary(
            model=None if self.folder is None else str(self.folder),
            kind=self.config.preprocessing.kind,
            items=self.config.items,
            held_out=self.config.held_out,
            seconds=round(self.seconds, 2),
            samples_seen=0 if METHODS[self.config.method].remembers else plan.steps * plan.batch,
            bits_per_dim=bits,
            bits_per_dim_se=error,
            verdict=self.verdict.text,
        )
        self._log({"kind": "end", "summary": asdict(summary)})
        return model, summary

    def _measure(self, step: Step, loss: float) -> None:
        law, average = training_times(self.config), self.state.average
        # As many items at once as a step bears, which needs more memory for each.
        batch = max(1, min(256, self.config.plan.batch // self.state.parts))
        options: dict[str, Any] = {"cell": cells(self.config), "batch": batch}
        options["rng"] = Rng(self.config.plan.seed).child("measure")
        n = min(self.config.judging.measured, len(self.items), max(len(self.held), 64))
        held = None
        if len(self.held):
            some = self.held.take(_chosen(len(self.held), n, "held-out"))
            x, y = self.config.preprocessing.encode(some.x), conditions.of(self.config.condition, some)
            told = buckets.told(self.config, some.bucket, self.device)
            held = level_losses(average, x.to(self.device), _to(y, self.device), law, told=told, **options)
            n = len(x)
        index = torch.from_numpy(_chosen(len(self.items), n, "training"))
        x, y = self.items.take(index)
        told = buckets.padded(self.config, None if self.items.done is None else self.items.done[index], self.device)
        seen = level_losses(average, x.to(self.device), _to(y, self.device), law, told=told, **options)
        measured = Measurement(step.number, seen, held)
        self.loggers.measured(measured)
        self.state.history.append(measured.as_json())
        remembers = METHODS[self.config.method].remembers
        if self.folder is not None and not remembers and self.verdict.best_step == step.number:
            path = self.folder / "training" / "best.safetensors"
            write_tensors(path, average.network.state_dict(), {"step": step.number})
        self._log(
            {
                "kind": "step",
                "step": step.number,
                "seconds": round(self.seconds, 3),
                "loss": loss,
                "gradient": step.gradient,
                "rate": step.rate,
            }
        )
        self._log(self.state.history[-1])

    def _snapshot(self, step: int) -> None:
        plan, averages = self.config.plan, self.state.averages
        if self.folder is not None and averages is not None and _falls(step, plan.steps, plan.snapshots):
            snapshots.write(self.folder, averages, step)

    def _preview(self, step: int) -> None:
        if self.folder is not None:
            event = self.config.preprocessing.internal_event
            # A picture that cannot be drawn yet is no reason to stop: the loss is what training is judged by.
            with suppress(NotFinite):
                n, steps = 1000 if len(event) == 1 else 36, preview_steps(event)
                x = self.model.sample(n, seed=0, steps=steps, churn=0.0, autoguidance=0.0)
                prepared, bucket = self.config.preprocessing, self.model.given(n, seed=0).bucket
                path = self.folder / "previews" / f"step-{step:07d}.png"
                preview(on_white(x, prepared, bucket), path, prepared)
                self.loggers.drawn(step, path)

    def _log(self, record: dict) -> None:
        if self.folder is None:
            return
        path = self.folder / LOG
        try:
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
        except OSError as error:
            raise BadInput(
                f"cannot write {path}: {error.strerror or error}; make room and go on with --resume, from the last "
                "checkpoint"
            ) from error


def _chosen(items: int, most: int, name: str) -> np.ndarray:
    """The numbers of the items to measure, (n,) int64: all, or `most` of them, always the same ones, wherever in the
    data they stand: data often come ordered by class.
    """
    if items <= most:
        return np.arange(items)
    return Rng(0).child("measured", name).generator().permutation(items)[:most]


def _falls(step: int, steps: int, times: int) -> bool:
    """Whether one of `times` equal parts of `steps` ends at `step`."""
    return (step * times) // steps > ((step - 1) * times) // steps


def _to(y: Tensor | None, device: str) -> Tensor | None:
    return None if y is None else y.to(device)
