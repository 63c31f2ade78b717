"""What a film in the plane is about: a target by name or a person's points, with its exact law at every time.

A mixture with noise on it is a mixture again, exactly. Any other target is what is recorded of it: a shape with a
density is its masses on a fine grid of cells, a cloud of points itself. With noise, p_t(y) = sum_i w_i N(y; alpha x_i,
sigma^2 I), which is a histogram of the alpha x_i blurred by sigma; nothing is smoothed that noise does not smooth. The
score of a mixture is exact, and else that of the recorded points (`driftback.scores.recorded`).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from driftback.arguments import near
from driftback.data.builtin import plain
from driftback.data.dataset import Dataset
from driftback.data.extent import refuse_not_finite
from driftback.data.loading import load
from driftback.data.tables import WordsFound
from driftback.distributions.cloud import Cloud
from driftback.distributions.energies import TARGETS
from driftback.distributions.mixture import Mixture
from driftback.distributions.protocols import Density as Known
from driftback.distributions.protocols import Source
from driftback.distributions.shapes2d import SHAPES
from driftback.errors import BadInput
from driftback.pictures.filmed import chosen
from driftback.pictures.scene import Density, Layer, Limits, Panel, around, centres, squared
from driftback.pictures.shows.cells import counted, shared
from driftback.processes.diffusion import Diffusion
from driftback.randomness import Rng
from driftback.scores.denoiser import Denoiser
from driftback.scores.exact import ExactDenoiser
from driftback.scores.recorded import RecordedDenoiser

CELLS, PARTS, SOURCES = 96, 3, 360
"""A density is shown on so many cells each way, and blurred on so many parts of each; a shape's own is taken on so
many."""
WIDE = 2.6
"""Deviations of a normal law that a picture holds, each way."""
LETTERS = 24
"""Of a file's name in a caption."""
LINE = 1e-9
"""Points are on a line where their correlation is within this of 1."""
RECORDED = 4000
"""Points of a shape, or at most of a file, whose exact score stands for one that is not known."""


