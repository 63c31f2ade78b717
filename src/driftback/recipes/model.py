"""A fitted model: draw as many new items as you want, ask for log-densities, save and load.

A model is a denoiser with the data's preprocessing around it, kept as a folder: `config.json` and
`weights.safetensors`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from driftback.arguments import real, whole
from driftback.data.dataset import Dataset
from driftback.errors import BadInput
from driftback.evaluation.likelihood import LogLikelihood
from driftback.files import write_tensors
from driftback.pictures.way import Way
from driftback.randomness import Rng, as_rng
from driftback.recipes import buckets, conditions
from driftback.recipes import config as configs
from driftback.recipes import folder as folders
from driftback.recipes.bounds import How
from driftback.recipes.buckets import Shape
from driftback.recipes.classes import Label
from driftback.recipes.conditions import Given, Prompt, Value, Wanted
from driftback.recipes.config import Config
from driftback.recipes.devices import device_named
from driftback.recipes.early import read_early, write_early
from driftback.recipes.finite import refuse_not_finite
from driftback.recipes.scoring import scored
from driftback.recipes.shown import shown
from driftback.recipes.stored import WEIGHTS, stored
from driftback.recipes.way_back import Asked, Drawn, Make, Ways
from driftback.samplers.frame import last
from driftback.scores.learned import LearnedDenoiser


def block(event: Sequence[int]) -> int:
    """How many items of shape `event` are drawn at once."""
    return 1024 if len(event) == 1 else max(1, min(64, 2 ** int(math.log2(max(1, 4_000_000 // math.prod(event))))))


@dataclass(frozen=True, repr=False)
class Model:
    """A denoiser and the config that it was made by. `fit` and `load` make it.

    `sample` draws new items, `shapes` tells those of pictures in buckets, `frames` shows the way back from noise;
    `score_samples` and `log_likelihood` give log-densities, `bits_per_dim` their common unit;
    `driftback.evaluate(model)` judges it, `save` keeps it; `classes` can be asked for, `config` holds all the rest.
    """

    config: Config
    denoiser: LearnedDenoiser
    step: int | None = None
    """How many steps its weights have seen, where that is known."""
    folder: Path | None = None
    mark: str = ""
    """The folder that it was loaded from, and what tells its weights from others: fitted solvers are kept there."""
    early: LearnedDenoiser | None = None
    """The same denoiser after an eighth of its training, where that was kept: what autoguidance pushes away from."""

    def __repr__(self) -> str:
        config, count = self.config, sum(weight.numel() for weight in self.denoiser.network.parameters())
        shape, names = " x ".join(map(str, config.preprocessing.event)), ", ".join(self.classes[:10])
        more = f" and {len(self.classes) - 10} more" if len(self.classes) > 10 else ""
        return (
            f"Model({config.name}: {config.preprocessing.kind} of {shape}, method {config.method}, "
            f"{count:,} parameters, {config.plan.steps:,} steps,\n      classes: {names or 'none'}{more})"
        )

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes that it can be asked for; empty when it is not conditional."""
        return self.config.preprocessing.classes if self.config.class_counts else ()

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.denoiser.network.parameters()).device

    @property
    def block(self) -> int:
        """How many items are computed at once, whatever is asked for, so that item i is the same for every n."""
        return block(self.config.preprocessing.internal_event)

    def labels(self, n: int, *, label: Label = None, seed: int = 0) -> np.ndarray | None:
        """The class of each of the `n` items that `sample` draws with this seed, int64 (n,); None without classes.

        With no `label` the classes are drawn with the frequencies of the training data.
        """
        return self.given(n, Wanted(label), seed=seed).rows if self.config.class_counts else None

    def shapes(
        self, n: int, *, label: Label = None, prompt: Prompt = None, value: Value = None, seed: int = 0
    ) -> np.ndarray | None:
        """The height and width of each of the `n` pictures that `sample` draws in buckets with this seed, (n, 2) int64,
        each in the middle of its canvas; None for a model without buckets.
        """
        prepared, bucket = self.config.preprocessing, self.given(n, Wanted(label, prompt, value), seed=seed).bucket
        return None if bucket is None or prepared.buckets is None else np.array(prepared.buckets.shapes)[bucket]

    def given(self, n: int, wanted: Wanted | None = None, *, seed: int = 0) -> Given:
        """What each of the `n` items that are drawn with this seed is drawn on, in numbers and in words."""
        return conditions.given(self.config, n, wanted or Wanted(), seed)

    @cached_property
    def ways(self) -> Ways:
        """How its items come back from noise, and the solvers that were fitted to it."""
        early = self.early or read_early(self.folder, self.denoiser)
        return Ways(self.config, self.denoiser, self.folder, self.mark, early=early)

    def frames(
        self,
        n: int,
        *,
        label: Label = None,
        prompt: Prompt = None,
        value: Value = None,
        shape: Shape = None,
        seed: int = 0,
        steps: int | Literal["auto"] | None = None,
        sampler: str | Make | None = None,
        grid: str | None = None,
        tolerance: float | None = None,
        evaluations: int | None = None,
        guidance: float = 0.0,
        guidance_interval: tuple[float, float] | None = None,
        autoguidance: float | None = None,
        churn: float | None = None,
        first: int = 0,
    ) -> Way:
        """The way back of `n` items from pure noise, as frames of encoded points for `driftback.film`; see `sample`.

        `first` is the number of the first item: frames(2, first=5) shows items 5 and 6 of the seed.
        """
        asked = Asked(steps, sampler, tolerance, evaluations, churn, guidance, grid, autoguidance, guidance_interval)
        given = conditions.warned(self.given(first + whole(n, "n", 1), Wanted(label, prompt, value, shape), seed=seed))
        rows, done = conditions.told_of(self.config, given, np.arange(first, first + n), self.device)
        back = self.ways.back(n, rows, asked, Rng(seed).child("sample").item(first), done)
        return Way(back, self.config.preprocessing, self.denoiser.process, *given.beyond(first))

    def sample(
        self,
        n: int,
        *,
        label: Label = None,
        prompt: Prompt = None,
        value: Value = None,
        shape: Shape = None,
        seed: int = 0,
        steps: int | Literal["auto"] | None = None,
        sampler: str | Make | None = None,
        grid: str | None = None,
        tolerance: float | None = None,
        evaluations: int | None = None,
        guidance: float = 0.0,
        guidance_interval: tuple[float, float] | None = None,
        autoguidance: float | None = None,
        churn: float | None = None,
        batch_size: int | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> np.ndarray:
        """Draw `n` new items, (n, *event) in the units, layout and dtype of the data.

        `label` is a class, `prompt` a sentence, `value` a number (or a dict of numbers by name), as the model knows
        them, `shape` (height, width) one of `config.preprocessing.buckets.shapes`, or one of these per item; without,
        they are drawn as in the training data. Words and numbers that were not seen in training are warned of.
        `guidance` >= 0 (0: none) pushes towards what is asked for, `autoguidance` >= 0 away from the model after an
        eighth of its training (None: 0.5 with method `corrected`, else 0), both within `guidance_interval` (lo, hi] of
        noise-to-data ratios, in deviations of the data, if it is given.
        When nothing is said of the way back (or `steps="auto"`), the solver is fitted to the model, and as long as an
        error of .01 deviations of the data wants it; method `corrected` takes 18 steps of Heun's rule. `tolerance` asks
        for another error, `evaluations` for the best within a budget. `steps` fixes Heun's rule with so many steps and
        `churn` >= 0 (EDM's S_churn); `sampler` is a name of `driftback.samplers.SAMPLERS` or a function that makes one
        of a denoiser, `grid` a name of `driftback.samplers.GRIDS` (default: karras). Pictures on few levels come back
        by a stochastic solver when nothing is said: fresh noise mends what the network gets wrong.
        Item i of a seed is the same for every `n`, and for every `batch_size`: it is rounded up to whole blocks, and
        several blocks at once agree with one by one up to rounding. `progress(done, n)` is called after each batch.
        Raises BadInput for what cannot be drawn, NotFinite where the network gives no numbers.
        """
        asked = Asked(steps, sampler, tolerance, evaluations, churn, guidance, grid, autoguidance, guidance_interval)
        wanted = Wanted(label, prompt, value, shape)
        conditions.warned(self.given(whole(n, "n", 1), wanted, seed=seed))
        return self.draw(n, asked, wanted=wanted, seed=seed, batch_size=batch_size, progress=progress).x

    def draw(
        self,
        n: int,
        asked: Asked,
        *,
        label: Label = None,
        wanted: Wanted | None = None,
        seed: int = 0,
        batch_size: int | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Drawn:
        """The items of `sample`, with what they cost and how near they are; `wanted` takes the place of `label`."""
        n, asked = whole(n, "n", 1), self.ways.settled(asked)
        batch_size = None if batch_size is None else whole(batch_size, "batch_size", 1)
        given = self.given(n, wanted or Wanted(label), seed=seed)
        block = -(-(batch_size or 1) // self.block) * self.block
        out, spent, square = [], 0, 0.0
        for first in range(0, n, block):
            # A whole block is always computed: a network may round a row differently in a batch of another size.
            count = min(block, n - first)
            rows, done = conditions.told_of(self.config, given, first + np.arange(block) % count, self.device)
            drawn = last(self.ways.back(block, rows, asked, Rng(seed).child("sample").item(first), done))
            refuse_not_finite(drawn.x[:count], "sample", first)
            bucket = None if given.bucket is None else given.bucket[first : first + count]
            out.append(self.config.preprocessing.decode(drawn.x[:count], bucket))
            spent = max(spent, drawn.evaluations)
            square += float(drawn.x[:count].double().square().flatten(1).mean(1).sum())
            if progress:
                progress(first + count, n)
        chosen = self.ways.choice(asked)
        error = None if chosen is None else chosen.error
        reach = math.sqrt(square / n) / self.config.spread
        return Drawn(np.concatenate(out), spent, error, reach, asked.autoguidance or 0.0)

    def log_likelihood(
        self,
        x: Any,
        y: Any = None,
        *,
        shape: Shape = None,
        bound: str | None = None,
        steps: int | None = None,
        draws: int | None = None,
        check: bool = False,
        seed: int = 0,
        progress: Callable[[int, int], None] | None = None,
    ) -> LogLikelihood:
        """log p(x), or log p(x | y) with labels, captions or numbers, as the model knows them, in nats per item (n,),
        in raw units.

        A data frame's columns are taken by name; its label column, where it has one, is `y`.
        For data on levels (`levels`, `spikes`, `vdm`) it is a lower bound on the log-probability; for other discrete
        data, and columns of whole numbers, one too, by uniform dequantisation (Theis et al. 2016, arXiv 1511.01844,
        section 3.1); for continuous data the log-density. Of pictures in buckets it is that of the whole canvas, given
        the `shape` (n, 2) of each, by default the smallest that it fits into. For `bound`, `steps`, `draws` and `check`
        see `bounds.How`. BadInput for data that the model cannot have made, NotFinite where the network gives none.
        """
        shape = x.shapes if shape is None and isinstance(x, Dataset) else shape
        x, y = shown(self.config, x, y)
        prepared, rng = self.config.preprocessing, as_rng(seed).child("likelihood")
        x = prepared.fitting(x)
        if not len(x):
            raise BadInput("there are no items to score: give at least one")
        labels = None if y is None else torch.from_numpy(conditions.given_to(self.config, y, len(x)))
        done = buckets.told(self.config, buckets.of_items(self.config, x, shape))
        how = How(bound, steps, draws, check)
        return scored(self.config, self.denoiser, x, labels, done, how, block=self.block, rng=rng, progress=progress)

    def score_samples(self, X: Any, y: Any = None) -> np.ndarray:
        """The log-density of each item of `X` in nats, (n,) float64; of `X` given the classes `y`, where these are
        told (also by the label column of a data frame).
        """
        return self.log_likelihood(X, y).nats.numpy()

    def bits_per_dim(self, nats: float) -> float:
        """Nats per item as bits per dimension: -nats / (d log 2)."""
        return -nats / (math.prod(self.config.preprocessing.event) * math.log(2))

    def save(self, folder: str | Path, *, force: bool = False) -> None:
        """Write the model as a folder: its config and its weights, each whole or not at all.

        A model that is there already is replaced, with all that was written beside it, only with `force`.
        """
        folder = Path(folder).expanduser()
        early = self.ways.early  # from the very folder that may be cleared
        if (replaced := folder.is_file() or (folder / "config.json").exists()) and not force:
            raise BadInput(f"{folder} exists already; give another folder, or replace the model there with force=True")
        if replaced:
            folders.refuse(folder, force=True)
            folders.clear(folder)
        write_tensors(folder / WEIGHTS, self.denoiser.network.state_dict(), {"step": self.step})
        write_early(early, folder)
        configs.write(self.config, folder)


def load(folder: str | Path, *, device: str | None = None, checkpoint: str = "last", ema: float | None = None) -> Model:
    """The model in `folder`, on `device` (by default a GPU where there is one). Raises DamagedModel in one line.

    `checkpoint` is "last", or "best" for the weights with the lowest held-out loss. `ema` averages the weights over
    another length, 0.02 to 0.25, the standard deviation of the average in shares of the training: BadInput where no
    snapshots were kept (`driftback.training.posthoc`).
    """
    length = None if ema is None else real(ema, "ema")
    folder = Path(folder).expanduser()
    config = configs.read(folder)
    denoiser, step, mark = stored(config, folder, checkpoint, length)
    denoiser.network.eval().requires_grad_(False).to(device_named(device))
    return Model(config, denoiser, step, folder, mark)
