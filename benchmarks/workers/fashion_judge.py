"""The judge of the Fashion-MNIST benchmark: a classifier's 128 features, and the Fréchet distance between them.

The classifier (two convolutions, a hidden layer of 128, whose values after the ReLU are the features) learns from the
60,000 training pictures. The distance is |m - m'|^2 + tr(C + C' - 2 (C C')^1/2) of the features' moments, those of the
10,000 test pictures on one side (Heusel et al. 2017, arXiv 1706.08500, equation 6, with other features: no FID). Its
floor is what 1,000 training pictures, 100 of each class, have.
"""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from workers.fashion import CLASSES, EACH

Pictures = NDArray[np.uint8]
NAMES = {
    "x": "train-images-idx3-ubyte",
    "y": "train-labels-idx1-ubyte",
    "test x": "t10k-images-idx3-ubyte",
    "test y": "t10k-labels-idx1-ubyte",
}
EPOCHS = 4
DRAWS = 20
"""Sets of real pictures that the floor is the mean of."""


def read(folder: Path) -> dict[str, Pictures]:
    """The four files of Fashion-MNIST: pictures (n, 28, 28) and classes (n,)."""
    return {key: _idx(folder / name) for key, name in NAMES.items()}


def _idx(path: Path) -> Pictures:
    packed = path.with_name(path.name + ".gz")
    raw = gzip.decompress(packed.read_bytes()) if packed.is_file() else path.read_bytes()
    shape = [int.from_bytes(raw[4 + 4 * i : 8 + 4 * i], "big") for i in range(raw[3])]
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * len(shape)).reshape(shape)


class Classifier(nn.Module):
    """Pictures (n, 1, 28, 28) in [0, 1] to scores (n, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 32, 3, padding=1), nn.Conv2d(32, 64, 3, padding=1)
        self.hidden, self.scores = nn.Linear(64 * 49, 128), nn.Linear(128, CLASSES)

    def features(self, x: Tensor) -> Tensor:
        """The 128 features (n, 128)."""
        x = F.max_pool2d(F.relu(self.first(x)), 2)
        x = F.max_pool2d(F.relu(self.second(x)), 2)
        return F.relu(self.hidden(x.flatten(1)))

    def forward(self, x: Tensor) -> Tensor:
        return self.scores(self.features(x))


class Judge:
    """A classifier trained on the training pictures of `data`, and the moments of its features of the test pictures."""

    def __init__(self, data: dict[str, Pictures]) -> None:
        self.network = _trained(data["x"], data["y"])
        test = self.features(data["test x"])
        self.moments = _moments(test)
        with torch.no_grad():
            scores = torch.cat([self.network.scores(torch.from_numpy(f).float()) for f in np.array_split(test, 10)])
        self.accuracy = float((scores.argmax(1).numpy() == data["test y"]).mean())
        rng, by_class = np.random.default_rng(0), [np.flatnonzero(data["y"] == k) for k in range(CLASSES)]
        chosen = ([rng.choice(index, EACH, replace=False) for index in by_class] for _ in range(DRAWS))
        self.floors = [self.distance(data["x"][np.concatenate(one)]) for one in chosen]
        self.floor = float(np.mean(self.floors))

    @torch.no_grad()
    def features(self, x: Pictures) -> NDArray[np.float64]:
        """The features (n, 128) of pictures (n, 28, 28)."""
        return torch.cat([self.network.features(part) for part in _tensor(x).split(1000)]).double().numpy()

    def distance(self, x: Pictures) -> float:
        """The Fréchet distance of pictures (n, 28, 28) from the test pictures."""
        return self._apart(self.features(x))

    def spread(self, x: Pictures, sets: int = 20) -> float:
        """The standard error of the distance of pictures in the order of their classes, by the bootstrap."""
        rng, found, features = np.random.default_rng(0), [], self.features(x)
        for _ in range(sets):
            index = np.concatenate([k * EACH + rng.integers(0, EACH, EACH) for k in range(CLASSES)])
            found.append(self._apart(features[index]))
        return float(np.std(found, ddof=1))

    def _apart(self, features: NDArray[np.float64]) -> float:
        (mean, cov), (other, wide) = _moments(features), self.moments
        crossed = np.sqrt(np.linalg.eigvals(cov @ wide).real.clip(min=0)).sum()
        return float(((mean - other) ** 2).sum() + np.trace(cov) + np.trace(wide) - 2 * crossed)


def _moments(f: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return f.mean(0), np.cov(f.T)


def _tensor(x: Pictures) -> Tensor:
    return torch.from_numpy(x.astype(np.float32) / 255)[:, None]


def _trained(x: Pictures, y: Pictures) -> Classifier:
    """The classifier after `EPOCHS` passes; the same for the same pictures, up to rounding."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network, order = Classifier(), torch.Generator().manual_seed(0)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    labels = torch.from_numpy(y.astype(np.int64))
    for _ in range(EPOCHS):
        for index in torch.randperm(len(x), generator=order).split(128):
            optimiser.zero_grad()
            F.cross_entropy(network(_tensor(x[index.numpy()])), labels[index]).backward()
            optimiser.step()
    return network.eval()