@dataclass(frozen=True, eq=False)
class Subject:
    """`source` draws points (n, 2) in their own units; inside, z = (x - offset) / scale, (2,) each.

    `known` is the density of x where there is one. `names` are those of the two numbers.
    """

    name: str
    """As it is written in a caption."""
    source: Source
    offset: np.ndarray
    scale: np.ndarray
    known: Known | None = None
    names: tuple[str, str] = ("", "")

    def sample(self, n: int, *, rng: Rng) -> Tensor:
        """Draw `n` points z (n, 2), float64."""
        return self.inside(self.source.sample(n, rng=rng).double())

    def inside(self, x: Tensor) -> Tensor:
        """z of x."""
        return (x - torch.from_numpy(self.offset)) / torch.from_numpy(self.scale)

    def outside(self, z: Tensor | np.ndarray) -> np.ndarray:
        """x of z, (..., 2)."""
        return np.asarray(z) * self.scale + self.offset

    @cached_property
    def law(self) -> Mixture | None:
        """The law of z where it is a mixture."""
        if not isinstance(self.source, Mixture):
            return None
        scale = torch.from_numpy(self.scale)
        return Mixture(
            self.source.weights, self.inside(self.source.means), self.source.covariances / torch.outer(scale, scale)
        )

    @cached_property
    def limits(self) -> Limits:
        """Those in the units of x that hold nearly all of x, and of normal noise on z of deviation 1."""
        return self.reach(1.0)

    def reach(self, deviation: float) -> Limits:
        """Those that hold nearly all of x, and of normal z of such a deviation; a square where both have one unit."""
        noise = self.outside(WIDE * deviation * np.array([[-1.0, -1.0], [1.0, 1.0]]))
        left, right, bottom, top = around(self.cloud, room=0.12)
        low, high = np.minimum((left, bottom), noise[0]), np.maximum((right, top), noise[1])
        limits = float(low[0]), float(high[0]), float(low[1]), float(high[1])
        return squared(limits) if self.equal else limits

    @property
    def equal(self) -> bool:
        """Whether both numbers have one unit."""
        return bool(self.scale[0] == self.scale[1])

    @cached_property
    def cloud(self) -> np.ndarray:
        """The recorded points x (m, 2): as many as `RECORDED` of a cloud, each once, or draws."""
        rng = Rng(0).child("recorded")
        if isinstance(self.source, Cloud):
            points = self.source.points.numpy()
            # In no order, so that the first few are like all.
            return points[rng.generator().permutation(len(points))[:RECORDED]]
        return self.source.sample(RECORDED, rng=rng).double().numpy()

    def denoiser(self, process: Diffusion) -> Denoiser:
        """The exact denoiser of z under `process`: of the mixture, or of the recorded points."""
        if self.law is not None:
            return ExactDenoiser(process, self.law)
        return RecordedDenoiser(process, self.inside(torch.from_numpy(self.cloud)))

    def density(self, alpha: float = 1.0, sigma: float = 0.0, *, limits: Limits | None = None) -> Density:
        """The density of alpha z + sigma eps in the units of x, on the cells of `limits` (default: its own).

        Exact for a mixture; else to the size of a cell. Points without noise and without a density are a histogram.
        """
        extent = self.limits if limits is None else limits
        places = centres(extent, CELLS)
        volume = float(np.prod(self.scale))
        if self.law is not None:
            log_p = self.law.noised(alpha, sigma).log_prob(self.inside(torch.from_numpy(places)))
            return Density(log_p.exp().numpy().reshape(CELLS, CELLS) / volume, extent)
        if self.known is not None and alpha == 1 and sigma == 0:
            return Density(np.exp(self.known.log_prob(torch.from_numpy(places)).numpy()).reshape(CELLS, CELLS), extent)
        return Density(self._blurred(alpha, sigma, extent), extent)

    def noised(self, process: Diffusion, t: float, *, limits: Limits | None = None) -> Density:
        """The density under `process` at time `t`, as `density`."""
        return self.density(float(process.alpha(t)), float(process.sigma(t)), limits=limits)

    def panel(self, *layers: Layer, title: str = "", limits: Limits | None = None, numbers: bool = True) -> Panel:
        """`layers` in the units of x, with the names of the two numbers."""
        return Panel(layers, limits or self.limits, title, self.names, self.equal, numbers=numbers)

    def _blurred(self, alpha: float, sigma: float, extent: Limits) -> np.ndarray:
        x, masses = self._masses
        moved = self.outside(alpha * self.inside(torch.from_numpy(x)))
        left, right, bottom, top = extent
        whole = sigma > 0 or self.known is not None
        fine, cells = (PARTS, CELLS) if whole else (1, CELLS // 3)
        sides = np.array([top - bottom, right - left])
        places = (moved[:, ::-1] - [bottom, left]) / sides * (fine * cells) - 0.5
        counts = shared(places, masses, fine * cells) if whole else counted(places, masses, cells)
        widths = sigma * self.scale[::-1] / sides * (fine * cells)
        parts = gaussian_filter(counts, widths, mode="constant", truncate=5.0)
        return parts.reshape(cells, fine, cells, fine).sum((1, 3)) * cells**2 / sides.prod()

    @cached_property
    def _masses(self) -> tuple[np.ndarray, np.ndarray]:
        """Places x (m, 2) and their masses (m,): the cells of a density, or the points of the cloud."""
        if self.known is None:
            x = self.source.points.numpy() if isinstance(self.source, Cloud) else self.cloud
            return x, np.full(len(x), 1 / len(x))
        extent = squared(around(self.cloud, share=0.0, room=0.1))
        places = centres(extent, SOURCES)
        values = np.exp(self.known.log_prob(torch.from_numpy(places)).numpy())
        return places[values > 0], values[values > 0] / values.sum()


@cache
def names() -> tuple[str, ...]:
    """The targets in the plane that can be drawn from, by name."""
    return (*SHAPES, *(name for name, make in TARGETS.items() if name not in SHAPES and _plane(make().target)))


def _plane(target: object) -> bool:
    return isinstance(target, Source) and tuple(target.event_shape) == (2,)


def subject(target: str, columns: Sequence[str] | None = None) -> Subject:
    """The subject called `target`: a name of `names()`, or a file of points, of which two columns are chosen, or the
    first two of numbers taken. BadInput for what has not two numbers.
    """
    name = plain(target)
    if name in SHAPES or name in TARGETS:
        if columns is not None:
            raise BadInput(f"{name} is a shape and has no columns to choose; leave --columns out")
        return _named(name)
    if not Path(target).suffix and not Path(target).expanduser().exists():
        raise BadInput(f"there is no target {target}{near(name, names())}, or a file of points")
    return _recorded(target, columns)


def _named(name: str) -> Subject:
    source = SHAPES[name]() if name in SHAPES else TARGETS[name]().target
    if not isinstance(source, Source) or not _plane(source):
        held = " x ".join(map(str, source.event_shape))
        raise BadInput(f"{name} is no cloud in the plane that can be drawn from ({held} numbers){near(name, names())}")
    x = source.sample(RECORDED, rng=Rng(0).child("recorded")).double()
    spread = float(x.std(0, correction=0).square().mean().sqrt())
    known = source if isinstance(source, Known) else None
    words = name.replace("-", " ").replace("gaussian", "Gaussian")
    return Subject(words, source, x.mean(0).numpy(), np.full(2, spread), known)


def _table(path: str, columns: tuple[str, ...] | None) -> Dataset:
    """The table at `path`, its `columns` or all of numbers."""
    try:
        return load(path, columns=columns)
    except WordsFound as found:
        if columns or len(found.numbers) < 2:
            raise
        return load(path, columns=found.numbers)


def _recorded(path: str, columns: Sequence[str] | None) -> Subject:
    if columns is not None and (len(columns) != 2 or columns[0] == columns[1]):
        raise BadInput(f"a film in the plane shows two different columns, not {', '.join(columns)}")
    by_name = columns is not None and not all(one.isdecimal() for one in columns)
    data = _table(path, tuple(columns) if by_name and columns else None)
    for finding in data.findings:
        if finding.level == "warning":
            warnings.warn(f"{path}: {finding.what}", stacklevel=2)
    if data.kind != "points":
        raise BadInput(f"{path} holds {data.kind}, and this film wants points in the plane; give a table of numbers")
    refuse_not_finite(data.x)
    known = data.columns or tuple(f"column {j}" for j in range(data.event_shape[0]))
    if len(known) < 2:
        raise BadInput(f"{path} has one column of numbers, and this film wants two; give others, or name --columns")
    picked = chosen(None if by_name else columns, known)
    x = np.asarray(data.x[:])[:, picked].astype(np.float64)
    scale = x.std(0)
    if len(picked) != 2 or not (scale > 0).all() or abs(float(np.corrcoef(*x.T)[0, 1])) > 1 - LINE:
        raise BadInput(
            f"{path} lies on a line or in a point, but perhaps for what is far away; give a cloud in the plane"
        )
    stem, names = Path(path).stem, (known[picked[0]], known[picked[1]])
    name = stem if len(stem) <= LETTERS else f"{stem[: LETTERS - 1]}…"
    return Subject(name, Cloud(torch.from_numpy(x)), x.mean(0), scale, names=names)
