"""How usual the likelihood of an item is: neither lower nor higher than that of the data.

A high density does not mean typical: a law's draws lie where density times volume is, and the densest place of many
coordinates holds none of them (Nalisnick et al. 2019, arXiv 1810.09136 and 1906.02994). The score is |log p(x) - m|, m
being the median of items known to be of the data, and its p-value the share of those whose score is as large.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from driftback.errors import BadInput

LEAST = 20
"""Fewer items of the data have no p-value below .05."""


@dataclass(frozen=True)
class Typicality:
    """`score` (n,) in nats, `p` (n,) in (0, 1], and the `middle` that both are about."""

    score: Tensor
    p: Tensor
    middle: float


def typicality(nats: Tensor, known: Tensor) -> Typicality:
    """How usual log-likelihoods `nats` (n,) are among those of `known` items (m,) of the data, which the model has not
    been trained on. If all are of one law, p <= a in a share a of the cases. BadInput for fewer than 20 known ones,
    and for NaN.
    """
    for what, some in (("the items", nats), ("known items", known)):
        if bool(some.isnan().any()):
            raise BadInput(f"{int(some.isnan().sum())} of the log-likelihoods of {what} are NaN: leave them out")
    if len(known) < LEAST:
        raise BadInput(f"{len(known)} known items say little of what is usual; give {LEAST} or more held-out ones")
    middle = known.double().median()
    score, usual = (nats.double() - middle).abs(), (known.double() - middle).abs().sort().values
    larger = len(usual) - torch.searchsorted(usual, score)
    return Typicality(score, (1 + larger).double() / (1 + len(usual)), float(middle))
