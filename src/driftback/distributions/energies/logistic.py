"""Bayesian logistic regression on a small table: a real posterior that is smooth, log-concave and not known exactly.

log p(w) = sum_i [y_i z_i - log(1 + e^z_i)] + log N(w; 0, I) with z = X w; its gradient is X^T (y - 1/(1 + e^-z)) - w
(Bishop 2006, 'Pattern Recognition and Machine Learning', section 4.5; a target of Girolami and Calderhead 2011).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from driftback.distributions.gaussian import LOG_TWO_PI
from driftback.distributions.target import Problem, Truth


@dataclass(frozen=True, eq=False)
class Logistic:
    """The posterior of the weights (d,) given `features` (rows, d) and `labels` (rows,), 0 or 1; prior N(0, I)."""

    features: Tensor
    labels: Tensor

    @property
    def event_shape(self) -> tuple[int, ...]:
        """(d,)."""
        return (self.features.shape[1],)

    def log_prob(self, x: Tensor) -> Tensor:
        """The log of prior times likelihood, in nats, at weights `x` (n, d), as (n,) of its dtype."""
        z = x @ self.features.to(x).T
        likelihood = (self.labels.to(x) * z - torch.nn.functional.softplus(z)).sum(1)
        return likelihood - (x**2 + LOG_TWO_PI).sum(1) / 2

    def score(self, x: Tensor) -> Tensor:
        """The gradient of the log-density at `x` (n, d), of its shape and dtype."""
        return self.log_prob_and_score(x)[1]

    def log_prob_and_score(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Both at once: they have z = X w in common."""
        features, labels = self.features.to(x), self.labels.to(x)
        z = x @ features.T
        likelihood = (labels * z - torch.nn.functional.softplus(z)).sum(1)
        prior = (x**2 + LOG_TWO_PI).sum(1) / 2
        return likelihood - prior, (labels - torch.sigmoid(z)) @ features - x


def logistic() -> Problem:
    """Malignant (0) or benign (1), 569 tumours by 30 measurements, standardised, and an intercept, which is first.

    The table comes with scikit-learn (Wolberg et al. 1995, Breast Cancer Wisconsin, diagnostic).
    """
    from sklearn.datasets import load_breast_cancer

    table = load_breast_cancer()
    columns = torch.from_numpy(table.data).double()
    columns = (columns - columns.mean(0)) / columns.std(0, correction=0)
    features = torch.cat([torch.ones(len(columns), 1, dtype=torch.float64), columns], 1)
    return Problem(
        Logistic(features, torch.from_numpy(table.target).double()),
        "logistic",
        Truth(source="unknown; log-concave, so it has one mode"),
        ("intercept", *map(str, table.feature_names)),
        source="scikit-learn's load_breast_cancer; prior N(0, I)",
    )
