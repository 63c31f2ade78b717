"""No NaN leaves a model as if it were a result."""

from __future__ import annotations

from torch import Tensor

from driftback.errors import NotFinite


def refuse_not_finite(x: Tensor, what: str, first: int) -> None:
    """Raise NotFinite if a row of `x` (n, ...), the first of which has the number `first`, is not finite."""
    bad = ~x.flatten(1).isfinite().all(1) if x.ndim > 1 else ~x.isfinite()
    if bool(bad.any()):
        raise NotFinite(
            f"{what} {first + int(bad.nonzero()[0])} (and {int(bad.sum()) - 1} more) is NaN or infinite: the training "
            "diverged, or the guidance is too strong; try --checkpoint best, or fit again with a lower --learning-rate"
        )
