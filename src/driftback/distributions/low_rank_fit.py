"""A low-rank mixture fitted to items: their principal directions, then expectation-maximisation in these, per class.

U holds the leading eigenvectors of the items' covariance, v is the mean variance outside of it (Tipping and Bishop
1999, 'Probabilistic principal component analysis', J. R. Statist. Soc. B 61, equations 7 and 8). A component's
covariance is drawn towards the one pooled over all components, as if it had been seen in some more items of it.

Where something longer than a class is known of each item, a caption or numbers, its features f move the law: with it
an item is m + U (B f + e), e from one mixture, without it m + U e', e' from another. B comes from ridge regression, its
strength from leaving out one item at a time (Golub, Heath and Wahba 1979, Technometrics 21).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import RidgeCV
from sklearn.mixture import GaussianMixture
from torch import Tensor

from driftback.distributions.low_rank import LowRankMixture
from driftback.randomness import Rng, as_rng

Numbers = NDArray[np.float64]
MOST_NUMBERS = 100_000_000
"""As many numbers as are well fitted to at once: 400 MB."""
MOST_RANK, ITEMS_PER_DIRECTION = 96, 20
MOST_COMPONENTS, ITEMS_PER_COMPONENT, MOST_PER_CLASS = 128, 500, 10
LEAST_PER_COMPONENT = 100
"""Classes share their components unless the smallest has so many items for each of its own."""
DENSE = 3_000
"""At most so many rows has a matrix whose eigenvectors are taken."""
ROUNDS = 12
"""Rounds of expectation-maximisation; more changed nothing that a network after it did not."""
MOST_SEEN, LEAST_SEEN = 1_000_000, 200
"""Each round looks at most at so many pairs of an item and a component, but at so many items for each component: some
of the items then, chosen by chance. 60,000 items of no class and 64 components took 88 seconds, and take under 21.
"""
POOLED = 30.0
"""A component's covariance is drawn to the pooled one as if by so many items."""
STRENGTHS = np.logspace(-1, 5, 13)
MOST_REGRESSED = 20_000
"""B is fitted to at most so many items."""


class Sized(Protocol):
    """How large a mixture is: `rank` directions, `components` in all, and one set for all (`shared`) or per class."""

    @property
    def rank(self) -> int:
        """r >= 1."""
        ...

    @property
    def components(self) -> int:
        """k >= 1, a multiple of the number of classes unless they are shared."""
        ...

    @property
    def shared(self) -> bool:
        """Whether all classes have the same components, with weights of their own."""
        ...


@dataclass(frozen=True)
class Shape:
    """A size, as `Sized` has it; a rank of 0 says that there are too few items for any."""

    rank: int
    components: int
    shared: bool


