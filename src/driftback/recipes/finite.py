"""No NaN leaves a model as if it were a result."""

from __future__ import annotations

from torch import Tensor

from driftback.errors import BadInput, NotFinite

FAR = 1e3
"""So many deviations of the data away an item is too far for a network, whose fault it is not."""


def refuse_not_numbers(latents: Tensor) -> None:
    """Raise BadInput, naming the first, where `latents` (n, ...) hold NaN or infinity."""
    bad = ~latents.flatten(1).isfinite().all(1)
    if bool(bad.any()):
        raise BadInput(f"latent {int(bad.nonzero()[0])} holds NaN or infinity: leave it out")


def refuse_far(x: Tensor, given: Tensor, spread: float, what: str, first: int) -> None:
    """Raise BadInput if some rows of `x` (n, ...) alone are not finite, or rows that come of numbers `given` (n, ...)
    beyond `FAR` times `spread`: these lie too far. NotFinite where the model gives no numbers.
    """
    bad = ~x.flatten(1).isfinite().all(1) if x.ndim > 1 else ~x.isfinite()
    far = bad & (given.flatten(1).abs().amax(1).to(bad.device) > FAR * spread)
    if bool(bad.any()) and (not bool(bad.all()) or bool(far.all())):
        more = f" (and {int(bad.sum()) - 1} more)" if bad.sum() > 1 else ""
        raise BadInput(
            f"{what} {first + int(bad.nonzero()[0])}{more} is NaN or infinite: it lies too far from the data that the "
            "model was fitted on; leave it out"
        )
    refuse_not_finite(x, what, first)


def refuse_not_finite(x: Tensor, what: str, first: int) -> None:
    """Raise NotFinite if a row of `x` (n, ...), the first of which has the number `first`, is not finite."""
    bad = ~x.flatten(1).isfinite().all(1) if x.ndim > 1 else ~x.isfinite()
    if bool(bad.any()):
        raise NotFinite(
            f"{what} {first + int(bad.nonzero()[0])} (and {int(bad.sum()) - 1} more) is NaN or infinite: the training "
            "diverged, or the guidance is too strong; try --checkpoint best, or fit again with a lower --learning-rate"
        )
