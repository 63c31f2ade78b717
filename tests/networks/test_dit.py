"""The diffusion transformer against its formulas, written again without a single fused step."""

import math

import pytest
import torch
from torch import Tensor

from driftback.networks.dit import Block, DiT, heads_of, positions
from driftback.networks.presets import COUNTED, NetworkSpec, build, cost

SIZE = (7, 10)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=generator(), dtype=torch.float64)


def woken(network: torch.nn.Module) -> torch.nn.Module:
    """In float64 and with every weight away from its start."""
    random = generator()
    network = network.double()
    with torch.no_grad():
        for p in network.parameters():
            p += 0.2 * torch.randn(p.shape, generator=random, dtype=torch.float64)
    return network.eval()


def small(**options: bool) -> DiT:
    return DiT(2, 3, SIZE, 5, width=64, depth=2, patch=2, **options)


def normal(h: Tensor) -> Tensor:
    """Every patch with mean 0 and variance 1."""
    centred = h - h.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt()


def by_hand(block: Block, h: Tensor, c: Tensor) -> Tensor:
    """One item's patches (patches, width) through `block`, for one vector (conditioning,)."""
    shift, scale, gate, shift_2, scale_2, gate_2 = (block.film.weight @ c + block.film.bias).split(h.shape[1])
    z = normal(h) * (1 + scale) + shift
    q, k, v = (z @ w.T + b for w, b in zip(block.qkv.weight.chunk(3), block.qkv.bias.chunk(3), strict=True))
    size = h.shape[1] // block.heads
    parts = []
    for j in range(block.heads):
        own = slice(j * size, (j + 1) * size)
        weights = torch.exp(q[:, own] @ k[:, own].T / math.sqrt(size))
        parts.append(weights / weights.sum(1, keepdim=True) @ v[:, own])
    h = h + gate * (torch.cat(parts, 1) @ block.mixed.weight.T + block.mixed.bias)
    z = (normal(h) * (1 + scale_2) + shift_2) @ block.wide.weight.T + block.wide.bias
    z = z / 2 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)))
    return h + gate_2 * (z @ block.narrow.weight.T + block.narrow.bias)


def test_every_block_starts_as_the_identity_and_the_output_as_zero() -> None:
    network, h = small().double(), noise(2, 20, 64)
    for block in network.blocks:
        assert torch.equal(block(h, noise(2, 5)), h)
    out = network(noise(2, 2, *SIZE), noise(2, 5))
    assert out.shape == (2, 3, *SIZE)
    assert not out.any()


def test_a_block_is_its_formula() -> None:
    block, h, c = woken(Block(64, 5, 0.0)), noise(3, 11, 64), noise(3, 5)
    assert isinstance(block, Block)
    assert block.heads == 2
    for i in range(3):
        torch.testing.assert_close(block(h, c)[i], by_hand(block, h[i], c[i]), rtol=1e-10, atol=1e-10)


def test_the_whole_is_its_formula() -> None:
    """Patches are cut, placed, mixed, and put back where they were."""
    network, x, c = woken(small()), noise(1, 2, *SIZE), noise(1, 5)
    assert isinstance(network, DiT)
    padded = torch.cat([x, x[:, :, -1:]], 2)  # 7 rows become 8 by repeating the last; 10 columns divide
    patches = [padded[0, :, i : i + 2, j : j + 2].flatten() for i in range(0, 8, 2) for j in range(0, 10, 2)]
    h = torch.stack(patches) @ network.enter.weight.T + network.enter.bias + positions(4, 5, 64).double()
    for block in network.blocks:
        h = by_hand(block, h, c[0])
    shift, scale = (network.film.weight @ c[0] + network.film.bias).chunk(2)
    h = (normal(h) * (1 + scale) + shift) @ network.leave.weight.T + network.leave.bias
    out = torch.zeros(3, 8, 10, dtype=torch.float64)
    for number, patch in enumerate(h):
        i, j = divmod(number, 5)
        out[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2] = patch.view(3, 2, 2)
    torch.testing.assert_close(network(x, c)[0], out[:, :7], rtol=1e-6, atol=1e-6)


def test_blocks_know_no_order_and_positions_tell_it() -> None:
    block, h, c = woken(Block(64, 5, 0.0)), noise(2, 20, 64), noise(2, 5)
    order = torch.randperm(20, generator=generator())
    torch.testing.assert_close(block(h[:, order], c), block(h, c)[:, order], rtol=1e-10, atol=1e-10)

    def apart(network: torch.nn.Module) -> float:
        """By how much the output of turned patches is not the output turned."""
        x = noise(1, 2, 8, 10)
        turned = x.roll((2, 4), (2, 3))  # whole patches
        return float((network(turned, c[:1]) - network(x, c[:1]).roll((2, 4), (2, 3))).detach().abs().max())

    size = (8, 10)
    assert apart(woken(DiT(2, 3, size, 5, width=64, depth=2, patch=2, position=False))) < 1e-9
    assert apart(woken(DiT(2, 3, size, 5, width=64, depth=2, patch=2))) > 0.1


def test_positions_are_those_of_the_papers() -> None:
    """The product of two is a sum of cosines of the distances alone, rows and columns apart."""
    places = positions(6, 9, 32).double().view(6, 9, 32)
    frequencies = 1e4 ** (-torch.arange(8, dtype=torch.float64) / 8)
    for (i, j), (k, m) in [((0, 0), (0, 0)), ((1, 2), (4, 8)), ((5, 3), (2, 3)), ((2, 7), (2, 1))]:
        expected = ((i - k) * frequencies).cos().sum() + ((j - m) * frequencies).cos().sum()
        assert float(places[i, j] @ places[k, m]) == pytest.approx(float(expected), abs=1e-5)
    assert len({tuple(row.tolist()) for row in places.flatten(0, 1)}) == 54
    assert positions(2, 3, 6).shape == (6, 6)


def test_heads_follow_from_the_width() -> None:
    assert [heads_of(width) for width in (8, 32, 64, 96, 100, 384)] == [1, 1, 2, 3, 2, 12]


def test_cost_counts_attention() -> None:
    """Attention of t patches costs 4 t^2 operations per number, which torch's counter overlooks on a CPU."""
    spec, event = NetworkSpec(kind="dit", widths=(64,), depth=3, patch=2), (1, 16, 12)
    found = cost(build(spec, 1, 1, event, 0), 1, event, cores=1).flops_per_item
    patches, width, vector = 48, 64, spec.conditioning
    linear = patches * (4 * width + 3 * 12 * width**2 + width * 4) + vector * (3 * 6 + 2) * width
    told = 33 * vector + vector**2
    assert found == 2 * (linear + told) + 3 * 4 * patches**2 * width
    assert len(COUNTED) == 1