def shape_for(items: int, numbers: int, counts: Sequence[int] = ()) -> Shape:
    """The shape for so many `items` of so many `numbers`; `counts` are the items of each class, if there are any."""
    rank, classes = min(MOST_RANK, numbers - 1, items // ITEMS_PER_DIRECTION), len(counts)
    each = min(MOST_PER_CLASS, items // max(1, classes) // ITEMS_PER_COMPONENT)
    full = classes > 0 and min(counts) >= LEAST_PER_COMPONENT * each
    if full and each >= 1 and classes * each <= MOST_COMPONENTS:
        return Shape(rank, classes * each, False)
    return Shape(rank, min(MOST_COMPONENTS // 2, max(1, items // ITEMS_PER_COMPONENT)), True)


def fitted(
    x: Tensor, row: Tensor | None, classes: int, shape: Sized, *, rng: Rng | int | None = None
) -> LowRankMixture:
    """The mixture of `shape` for items `x` (n, d) float32 and their classes `row` (n,) int64 or None, as float32.

    `rng` starts the rounds. More than `MOST_NUMBERS` numbers take much memory: give some of the items then.
    """
    rng = as_rng(rng)
    mean, basis, rest = _principal(x, shape.rank, rng.child("directions"))
    inside = ((x - mean) @ basis).double().numpy()
    labels = np.zeros(len(x), np.int64) if row is None else row.numpy()
    groups = 1 if shape.shared else classes
    some = [inside] if shape.shared else [inside[labels == k] for k in range(classes)]
    seen, *law = _components(some, shape.components // groups, rng)
    log_weights = torch.from_numpy(np.log(seen / seen.sum())).float().expand(classes + 1, -1).clone()
    made = _mixture(mean, basis, rest, law, log_weights)
    made.log_weights[:-1] = _by_class(made, torch.from_numpy(inside).float(), labels, classes, shape)
    return made


def fitted_on(
    x: Tensor, features: Tensor, shape: Sized, *, rng: Rng | int | None = None
) -> tuple[LowRankMixture, Tensor]:
    """For items `x` (n, d) and their `features` (n, f): a mixture, and B (f, r) as float32.

    The first row of its weights is the law of x - U B f, the second that of x. Each has half of the components.
    """
    rng = as_rng(rng)
    mean, basis, rest = _principal(x, shape.rank, rng.child("directions"))
    inside = ((x - mean) @ basis).double().numpy()
    chosen = np.sort(rng.child("regressed").generator().permutation(len(x))[:MOST_REGRESSED])
    table = torch.from_numpy(RidgeCV(STRENGTHS).fit(features[chosen].double().numpy(), inside[chosen]).coef_.T).float()
    left, half = inside - (features.float() @ table).double().numpy(), shape.components // 2
    laws = [_components([part], half, rng.child("law", k)) for k, part in enumerate((left, inside))]
    log_weights = torch.full((2, 2 * half), -math.inf)
    for k, (seen, *_) in enumerate(laws):
        log_weights[k, k * half : (k + 1) * half] = torch.from_numpy(np.log(seen / seen.sum()))
    law = [np.concatenate(each) for each in list(zip(*laws, strict=True))[1:]]
    return _mixture(mean, basis, rest, law, log_weights), table


def _components(groups: Sequence[Numbers], each: int, rng: Rng) -> tuple[Numbers, Numbers, Numbers, Numbers]:
    """How many items each component stands for (k,), centres, axes and variances, `each` for every group of items."""
    parts = [_rounds(group, each, rng.child("group", k)) for k, group in enumerate(groups)]
    weights, centres, covariances = (np.concatenate(one) for one in zip(*parts, strict=True))
    seen = weights * np.repeat([float(len(group)) for group in groups], each)
    pooled = np.average(covariances, axis=0, weights=seen)
    covariances = (seen[:, None, None] * covariances + POOLED * pooled) / (seen + POOLED)[:, None, None]
    variances, axes = np.linalg.eigh(covariances)
    return seen, centres, axes, variances


def _mixture(mean: Tensor, basis: Tensor, rest: Tensor, law: Sequence[Numbers], log_weights: Tensor) -> LowRankMixture:
    centres, axes, variances = (torch.from_numpy(part).float() for part in law)
    least = 1e-6 * float(rest + variances.mean())
    return LowRankMixture(mean, basis, rest, centres, axes, variances.clamp(min=least), log_weights)


def _principal(x: Tensor, rank: int, rng: Rng) -> tuple[Tensor, Tensor, Tensor]:
    """The mean (d,), the leading directions (d, rank) and the variance () of the others, which is above 0."""
    mean, (n, d) = x.mean(0), x.shape
    if d <= min(n, DENSE):
        square = sum((part - mean).double().T @ (part - mean).double() for part in x.split(4096))
        axes = torch.linalg.eigh(torch.as_tensor(square))[1][:, -rank:]
    else:
        # The directions of some items lie in their span, where their inner products tell them.
        some = torch.from_numpy(rng.generator().permutation(n)[:DENSE])
        away = (x[some] - mean).double()
        axes = away.T @ torch.linalg.eigh(away @ away.T)[1][:, -rank:]
    basis = torch.linalg.qr(axes.flip(1))[0].float()
    total = sum(float((part - mean).double().square().sum()) for part in x.split(4096))
    kept = sum(float(((part - mean) @ basis).double().square().sum()) for part in x.split(4096))
    rest = max(total - kept, 1e-6 * total) / (n * (d - rank))
    return mean, basis, torch.tensor(max(rest, 1e-12))


def _rounds(inside: Numbers, components: int, rng: Rng) -> tuple[Numbers, Numbers, Numbers]:
    """Weights (k,), centres (k, r) and covariances (k, r, r) of one group of items (n, r)."""
    scale = max(1e-12, float(inside.var(0).mean()))
    seed = int(rng.generator().integers(2**31))
    most = max(MOST_SEEN // components, LEAST_SEEN * components)
    if len(inside) > most:
        inside = inside[np.sort(rng.child("seen").generator().permutation(len(inside))[:most])]
    # Not from k-means, whose threads sum in an order of chance: two fits have to agree to the last bit.
    mixture = GaussianMixture(
        components, reg_covar=1e-4 * scale, max_iter=ROUNDS, init_params="k-means++", random_state=seed
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        mixture.fit(inside)
    return mixture.weights_, mixture.means_, mixture.covariances_


def _by_class(made: LowRankMixture, inside: Tensor, labels: NDArray[np.int64], classes: int, shape: Sized) -> Tensor:
    """log w_ck (classes, k): a class has its own components, or its share of each of the common ones."""
    if not classes:
        return torch.empty(0, shape.components)
    if not shape.shared:
        own = torch.arange(shape.components) // (shape.components // classes) == torch.arange(classes)[:, None]
        return made.log_weights[-1].where(own, -math.inf).log_softmax(1)
    total = torch.zeros(classes, shape.components)
    for share, part in _shares(made, inside, torch.from_numpy(labels)):
        total.index_add_(0, part, share)
    return (total + made.log_weights[-1].exp()).log().log_softmax(1)


def _shares(made: LowRankMixture, inside: Tensor, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    for z, part in zip(inside.split(4096), labels.split(4096), strict=True):
        yield made.shares(z, torch.full_like(part, -1)), part
