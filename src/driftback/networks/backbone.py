"""A backbone with its conditioning: what a denoiser calls, `network(x, number, label)`.

The backbone maps points and a vector to points; the conditioning makes that vector from a number (a noise level, to the
one who calls) and what is given: a class, numbers, a caption. A table of outputs per class may be added, so that
training starts from a closed form.
"""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from driftback.networks.embedding import ClassBias, Conditioning, Encoder


class Backbone(nn.Module):
    """`body(x, conditioning(number, label)) + bias(label)` for x (n, *before), number (n,), label (n, *row) or
    None: what is given, as its encoder takes it.
    """

    def __init__(self, body: nn.Module, conditioning: Conditioning, bias: ClassBias | None = None) -> None:
        super().__init__()
        self.body, self.conditioning, self.bias = body, conditioning, bias

    @property
    def classes(self) -> int:
        """The number of classes it knows; 0 when it is not conditional."""
        return self.conditioning.classes

    @property
    def encoder(self) -> Encoder | None:
        """What reads the conditions; None when it is not conditional."""
        return cast("Encoder | None", self.conditioning.label)

    def forward(self, x: Tensor, number: Tensor, label: Tensor | None = None, vector: Tensor | None = None) -> Tensor:
        out = self.body(x, self.conditioning(number, label, vector))
        return out if self.bias is None else out + self.bias(label, len(x))
