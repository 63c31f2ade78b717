"""A backbone with its conditioning: what a denoiser calls, `network(x, number, label)`.

The backbone maps points and a vector to points; the conditioning makes that vector from a number (a noise level, to the
one who calls) and what is given: a class, numbers, a caption. A table of outputs per class may be added, or a mixture's
mean corrected, so that training starts from a closed form.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from driftback.networks.closed_form import ClosedForm
from driftback.networks.embedding import ClassBias, Conditioning, Encoder
from driftback.networks.memory import Memory


class Backbone(nn.Module):
    """`body(x, conditioning(number, label)) + bias(label)` for x (n, *before), number (n,), label (n, *row) or None:
    what is given, as its encoder takes it; where a closed form is corrected, `offset + scale * body([x, known], ...)`,
    and where it is only shown, `body([x, known, offset], ...)`; the first channels of x are then the item's.

    Where the conditioning was made for it, `augmented` (n, numbers) or None says how an item was augmented.
    """

    def __init__(
        self,
        body: nn.Module,
        conditioning: Conditioning,
        bias: ClassBias | None = None,
        closed_form: ClosedForm | Memory | None = None,
    ) -> None:
        super().__init__()
        self.body, self.conditioning, self.bias, self.closed_form = body, conditioning, bias, closed_form

    @property
    def classes(self) -> int:
        """The number of classes it knows; 0 when it is not conditional."""
        return self.conditioning.classes

    @property
    def encoder(self) -> Encoder | None:
        """What reads the conditions; None when it is not conditional."""
        return cast("Encoder | None", self.conditioning.label)

    def told(self, label: Tensor | None) -> Tensor | None:
        """What its closed form takes of `label` (n, *row): the classes (n,), the features (n, f) of something longer,
        or nothing.
        """
        if self.classes or self.closed_form is None or self.encoder is None or label is None:
            return label if self.classes else None
        return self.encoder.described(label) if self.closed_form.spec.features else None

    def forward(
        self,
        x: Tensor,
        number: Tensor,
        label: Tensor | None = None,
        vector: Tensor | None = None,
        *,
        augmented: Tensor | None = None,
    ) -> Tensor:
        c = self.conditioning(number, label, vector, augmented=augmented)
        if self.closed_form is not None:
            known, offset, scale = self.closed_form(x[:, : self.closed_form.event[0]], number, self.told(label))
            if self.closed_form.spec.role == "shown":
                return self.body(torch.cat([x, known, offset], 1), c)
            return offset + scale * self.body(torch.cat([x, known], 1), c)
        out = self.body(x, c)
        return out if self.bias is None else out + self.bias(label, len(x))
