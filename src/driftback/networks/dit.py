"""A diffusion transformer: a picture becomes a row of patches, and every block is scaled by the conditioning vector.

Patches are mixed by attention and by a small MLP, h <- h + gate_1 attend(film_1(norm h)), h <- h + gate_2
mlp(film_2(norm h)), where scales, shifts and gates are linear in the vector and start at zero, so that every block
starts as the identity (Peebles and Xie 2023, arXiv 2212.09748, section 3.2, 'adaLN-Zero'). A patch knows its place by
fixed sines and cosines of row and column (Vaswani et al. 2017, arXiv 1706.03762, section 3.5, once for each).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from driftback.networks.dropout import Dropout

HEAD = 32
"""The least width of one head of attention."""
WAVES = 1e4
"""The slowest wave of the positions is this many times as long as the quickest."""


def heads_of(width: int) -> int:
    """The most heads that divide `width` into parts of at least `HEAD`; one where there are none."""
    return next(heads for heads in range(max(1, width // HEAD), 0, -1) if width % heads == 0)


def positions(rows: int, columns: int, width: int) -> Tensor:
    """Sines and cosines of row and column at log-spaced frequencies, (rows * columns, width), row by row.

    A quarter of the width is spent on each of the four; what `width` has beyond a multiple of four stays zero.
    """
    quarter = width // 4
    frequencies = WAVES ** (-torch.arange(quarter, dtype=torch.float64) / max(1, quarter))
    down = torch.arange(rows, dtype=torch.float64)[:, None] * frequencies
    along = torch.arange(columns, dtype=torch.float64)[:, None] * frequencies
    down, along = (angles.expand(rows, columns, quarter) for angles in (down[:, None], along[None]))
    waves = torch.cat([down.sin(), down.cos(), along.sin(), along.cos()], -1)
    return F.pad(waves, (0, width - 4 * quarter)).flatten(0, 1).float()


def film(h: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """The patches `h` (n, patches, width) scaled and shifted, the same for all patches of an item: (n, width) each."""
    return h * (1 + scale[:, None]) + shift[:, None]


class _Norm(nn.LayerNorm):
    """Without weights: scale and shift come from the conditioning vector."""

    def __init__(self, width: int) -> None:
        super().__init__(width, elementwise_affine=False, eps=1e-6)


def _zeroed(layer: nn.Linear) -> nn.Linear:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def _linear(before: int, after: int) -> nn.Linear:
    layer = nn.Linear(before, after)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class Block(nn.Module):
    """One block: patches (n, patches, width) and vectors (n, conditioning) to patches; it knows no positions."""

    def __init__(self, width: int, conditioning: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads_of(width)
        self.norm = _Norm(width)
        self.qkv = _linear(width, 3 * width)
        self.mixed = _linear(width, width)
        self.wide = _linear(width, 4 * width)
        self.dropout = Dropout(dropout)
        self.narrow = _linear(4 * width, width)
        self.film = _zeroed(nn.Linear(conditioning, 6 * width))

    def forward(self, h: Tensor, c: Tensor) -> Tensor:
        shift, scale, gate, shift_2, scale_2, gate_2 = self.film(c).chunk(6, 1)
        h = h + gate[:, None] * self.mixed(self._attend(film(self.norm(h), shift, scale)))
        inner = self.dropout(F.gelu(self.wide(film(self.norm(h), shift_2, scale_2)), approximate="tanh"))
        return h + gate_2[:, None] * self.narrow(inner)

    def _attend(self, h: Tensor) -> Tensor:
        n, patches, width = h.shape
        q, k, v = self.qkv(h).view(n, patches, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, patches, width)


class DiT(nn.Module):
    """Pictures (n, before, height, breadth) and vectors (n, conditioning) to pictures (n, after, height, breadth).

    `patch` x `patch` pixels become one patch, and `depth` blocks of `width` mix them. `size` (height, breadth) may be
    anything: pictures are padded at their edges to the next multiple of `patch` and cropped again. With `position`,
    patches know their places; without, a picture of reordered patches gives the reordered output.
    """

    places: Tensor | None

    def __init__(
        self,
        before: int,
        after: int,
        size: tuple[int, int],
        conditioning: int,
        *,
        width: int = 128,
        depth: int = 6,
        patch: int = 2,
        dropout: float = 0.0,
        position: bool = True,
    ) -> None:
        super().__init__()
        self.size, self.patch = size, patch
        self.grid = (-(-size[0] // patch), -(-size[1] // patch))
        self.enter = _linear(before * patch**2, width)
        self.register_buffer("places", positions(*self.grid, width) if position else None, persistent=False)
        self.blocks = nn.ModuleList(Block(width, conditioning, dropout) for _ in range(depth))
        self.norm = _Norm(width)
        self.film = _zeroed(nn.Linear(conditioning, 2 * width))
        self.leave = _zeroed(nn.Linear(width, after * patch**2))

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        height, breadth = self.size
        x = F.pad(x, (0, -breadth % self.patch, 0, -height % self.patch), mode="replicate")
        h = self.enter(F.pixel_unshuffle(x, self.patch).flatten(2).transpose(1, 2))
        if self.places is not None:
            h = h + self.places
        for block in self.blocks.children():
            h = block(h, c)
        h = self.leave(film(self.norm(h), *self.film(c).chunk(2, 1)))
        h = F.pixel_shuffle(h.transpose(1, 2).unflatten(2, self.grid), self.patch)
        return h[..., :height, :breadth]
